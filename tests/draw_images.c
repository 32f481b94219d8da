/* draw_images FOLDER [SIZE]: a small JPEG under each name that comes on standard input, one a line, each of other
 * colours; SIZE x SIZE pixels of one colour when a size is given. */
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "data/image.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Four fields whose colours are the name's hash. */
static void paint(struct image *image, const char *name) {
  uint32_t hash = 2166136261u;
  for (const char *c = name; *c; c++)
    hash = (hash ^ (unsigned char)*c) * 16777619u;
  for (int y = 0; y < image->height; y++)
    for (int x = 0; x < image->width; x++) {
      const uint32_t field =
          hash * (1 + 2 * (uint32_t)(2 * y >= image->height) + 4 * (uint32_t)(2 * x >= image->width));
      uint8_t *pixel = image->pixels + 3 * ((size_t)y * (size_t)image->width + (size_t)x);
      pixel[0] = (uint8_t)(field >> 24);
      pixel[1] = (uint8_t)(field >> 16);
      pixel[2] = (uint8_t)(field >> 8);
    }
}

static enum status draw(const char *folder, const char *name, int size) {
  char *path = text_join_path(folder, name), *below = memory_copy_string(path, "folder");
  struct image image = {.width = size ? size : 40, .height = size ? size : 32};
  *strrchr(below, '/') = '\0';
  enum status status = file_make_directories(below);
  image.pixels = memory_allocate((size_t)image.width * (size_t)image.height * 3 + 64, "picture");
  paint(&image, name);
  if (status == STATUS_OK)
    status = image_write_jpeg(path, &image, 90);
  image_release(&image);
  memory_release(below);
  memory_release(path);
  return status;
}

int main(int argument_count, char **arguments) {
  char name[4096];
  while (argument_count > 1 && fgets(name, sizeof name, stdin)) {
    name[strcspn(name, "\n")] = '\0';
    if (draw(arguments[1], name, argument_count > 2 ? atoi(arguments[2]) : 0) != STATUS_OK) {
      fprintf(stderr, "draw_images: %s\n", error_message());
      return 1;
    }
  }
  return argument_count > 1 ? 0 : 2;
}

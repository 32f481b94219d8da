/* make_picture WIDTH HEIGHT FILE: a gray JPEG whose header says WIDTH x HEIGHT; beyond 16 pixels a side its data end
 * early. */
#include "base/file.h"
#include "base/memory.h"
#include "data/image.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 16 };

/* The frame header: FF C0, length (2), precision (1), height (2), width (2), big-endian. */
static bool patch_size(unsigned char *bytes, size_t size, int width, int height) {
  for (size_t i = 0; i + 9 < size; i++)
    if (bytes[i] == 0xff && bytes[i + 1] == 0xc0) {
      const unsigned char sides[4] = {(unsigned char)(height >> 8), (unsigned char)height, (unsigned char)(width >> 8),
                                      (unsigned char)width};
      memcpy(bytes + i + 5, sides, sizeof sides);
      return true;
    }
  return false;
}

int main(int argc, char **argv) {
  if (argc != 4)
    return STATUS_USAGE;
  const int width = atoi(argv[1]), height = atoi(argv[2]);
  struct image image = {.width = width < SIDE ? width : SIDE, .height = height < SIDE ? height : SIDE};
  image.pixels = memory_allocate((size_t)(3 * image.width * image.height), "pixels");
  memset(image.pixels, 90, (size_t)(3 * image.width * image.height));
  void *bytes;
  size_t size;
  enum status status = image_encode_jpeg(&image, 90, &bytes, &size);
  if (status == STATUS_OK && patch_size(bytes, size, width, height))
    status = file_write_atomic(argv[3], bytes, size);
  if (status != STATUS_OK)
    fprintf(stderr, "%s\n", error_message());
  return (int)status;
}

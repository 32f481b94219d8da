#include "base/memory.h"
#include "base/thread.h"
#include "data/image.h"
#include "data/source.h"
#include "report.h"
#include <stdlib.h>
#include <string.h>

struct pictures {
  struct source *source;
  struct named {
    const char *key;
    int64_t sample;
  } * names; /* sorted by key */
  int64_t count;
};

static int compare_names(const void *a, const void *b) {
  return strcmp(((const struct named *)a)->key, ((const struct named *)b)->key);
}

enum status pictures_open(char *const *shards, int count, struct pictures **pictures) {
  struct source_options options = {.paths = (const char *const *)shards,
                                   .path_count = count,
                                   .format = "auto",
                                   .image = "jpg;jpeg;png",
                                   .caption = "txt",
                                   .csv_separator = "",
                                   .csv_image = "",
                                   .csv_caption = "",
                                   .threads = thread_count_available()};
  struct source *source;
  *pictures = NULL;
  TRY(source_open(&options, &source));
  *pictures = memory_allocate(sizeof **pictures, "pictures");
  (*pictures)->source = source;
  (*pictures)->count = source_count(source);
  (*pictures)->names = memory_allocate((size_t)((*pictures)->count + 1) * sizeof *(*pictures)->names, "picture names");
  for (int64_t i = 0; i < (*pictures)->count; i++)
    (*pictures)->names[i] = (struct named){source_key(source, i), i};
  qsort((*pictures)->names, (size_t)(*pictures)->count, sizeof *(*pictures)->names, compare_names);
  return STATUS_OK;
}

void pictures_close(struct pictures *pictures) {
  if (!pictures)
    return;
  source_close(pictures->source);
  memory_release(pictures->names);
  memory_release(pictures);
}

enum { KEPT_BYTES = 48 << 10, SHORTER_SIDE = 224, JPEG_QUALITY = 85 };

/* A large picture becomes a JPEG whose shorter side has SHORTER_SIDE pixels. */
static enum status shrink(struct text *bytes) {
  const struct image_limits limits = {.max_pixels = (int64_t)1 << 28};
  struct image image = {0}, small = {0};
  struct image_workspace workspace = {0};
  void *jpeg = NULL;
  size_t size = 0;
  enum status status = image_decode(bytes->data, bytes->length, &limits, &image);
  int shorter = image.width < image.height ? image.width : image.height;
  if (status == STATUS_OK && shorter > SHORTER_SIDE) {
    const struct image_box all = {0, 0, image.width, image.height};
    int width = (int)((int64_t)image.width * SHORTER_SIDE / shorter),
        height = (int)((int64_t)image.height * SHORTER_SIDE / shorter);
    status = image_resize(&image, &all, width, height, &workspace, &small);
    if (status == STATUS_OK)
      status = image_encode_jpeg(&small, JPEG_QUALITY, &jpeg, &size);
    if (status == STATUS_OK) {
      text_clear(bytes);
      text_append(bytes, jpeg, size);
    }
  }
  memory_release(jpeg);
  image_workspace_release(&workspace);
  image_release(&small);
  image_release(&image);
  return status;
}

enum status pictures_read(struct pictures *pictures, const char *key, struct text *bytes) {
  const struct named wanted = {.key = key};
  const struct named *found = bsearch(&wanted, pictures->names, (size_t)pictures->count, sizeof wanted, compare_names);
  if (!found)
    return error_set(STATUS_INPUT,
                     "no sample of the shards has the key %s; name the shards that the features were made from", key);
  TRY(source_read(pictures->source, found->sample, bytes, NULL));
  return bytes->length > KEPT_BYTES ? shrink(bytes) : STATUS_OK;
}

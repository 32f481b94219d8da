#include "base/file.h"
#include "base/memory.h"
#include "base/thread.h"
#include "data/image.h"
#include "data/source.h"
#include "report.h"
#include <stdlib.h>
#include <string.h>

struct pictures {
  struct source *source; /* of the shards; NULL: none */
  char *const *folders;  /* borrowed; [folder_count] */
  int folder_count;
  struct named {
    const char *key;
    int64_t sample;
  } * names; /* sorted by key */
  int64_t count;
};

static int compare_names(const void *a, const void *b) {
  return strcmp(((const struct named *)a)->key, ((const struct named *)b)->key);
}

static enum status open_shards(struct pictures *pictures, char *const *shards, int count) {
  struct source_options options = {.paths = (const char *const *)shards,
                                   .path_count = count,
                                   .format = "auto",
                                   .image = "jpg;jpeg;png;webp",
                                   .caption = "txt",
                                   .csv_separator = "",
                                   .csv_image = "",
                                   .csv_caption = "",
                                   .threads = thread_count_available()};
  TRY(source_open(&options, &pictures->source));
  pictures->count = source_count(pictures->source);
  pictures->names = memory_allocate((size_t)(pictures->count + 1) * sizeof *pictures->names, "picture names");
  for (int64_t i = 0; i < pictures->count; i++)
    pictures->names[i] = (struct named){source_key(pictures->source, i), i};
  qsort(pictures->names, (size_t)pictures->count, sizeof *pictures->names, compare_names);
  return STATUS_OK;
}

/* Folders are moved to the front of `places`. */
enum status pictures_open(char **places, int count, struct pictures **pictures) {
  int folders = 0;
  for (int i = 0; i < count; i++)
    if (file_is_directory(places[i])) {
      char *folder = places[i];
      places[i] = places[folders];
      places[folders++] = folder;
    }
  *pictures = memory_allocate(sizeof **pictures, "pictures");
  (*pictures)->folders = places;
  (*pictures)->folder_count = folders;
  enum status status = folders < count ? open_shards(*pictures, places + folders, count - folders) : STATUS_OK;
  if (status == STATUS_OK)
    return STATUS_OK;
  pictures_close(*pictures);
  *pictures = NULL;
  return status;
}

void pictures_close(struct pictures *pictures) {
  if (!pictures)
    return;
  if (pictures->source)
    source_close(pictures->source);
  memory_release(pictures->names);
  memory_release(pictures);
}

enum { KEPT_BYTES = 48 << 10, SHORTER_SIDE = 224, JPEG_QUALITY = 85 };

/* A large picture becomes a JPEG whose shorter side has SHORTER_SIDE pixels. */
static enum status shrink(struct text *bytes) {
  const struct image_limits limits = {.max_pixels = (int64_t)1 << 30};
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

/* A benchmark's images lie under the names that its annotations use. */
static enum status read_from_folders(const struct pictures *pictures, const char *key, struct text *bytes) {
  for (int i = 0; i < pictures->folder_count; i++) {
    char *path = text_join_path(pictures->folders[i], key);
    const bool there = file_exists(path);
    enum status status = there ? file_read(path, bytes) : STATUS_OK;
    memory_release(path);
    if (there)
      return status;
  }
  return error_set(
      STATUS_INPUT,
      "--images: there is no picture of the key %s; name the shards, or the folder, that the features were "
      "made from",
      key);
}

enum status pictures_read(struct pictures *pictures, const char *key, struct text *bytes) {
  const struct named wanted = {.key = key};
  const struct named *found =
      pictures->count > 0 ? bsearch(&wanted, pictures->names, (size_t)pictures->count, sizeof wanted, compare_names)
                          : NULL;
  TRY(found ? source_read(pictures->source, found->sample, bytes, NULL) : read_from_folders(pictures, key, bytes));
  return bytes->length > KEPT_BYTES ? shrink(bytes) : STATUS_OK;
}

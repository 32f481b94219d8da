#include "base/memory.h"
#include "base/thread.h"
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

enum status pictures_read(struct pictures *pictures, const char *key, struct text *bytes) {
  const struct named wanted = {.key = key};
  const struct named *found = bsearch(&wanted, pictures->names, (size_t)pictures->count, sizeof wanted, compare_names);
  if (!found)
    return error_set(STATUS_INPUT, "no sample of the shards has the key %s; name the shards that the features were made from", key);
  return source_read(pictures->source, found->sample, bytes, NULL);
}

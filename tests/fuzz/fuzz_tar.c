/* A tar shard: indexed, opened as a source, every sample read. */
#include "fuzz.h"
#include "data/index.h"
#include "data/source.h"
#include <string.h>

enum { SAMPLES_READ = 64 };

static void read_samples(struct source *source) {
  struct text image = {0}, caption = {0};
  for (int64_t s = 0; s < source_count(source) && s < SAMPLES_READ; s++) {
    source_read(source, s, &image, &caption);
    fuzz_require(strlen(source_key(source, s)) < SIZE_MAX, "a sample has a key");
    for (int m = 0; m < source_members(source, s); m++)
      source_read_member(source, s, source_member_suffix(source, s, m), &image);
  }
  text_release(&image);
  text_release(&caption);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct fuzz_file file = fuzz_file_new(data, size);
  struct source_options options = {.paths = (const char *const[]){file.path},
                                   .path_count = 1,
                                   .format = "webdataset",
                                   .caption = size % 2 ? "json:caption;text" : "txt",
                                   .threads = 1};
  struct source *source;
  if (source_open(&options, &source) == STATUS_OK) {
    read_samples(source);
    source_close(source);
  }
  fuzz_file_release(&file);
  return 0;
}

/* A csv: opened as a source, every caption read; the first byte chooses the separator. */
#include "fuzz.h"
#include "data/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size == 0)
    return 0;
  struct fuzz_file file = fuzz_file_new(data + 1, size - 1);
  struct source_options options = {.paths = (const char *const[]){file.path},
                                   .path_count = 1,
                                   .format = "csv",
                                   .csv_separator = (const char *const[]){"\t", ",", ";"}[data[0] % 3],
                                   .threads = 1};
  struct source *source;
  if (source_open(&options, &source) == STATUS_OK) {
    struct text caption = {0};
    for (int64_t s = 0; s < source_count(source); s++)
      source_read(source, s, NULL, &caption);
    text_release(&caption);
    source_close(source);
  }
  fuzz_file_release(&file);
  return 0;
}

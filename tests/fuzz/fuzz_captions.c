/* A JSON member of a sample, and a brace list of paths: short ones, since a brace list may stand for millions. */
#include "fuzz.h"
#include "base/memory.h"
#include "data/captions.h"
#include "data/source.h"
#include <string.h>

enum { PATTERN_BYTES = 24 };

static void expand(const uint8_t *data, size_t size) {
  char pattern[PATTERN_BYTES + 1] = "";
  memcpy(pattern, data, size < PATTERN_BYTES ? size : PATTERN_BYTES);
  char **paths;
  int count, digits = 0;
  for (const char *p = pattern; *p; p++)
    digits += *p >= '0' && *p <= '9';
  if (digits < 5 && source_expand(pattern, &paths, &count) == STATUS_OK)
    source_release_paths(paths, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct text json = {0}, caption = {0};
  struct name_list keys = name_list_parse("caption;text");
  text_append(&json, (const char *)data, size);
  if (caption_from_json(&json, &keys, NULL, &caption) == STATUS_OK)
    caption_shorten(&caption);
  name_list_release(&keys);
  text_release(&json);
  text_release(&caption);
  expand(data, size);
  return 0;
}

/* An input file: its syntax, then its keys; what was accepted is written as used and read again. */
#include "fuzz.h"
#include "base/text.h"
#include "input/keys.h"
#include "input/namelist.h"

static void parse(const char *content) {
  struct namelist list = {0};
  namelist_parse("fuzz.nml", content, &list);
  namelist_release(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct text content = {0}, used = {0};
  struct settings settings;
  text_append(&content, (const char *)data, size);
  parse(content.data);
  if (input_read_text("fuzz.nml", content.data, NULL, 0, &settings, NULL) == STATUS_OK) {
    input_write_used(&settings, &used);
    settings_release(&settings);
    fuzz_require(input_read_text("used.nml", used.data, NULL, 0, &settings, NULL) == STATUS_OK,
                 "what was written as used can be read");
    settings_release(&settings);
  }
  text_release(&content);
  text_release(&used);
  return 0;
}

/* A model configuration in JSON; what was accepted is written and read again. */
#include "fuzz.h"
#include "model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct text json = {0}, written = {0};
  struct clip_config config = {0}, again = {0};
  text_append(&json, (const char *)data, size);
  if (config_parse(json.data, "fuzz.json", &config) == STATUS_OK) {
    config_write(&config, &written);
    fuzz_require(config_parse(written.data, "written.json", &again) == STATUS_OK,
                 "a configuration that was written can be read");
    fuzz_require(config_vision_tokens(&config) == config_vision_tokens(&again), "it is the same");
  }
  text_release(&json);
  text_release(&written);
  return 0;
}

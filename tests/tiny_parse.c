#include "tiny_model.h"

struct model *tiny_model_open(struct device *device, const char *json, enum dtype dtype, struct model_switches switches,
                              uint64_t seed, const char *train) {
  struct clip_config config;
  if (config_parse(json, "test", &config) != STATUS_OK)
    fatal("%s", error_message());
  config.vision.memory.meta_init = config.text.memory.meta_init = true;
  return tiny_model_create(device, &config, dtype, switches, seed, train);
}

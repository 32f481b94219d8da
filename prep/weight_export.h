/* Our weights and checkpoints as files that open_clip, or for a memory student the thesis's code, loads. */
#ifndef MEMCLIP_PREP_WEIGHT_EXPORT_H
#define MEMCLIP_PREP_WEIGHT_EXPORT_H
#include "base/dtype.h"
#include "base/text.h"
#include "base/error.h"
#include <stdbool.h>

struct export_request {
  const char *source, *out; /* .safetensors; .pt, .pth or .bin */
  bool convert;             /* to `dtype`; else every tensor as it is stored */
  enum dtype dtype;
  void (*progress)(int64_t done_bytes, int64_t total_bytes); /* or NULL */
};
struct export_summary {
  int tensors;
  int64_t parameters, bytes;
  char *config_path; /* open_clip_config.json beside `out`; memory_release */
};
enum status weight_export(const struct export_request *request, struct export_summary *summary);
#endif

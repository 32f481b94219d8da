/* Weights of others into our HDF5 file: names, shapes and positional tables led to the model of a configuration, every
 * tensor accounted for. */
#ifndef MEMCLIP_PREP_WEIGHT_IMPORT_H
#define MEMCLIP_PREP_WEIGHT_IMPORT_H
#include "weight_config.h"

struct import_request {
  const char *source, *out, *key /* of a training checkpoint; NULL is state_dict */;
  struct config_request config;
  const char *const *skip; /* patterns of names that may be left out */
  int skip_count;
  void (*progress)(int64_t done_bytes, int64_t total_bytes); /* or NULL */
};
struct import_summary {
  int taken, renamed, resampled, passed_over, skipped, missing, unknown;
  int64_t bytes, parameters;
};
/* `report`: a line for each decision and each tensor, also when something is missing or left over, which is refused. */
enum status weight_import(const struct import_request *request, struct import_summary *summary, struct text *report);
#endif

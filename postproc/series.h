/* What a run reported: the named numbers of its metrics.jsonl by step. A half-written last line is left out, null
 * values too. */
#ifndef MEMCLIP_POSTPROC_SERIES_H
#define MEMCLIP_POSTPROC_SERIES_H
#include "base/error.h"

struct series {
  char *name; /* "train/loss" */
  double *step, *value;
  int count;
};
struct run_series {
  char *path, *label; /* label: the directory's name */
  struct series *items;
  int count;
};
enum status series_read_run(const char *directory, struct run_series *run);
void series_release_run(struct run_series *run);
const struct series *series_find(const struct run_series *run, const char *name);
#endif

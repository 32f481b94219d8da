/* The table that eval prints on stdout and keeps as results.txt: one row per checkpoint and set. */
#ifndef MEMCLIP_STAGE_EVAL_TABLE_H
#define MEMCLIP_STAGE_EVAL_TABLE_H
#include "base/text.h"
#include "stage/eval_set.h"

struct eval_row {
  const char *label, *set;
  double parameters, image_gflop, similarity, images_per_second; /* similarity NAN when there is no teacher */
  int64_t images, texts;
  struct measure_list measures;
};
void eval_table_write(const struct eval_row *rows, int count, struct text *out);
#endif

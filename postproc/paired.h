/* Two models on the same queries: differences of their measures by a paired bootstrap over images. */
#ifndef MEMCLIP_POSTPROC_PAIRED_H
#define MEMCLIP_POSTPROC_PAIRED_H
#include "features.h"

#define PAIRED_LEVEL 0.05 /* of all comparisons together */
struct paired {
  char name[MEASURE_NAME_BYTES];
  bool rank;                /* smaller is better */
  double a, b, difference;  /* difference = b - a */
  struct interval interval; /* of the difference, 95 % */
  double p, adjusted_p;     /* two-sided; adjusted by paired_adjust */
};
/* STATUS_INPUT unless both hold the same images, texts and groups (keys and captions too where both have them).
 * Medians, and results by length, are left out. pairs: memory_release. */
enum status paired_compare(const struct features *a, const struct features *b, int draws, uint64_t seed,
                           struct paired **pairs, int *count);
struct comparison { /* of one data set */
  const char *data_set;
  struct features a, b;
  struct paired *pairs;
  int count;
};
/* Holm over the data sets, for each measure. */
void paired_adjust(struct comparison *comparisons, int count);
/* "better", "worse" or "not distinguishable": what b is. */
const char *paired_verdict(const struct paired *pair);
#endif

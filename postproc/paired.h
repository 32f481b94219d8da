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
  double p, adjusted_p;     /* two-sided; adjusted by Holm over all measures */
};
/* STATUS_INPUT unless both hold the same images, texts and groups (keys and captions too where both have them). Medians
 * are left out. pairs: memory_release. */
enum status paired_compare(const struct features *a, const struct features *b, int draws, uint64_t seed,
                           struct paired **pairs, int *count);
#endif

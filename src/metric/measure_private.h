/* Between the files of measure.h. */
#ifndef MEMCLIP_METRIC_MEASURE_PRIVATE_H
#define MEMCLIP_METRIC_MEASURE_PRIVATE_H
#include "metric/measure.h"

/* A new measure "prefix name" with room for `capacity` queries. */
struct measure *measure_add(struct measure_list *list, const char *prefix, const char *name, int64_t capacity);
void measure_add_value(struct measure *measure, double value, int64_t image);
/* Recalls of both directions by number of tokens and by truncation. */
void measure_add_lengths(struct measure_list *list, const struct retrieval *set, const struct measure_extras *extras,
                         const int64_t *text_ranks, const int64_t *image_ranks);
#endif

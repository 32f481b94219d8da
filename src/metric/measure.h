/* Named results of a retrieval set: each is a mean over queries (or the median rank) with its 95 % interval over
 * images. The list makes results.json, the table of memclip-metrics and the report; memclip-compare pairs the queries
 * of two lists. */
#ifndef MEMCLIP_METRIC_MEASURE_H
#define MEMCLIP_METRIC_MEASURE_H
#include "metric/metric.h"
#include <stdbool.h>

enum { MEASURE_NAME_BYTES = 64, MEASURE_DRAWS = 1000, MEASURE_SEED = 1 };
struct measure {
  char name[MEASURE_NAME_BYTES]; /* "text_to_image_R@1", "within_group_R@1", "negative_accuracy",
                                    "negative_accuracy_swap" */
  bool rank;                     /* a rank (smaller is better), else a fraction */
  bool median;                   /* of the values, not their mean */
  double value, chance;          /* chance: what random features expect; NAN for ranks */
  struct interval interval;      /* equal ends without draws */
  int64_t count;                 /* queries */
  bool by_length;                /* of queries with tokens_from .. tokens_to tokens: "..._tokens_17-32" */
  bool by_truncation;            /* "..._truncated", "..._whole" */
  int tokens_from, tokens_to;
  double *values; /* [count] rank from 1, 1 for a hit and 0 for a miss, or one half */
  int64_t *image; /* [count] the image that a query belongs to */
};
struct measure_list {
  struct measure *items;
  int count;
};
/* What a set may carry besides; zero-initialised is nothing. */
struct measure_extras {
  const int64_t *group;             /* [N] images that are alike share a number; negative: in no group */
  const float *negatives;           /* [Q,E] wrong captions */
  const int64_t *right_text;        /* [Q] the right one, a number of a text */
  const int64_t *negative_image;    /* [Q] */
  const char *const *negative_kind; /* [Q] or NULL */
  int64_t negative_count;
  const int32_t *tokens; /* [M] of each text before cutting, start and end included; NULL: not known */
  int context;           /* texts of more tokens were cut to these */
};
/* Recalls, mean and median ranks in both directions; R@1 of texts among the images of their own group and of images
 * among its texts; the share of wrong captions that score less than the right one, over all and per kind. Ties are
 * misses within groups and one half for wrong captions. With token counts, recalls also by number of tokens (an image
 * counts with the mean of its texts) and apart for queries with and without a cut text. draws 0: no intervals.
 * measure_release frees the list. */
void measure_ranked(const struct retrieval *set, const struct measure_extras *extras, const int64_t *text_ranks,
                    const int64_t *image_ranks, int draws, uint64_t seed, struct measure_list *list);
/* The same from ranks counted here. */
void measure_retrieval(const struct retrieval *set, const struct measure_extras *extras, int draws, uint64_t seed,
                       struct measure_list *list);
const struct measure *measure_find(const struct measure_list *list, const char *name);
void measure_release(struct measure_list *list);
#endif

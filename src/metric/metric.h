/* Retrieval metrics from unit features (methods 2.3, 4.1): ranks by counting, tile by tile, recalls, bootstrap
 * intervals. Shared by training, eval and postproc/. Scores are fp32 dot products summed in a fixed order, so equal
 * features give equal scores wherever they lie in a tile. Plain functions, no MPI: the share of a rank is a range of
 * queries. */
#ifndef MEMCLIP_METRIC_METRIC_H
#define MEMCLIP_METRIC_METRIC_H
#include "base/error.h"
#include <stdint.h>

/* features: images [N,E], texts [M,E]; image_of_text [M] in 0..N-1. */
struct retrieval {
  const float *images, *texts;
  int64_t image_count, text_count, width;
  const int64_t *image_of_text;
};
/* 0-based rank of each text's image among all images: #{greater} + #{equal with smaller index}; a score that is not a
 * number counts as greater. Queries first .. first+count-1; ranks [count]. Threads inside. */
void metric_text_to_image_ranks(const struct retrieval *set, int64_t first, int64_t count, int64_t *ranks);
/* For each image the minimum, over its texts, of the 0-based rank among all texts. An image without text gets -1. */
void metric_image_to_text_ranks(const struct retrieval *set, int64_t first, int64_t count, int64_t *ranks);

/* Both from one pass over the scores: text_ranks [M], image_ranks [N]. */
void metric_ranks(const struct retrieval *set, int64_t *text_ranks, int64_t *image_ranks);
/* A share of that pass, for several processes: images first .. first+count-1 against all texts. image_ranks [count] are
 * complete; text_counts [M] say how many of these images go before each text's own: summed over all shares, and at most
 * N - 1, they are the ranks. `progress` (NULL allowed) hears from one thread how many texts are done. */
struct metric_listener {
  void (*progress)(void *context, int64_t done, int64_t total);
  void *context;
};
void metric_rank_share(const struct retrieval *set, int64_t first, int64_t count,
                       const struct metric_listener *listener, int64_t *text_counts, int64_t *image_ranks);

struct recall_summary {
  double recall_1, recall_5, recall_10, mean_rank, median_rank;
  int64_t count;
}; /* fractions; ranks start at 1, the median is rounded down */
struct recall_summary metric_summarize_ranks(const int64_t *ranks, int64_t count); /* negative ranks are left out */

struct interval {
  double low, high;
};
/* 95 % percentile bootstrap over groups (images): `group[i]` of value i in 0..groups-1; statistic = mean of values over
 * the drawn groups. Deterministic in seed. */
struct interval metric_bootstrap_mean(const double *values, const int64_t *group, int64_t count, int64_t groups,
                                      int draws, uint64_t seed);
/* Two-sided p of "the mean is 0" on the same draws: twice the smaller share of draws at or beyond 0, the data counting
 * as one draw. */
double metric_bootstrap_sign(const double *values, const int64_t *group, int64_t count, int64_t groups, int draws,
                             uint64_t seed);
/* The interval of the median rank as metric_summarize_ranks defines it; negative ranks are left out. */
struct interval metric_bootstrap_median(const int64_t *ranks, const int64_t *group, int64_t count, int64_t groups,
                                        int draws, uint64_t seed);
double metric_mean(const float *values, int64_t count);
double metric_median(const float *values, int64_t count);
/* Symmetric cross-entropy of the full matrix for paired unit features (i <-> i), scale = exp(logit_scale), at most 300.
 */
double metric_contrastive_loss(const float *images, const float *texts, int64_t count, int64_t width, double scale);
#endif

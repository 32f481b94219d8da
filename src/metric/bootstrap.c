/* Percentile bootstrap over groups: captions of one image are drawn together. Draw d is a pure function of (seed, d),
 * so two runs over the same groups are compared on the same draws, whatever the threads. */
#include "metric/metric.h"
#include "base/memory.h"
#include "base/random.h"
#include <stdlib.h>
#include <string.h>

/* times[g] = how often group g is drawn, `groups` draws with replacement. */
static void draw_groups(uint64_t seed, int draw, int64_t groups, int32_t *times) {
  uint64_t key = random_philox_key(&(struct random_key){.seed = seed, .use = RANDOM_BOOTSTRAP});
  memset(times, 0, (size_t)groups * sizeof *times);
  for (int64_t i = 0; i < groups; i += 4) {
    uint32_t words[4];
    random_philox(key, (uint64_t)draw, (uint64_t)i / 4, words);
    for (int64_t w = 0; w < 4 && i + w < groups; w++)
      times[(uint64_t)words[w] * (uint64_t)groups >> 32]++;
  }
}

static int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Between the sorted draws, linearly: position p (draws - 1). */
static double quantile(const double *sorted, int draws, double p) {
  double position = p * (draws - 1);
  int below = (int)position, above = below + 1 < draws ? below + 1 : below;
  return sorted[below] + (position - below) * (sorted[above] - sorted[below]);
}

static struct interval interval_of_draws(double *drawn, int draws) {
  qsort(drawn, (size_t)draws, sizeof *drawn, compare_doubles);
  return (struct interval){quantile(drawn, draws, 0.025), quantile(drawn, draws, 0.975)};
}

/* drawn[d] = mean of the values over draw d; the plain mean where a draw holds none. */
static void draw_means(const double *values, const int64_t *group, int64_t count, int64_t groups, int draws,
                       uint64_t seed, double *drawn) {
  double *sum = memory_allocate((size_t)(2 * groups + 1) * sizeof *sum, "bootstrap"), *size = sum + groups, total = 0;
  for (int64_t i = 0; i < count; i++) {
    sum[group[i]] += values[i];
    size[group[i]] += 1;
    total += values[i];
  }
#pragma omp parallel
  {
    int32_t *times = memory_allocate((size_t)groups * sizeof *times, "bootstrap draw");
#pragma omp for schedule(static)
    for (int d = 0; d < draws; d++) {
      double above = 0, below = 0;
      draw_groups(seed, d, groups, times);
      for (int64_t g = 0; g < groups; g++) {
        above += times[g] * sum[g];
        below += times[g] * size[g];
      }
      drawn[d] = below > 0 ? above / below : total / (double)count;
    }
    memory_release(times);
  }
  memory_release(sum);
}

struct interval metric_bootstrap_mean(const double *values, const int64_t *group, int64_t count, int64_t groups,
                                      int draws, uint64_t seed) {
  if (count == 0 || draws < 1)
    return (struct interval){0, 0};
  double *drawn = memory_allocate((size_t)draws * sizeof *drawn, "bootstrap");
  draw_means(values, group, count, groups, draws, seed, drawn);
  struct interval interval = interval_of_draws(drawn, draws);
  memory_release(drawn);
  return interval;
}

double metric_bootstrap_sign(const double *values, const int64_t *group, int64_t count, int64_t groups, int draws,
                             uint64_t seed) {
  if (count == 0 || draws < 1)
    return 1;
  double *drawn = memory_allocate((size_t)draws * sizeof *drawn, "bootstrap"), below = 0, above = 0;
  draw_means(values, group, count, groups, draws, seed, drawn);
  for (int d = 0; d < draws; d++) {
    below += drawn[d] <= 0;
    above += drawn[d] >= 0;
  }
  memory_release(drawn);
  double p = 2 * ((below < above ? below : above) + 1) / (draws + 1);
  return p < 1 ? p : 1;
}

struct ranked {
  int64_t rank, group;
};

static int compare_ranked(const void *a, const void *b) {
  const struct ranked *x = a, *y = b;
  return (x->rank > y->rank) - (x->rank < y->rank);
}

/* Rank of the item at `position` when item i occurs times[group] times. */
static int64_t rank_at(const struct ranked *items, int64_t count, const int32_t *times, int64_t position) {
  int64_t seen = 0;
  for (int64_t i = 0; i < count; i++) {
    seen += times[items[i].group];
    if (seen > position)
      return items[i].rank;
  }
  return items[count - 1].rank;
}

static double drawn_median(const struct ranked *items, int64_t count, const int32_t *times) {
  int64_t total = 0;
  for (int64_t i = 0; i < count; i++)
    total += times[items[i].group];
  int64_t low = rank_at(items, count, times, total > 0 ? (total - 1) / 2 : 0);
  return (double)(1 + (low + rank_at(items, count, times, total / 2)) / 2);
}

struct interval metric_bootstrap_median(const int64_t *ranks, const int64_t *group, int64_t count, int64_t groups,
                                        int draws, uint64_t seed) {
  struct ranked *items = memory_allocate((size_t)(count + 1) * sizeof *items, "ranks");
  double *drawn = memory_allocate((size_t)(draws + 1) * sizeof *drawn, "bootstrap");
  int64_t kept = 0;
  for (int64_t i = 0; i < count; i++)
    if (ranks[i] >= 0)
      items[kept++] = (struct ranked){ranks[i], group[i]};
  qsort(items, (size_t)kept, sizeof *items, compare_ranked);
  struct interval interval = {0, 0};
  if (kept > 0 && draws > 0) {
#pragma omp parallel
    {
      int32_t *times = memory_allocate((size_t)groups * sizeof *times, "bootstrap draw");
#pragma omp for schedule(static)
      for (int d = 0; d < draws; d++) {
        draw_groups(seed, d, groups, times);
        drawn[d] = drawn_median(items, kept, times);
      }
      memory_release(times);
    }
    interval = interval_of_draws(drawn, draws);
  }
  memory_release(drawn);
  memory_release(items);
  return interval;
}

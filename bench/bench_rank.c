/* Time and rate of ranking images and texts both ways: bench_rank [IMAGES TEXTS WIDTH]; --paced is for bench/beside.py.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "metric/metric.h"
#include "pace.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 5 };

/* Numbers from a row of 2^16 normal ones, each row starting elsewhere. */
static float *make_features(int64_t rows, int64_t width, uint64_t seed) {
  enum { POOL = 1 << 16 };
  float *values = memory_allocate((size_t)(rows * width) * sizeof *values, "features"),
        *pool = memory_allocate(POOL * sizeof *pool, "numbers");
  const struct random_key key = {.seed = seed, .use = RANDOM_TEST};
  for (uint64_t i = 0; i < POOL; i++)
    pool[i] = (float)random_normal(&key, i);
  for (int64_t i = 0; i < rows * width; i++)
    values[i] = pool[(i + i / width * 7919) % POOL];
  memory_release(pool);
  return values;
}

struct ranking {
  struct retrieval set;
  int64_t *text_ranks, *image_ranks;
};

static double time_ranks(void *opaque) {
  const struct ranking *ranking = opaque;
  const double start = clock_seconds();
  metric_ranks(&ranking->set, ranking->text_ranks, ranking->image_ranks);
  return clock_seconds() - start;
}

static void measure_freely(struct ranking *ranking) {
  const struct retrieval *set = &ranking->set;
  double best = INFINITY;
  for (int round = 0; round < ROUNDS; round++)
    best = fmin(best, time_ranks(ranking));
  printf("%" PRId64 " images x %" PRId64 " texts x %" PRId64 ", both ways: %.3f s, %.0f GFLOP/s (best of %d)\n",
         set->image_count, set->text_count, set->width, best,
         2e-9 * (double)set->image_count * (double)set->text_count * (double)set->width / best, ROUNDS);
}

static void measure_paced(struct ranking *ranking) {
  printf("{\"items\": 1}\n");
  fflush(stdout);
  pace_steps(time_ranks, ranking);
  printf("{\"gigabytes\": %.3f}\n", 1e-6 * (double)pace_peak_kilobytes());
}

int main(int argument_count, char **arguments) {
  const bool paced = argument_count > 1 && strcmp(arguments[1], "--paced") == 0;
  int64_t size[3] = {5000, 25000, 512};
  for (int a = 0; a < 3 && a + 1 < argument_count && !paced; a++)
    size[a] = atoll(arguments[a + 1]);
  float *images = make_features(size[0], size[2], 1), *texts = make_features(size[1], size[2], 2);
  int64_t *owner = memory_allocate((size_t)size[1] * sizeof *owner, "owner");
  for (int64_t j = 0; j < size[1]; j++)
    owner[j] = j % size[0];
  struct ranking ranking = {.set = {images, texts, size[0], size[1], size[2], owner},
                            .text_ranks = memory_allocate((size_t)size[1] * sizeof *owner, "ranks"),
                            .image_ranks = memory_allocate((size_t)size[0] * sizeof *owner, "ranks")};
  time_ranks(&ranking);
  if (paced)
    measure_paced(&ranking);
  else
    measure_freely(&ranking);
  memory_release(ranking.image_ranks);
  memory_release(ranking.text_ranks);
  memory_release(owner);
  memory_release(texts);
  memory_release(images);
  return 0;
}

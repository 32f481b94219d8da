/* Time and rate of ranking images and texts both ways: bench_rank [IMAGES TEXTS WIDTH]. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "metric/metric.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

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

int main(int argument_count, char **arguments) {
  int64_t size[3] = {5000, 25000, 512};
  for (int a = 0; a < 3 && a + 1 < argument_count; a++)
    size[a] = atoll(arguments[a + 1]);
  float *images = make_features(size[0], size[2], 1), *texts = make_features(size[1], size[2], 2);
  int64_t *owner = memory_allocate((size_t)size[1] * sizeof *owner, "owner"),
          *text_ranks = memory_allocate((size_t)size[1] * sizeof *owner, "ranks");
  int64_t *image_ranks = memory_allocate((size_t)size[0] * sizeof *owner, "ranks");
  for (int64_t j = 0; j < size[1]; j++)
    owner[j] = j % size[0];
  const struct retrieval set = {images, texts, size[0], size[1], size[2], owner};
  double best = 0;
  for (int round = 0; round < ROUNDS; round++) {
    double start = clock_seconds();
    metric_ranks(&set, text_ranks, image_ranks);
    double seconds = clock_seconds() - start;
    best = round == 0 || seconds < best ? seconds : best;
  }
  printf("%" PRId64 " images x %" PRId64 " texts x %" PRId64 ", both ways: %.3f s, %.0f GFLOP/s (best of %d)\n",
         size[0], size[1], size[2], best, 2e-9 * (double)size[0] * (double)size[1] * (double)size[2] / best, ROUNDS);
  memory_release(image_ranks);
  memory_release(text_ranks);
  memory_release(owner);
  memory_release(texts);
  memory_release(images);
  return 0;
}

/* Which sample comes when: pure functions of (seed, epoch, position), so that resume is exact, and ranks and threads
 * change nothing. Global batch g of an epoch holds positions g*G .. g*G+G-1; accumulation step a of rank r of R with
 * micro-batch b takes those from g*G + (a*R + r)*b. */
#ifndef MEMCLIP_DATA_ORDER_H
#define MEMCLIP_DATA_ORDER_H
#include <stdbool.h>
#include <stdint.h>
enum shuffle { SHUFFLE_NONE, SHUFFLE_GLOBAL, SHUFFLE_WINDOW };
struct order {
  uint64_t seed;
  int64_t count;             /* samples of the source */
  int64_t samples_per_epoch; /* 0 or count, or a virtual epoch's length: epoch e holds positions e*length .. of one
                                endless row of permutations */
  enum shuffle shuffle;
  int64_t window;              /* samples per window of shards (SHUFFLE_WINDOW) */
  const int64_t *shard_bounds; /* [shards + 1] where a window is made of shards; NULL: of `window` samples in a row */
  int shards;
  struct order_windows *windows; /* order_windows_new; needed with shard_bounds */
  bool resampled; /* every position draws a sample; a path weighs path_weights[i] x its samples (NULL: 1) */
  const int64_t *path_bounds;
  const double *path_weights;
  int paths;
};
struct order_windows;
/* Remembers how the shards of a pass are shuffled, so that finding a sample takes no walk over all shards; NULL where
 * the order needs none. Allocates here, not later. Threads may share it. */
struct order_windows *order_windows_new(const struct order *order);
void order_windows_release(struct order_windows *windows);
int64_t order_sample(const struct order *order, int64_t epoch, int64_t position);
/* The sample that takes the place of a bad one: attempt 1, 2, ... */
int64_t order_replacement(const struct order *order, int64_t epoch, int64_t position, int attempt);
#endif

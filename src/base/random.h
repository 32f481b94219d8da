/* Counter-based random numbers (Philox 4x32-10): the value is a pure function of the key and the counter, so a replayed
 * micro-batch, a restart or another number of ranks sees the same numbers. There is no generator state.
 * The CUDA device computes the same bits. */
#ifndef MEMCLIP_BASE_RANDOM_H
#define MEMCLIP_BASE_RANDOM_H
#include <stdint.h>

/* What a stream of random numbers is for; part of the key. Append only: numbers are part of the promise of restarts. */
enum random_use {
  RANDOM_INIT = 1,
  RANDOM_ORDER,
  RANDOM_CROP,
  RANDOM_PATCH_DROPOUT,
  RANDOM_SOURCE,
  RANDOM_REPLACEMENT,
  RANDOM_SCENE,
  RANDOM_BOOTSTRAP,
  RANDOM_TEST,
  RANDOM_DROPOUT,
  RANDOM_COLOR,
  RANDOM_CAPTION
};
struct random_key {
  uint64_t seed;  /* run.seed */
  uint64_t index; /* step, epoch or sample, as the use says */
  uint32_t use;   /* enum random_use */
  uint32_t layer; /* layer or parameter number, 0 where there is none */
};
/* The generator itself: four words from the key and the counter (high, low). */
void random_philox(uint64_t key, uint64_t high, uint64_t low, uint32_t out[4]);
/* The Philox key that stands for seed, use and layer; a kernel that draws in bulk calls it once on the host, then
 * random_philox(key, index, counter / 2): words 0-1 are the bits of the even counter (low word first), 2-3 of the odd.
 */
uint64_t random_philox_key(const struct random_key *key);

uint64_t random_bits(const struct random_key *key, uint64_t counter);
uint64_t random_below(const struct random_key *key, uint64_t counter,
                      uint64_t bound);                                 /* 0 .. bound-1, unbiased to 2^-64 */
double random_uniform(const struct random_key *key, uint64_t counter); /* [0, 1), 53 bits */
double random_normal(const struct random_key *key, uint64_t counter);  /* N(0, 1), Box-Muller on the counter's block */
/* Image of `position` under a pseudo-random permutation of 0..count-1 chosen by the key, in O(1) time and memory
 * (Feistel network with cycle walking). */
uint64_t random_permute(const struct random_key *key, uint64_t position, uint64_t count);
#endif

#include "base/random.h"
#include "base/philox.h"
#include <math.h>

void random_philox(uint64_t key, uint64_t high, uint64_t low, uint32_t out[4]) {
  philox(key, high, low, out);
}

/* A bijection of 64-bit words in which every output bit depends on every input bit (finaliser of SplitMix64). */
static uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

uint64_t random_philox_key(const struct random_key *key) {
  return mix(key->seed ^ mix(((uint64_t)key->use << 32 | key->layer) + 0x9e3779b97f4a7c15u));
}

/* The two 64-bit halves of the block in which `counter` lies. */
static void block_of(const struct random_key *key, uint64_t counter, uint64_t halves[2]) {
  uint32_t words[4];
  random_philox(random_philox_key(key), key->index, counter >> 1, words);
  halves[0] = (uint64_t)words[1] << 32 | words[0];
  halves[1] = (uint64_t)words[3] << 32 | words[2];
}

uint64_t random_bits(const struct random_key *key, uint64_t counter) {
  uint64_t halves[2];
  block_of(key, counter, halves);
  return halves[counter & 1];
}

uint64_t random_below(const struct random_key *key, uint64_t counter, uint64_t bound) {
  return (uint64_t)(((unsigned __int128)random_bits(key, counter) * bound) >> 64);
}

double random_uniform(const struct random_key *key, uint64_t counter) {
  return (double)(random_bits(key, counter) >> 11) * 0x1p-53;
}

/* Box-Muller on the block: sqrt(-2 log u) times cos(2 pi v) for the even counter, sin(2 pi v) for the odd one; u in (0,
 * 1]. */
double random_normal(const struct random_key *key, uint64_t counter) {
  uint64_t halves[2];
  block_of(key, counter, halves);
  double u = (double)((halves[0] >> 11) + 1) * 0x1p-53, v = (double)(halves[1] >> 11) * 0x1p-53;
  double radius = sqrt(-2 * log(u)), angle = 2 * M_PI * v;
  return radius * ((counter & 1) ? sin(angle) : cos(angle));
}

enum { FEISTEL_ROUNDS = 8 };

/* One pass of an alternating Feistel network over `bits` bits: a permutation of 0 .. 2^bits - 1. */
static uint64_t feistel(const uint64_t keys[FEISTEL_ROUNDS], uint64_t value, int bits) {
  int low_bits = bits / 2, high_bits = bits - low_bits;
  uint64_t high = value >> low_bits, low = value & ((UINT64_C(1) << low_bits) - 1);
  for (int round = 0; round < FEISTEL_ROUNDS; round++) {
    int width = round % 2 == 0 ? high_bits : low_bits;
    uint64_t fresh = high ^ (mix(keys[round] ^ low) & ((UINT64_C(1) << width) - 1));
    high = low;
    low = fresh;
  }
  return high << low_bits | low;
}

uint64_t random_permute(const struct random_key *key, uint64_t position, uint64_t count) {
  if (count < 2)
    return 0;
  int bits = 64 - __builtin_clzll(count - 1);
  if (bits < 2)
    bits = 2;
  uint64_t keys[FEISTEL_ROUNDS];
  for (int round = 0; round < FEISTEL_ROUNDS; round += 2)
    block_of(key, (uint64_t)round, keys + round);
  do
    position = feistel(keys, position, bits); /* walks the cycle back into 0 .. count - 1 */
  while (position >= count);
  return position;
}

#include "data/image_kernels.h"
#include <immintrin.h>
#include <string.h>

/* Four RGB pixels, in both halves -> 16-bit lanes (r0 r1 g0 g1 b0 b1 0 0 | r2 r3 g2 g3 b2 b3 0 0). */
static inline __m256i spread_pixels(const uint8_t *pixels) {
  const __m256i order = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 6, -1, 9, -1, 7, -1,
                                         10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)pixels)), order);
}

/* Weights (w0 w1) in every lane of the lower half, (w2 w3) in the upper. */
static inline __m256i spread_weights(const int16_t *weights) {
  const __m256i lanes = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
  return _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(_mm_loadl_epi64((const __m128i *)weights)), lanes);
}

static inline __m256i finish(__m256i high, __m256i low) {
  const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, IMAGE_LOW_BITS), low);
  return _mm256_srai_epi32(_mm256_add_epi32(sum, _mm256_set1_epi32(1 << (IMAGE_WEIGHT_BITS - 1))), IMAGE_WEIGHT_BITS);
}

/* The sums of both halves -> r g b 0 as 32-bit values. */
static inline __m128i finish_pixel(__m256i high, __m256i low) {
  const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, IMAGE_LOW_BITS), low);
  const __m128i both = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  return _mm_srai_epi32(_mm_add_epi32(both, _mm_set1_epi32(1 << (IMAGE_WEIGHT_BITS - 1))), IMAGE_WEIGHT_BITS);
}

static inline void store_four(__m128i a, __m128i b, __m128i c, __m128i d, int x, uint8_t *const to[IMAGE_ROW_BLOCK]) {
  const __m128i packed = _mm_packus_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
  uint32_t pixel[IMAGE_ROW_BLOCK];
  _mm_storeu_si128((__m128i *)pixel, packed);
  for (int r = 0; r < IMAGE_ROW_BLOCK; r++)
    memcpy(to[r] + 3 * x, &pixel[r], sizeof pixel[r]);
}

static void horizontal(const uint8_t *const from[IMAGE_ROW_BLOCK], const struct image_taps *taps,
                       uint8_t *const to[IMAGE_ROW_BLOCK]) {
  const int16_t *group = taps->weights;
  for (int x = 0; x < taps->count; x++) {
    int64_t offset = (int64_t)taps->first[x] * 3;
    __m256i high[IMAGE_ROW_BLOCK], low[IMAGE_ROW_BLOCK];
    for (int r = 0; r < IMAGE_ROW_BLOCK; r++)
      high[r] = low[r] = _mm256_setzero_si256();
    for (int g = 0; g < taps->groups; g++, group += 2 * IMAGE_TAP_GROUP, offset += 3 * IMAGE_TAP_GROUP) {
      const __m256i weight_high = spread_weights(group), weight_low = spread_weights(group + IMAGE_TAP_GROUP);
#pragma GCC unroll 4
      for (int r = 0; r < IMAGE_ROW_BLOCK; r++) {
        const __m256i pixels = spread_pixels(from[r] + offset);
        high[r] = _mm256_add_epi32(high[r], _mm256_madd_epi16(pixels, weight_high));
        low[r] = _mm256_add_epi32(low[r], _mm256_madd_epi16(pixels, weight_low));
      }
    }
    store_four(finish_pixel(high[0], low[0]), finish_pixel(high[1], low[1]), finish_pixel(high[2], low[2]),
               finish_pixel(high[3], low[3]), x, to);
  }
}

/* Two weights in every 32-bit lane. */
static inline __m256i pair_of(const int16_t *weights) {
  int32_t pair;
  memcpy(&pair, weights, sizeof pair);
  return _mm256_set1_epi32(pair);
}

static void vertical(const uint8_t *const *rows, const int16_t *weights, int groups, uint8_t *to, int bytes) {
  const __m256i zero = _mm256_setzero_si256();
  for (int i = 0; i < bytes; i += 32) {
    __m256i high[4] = {zero, zero, zero, zero}, low[4] = {zero, zero, zero, zero};
    for (int k = 0; k < groups * IMAGE_TAP_GROUP; k += 2) {
      const int16_t *pair = weights + (k / IMAGE_TAP_GROUP) * 2 * IMAGE_TAP_GROUP + k % IMAGE_TAP_GROUP;
      const __m256i weight_high = pair_of(pair), weight_low = pair_of(pair + IMAGE_TAP_GROUP);
      const __m256i a = _mm256_loadu_si256((const __m256i *)(rows[k] + i)),
                    b = _mm256_loadu_si256((const __m256i *)(rows[k + 1] + i));
      const __m256i first = _mm256_unpacklo_epi8(a, b), second = _mm256_unpackhi_epi8(a, b);
      const __m256i part[4] = {_mm256_unpacklo_epi8(first, zero), _mm256_unpackhi_epi8(first, zero),
                               _mm256_unpacklo_epi8(second, zero), _mm256_unpackhi_epi8(second, zero)};
#pragma GCC unroll 4
      for (int p = 0; p < 4; p++) {
        high[p] = _mm256_add_epi32(high[p], _mm256_madd_epi16(part[p], weight_high));
        low[p] = _mm256_add_epi32(low[p], _mm256_madd_epi16(part[p], weight_low));
      }
    }
    const __m256i left = _mm256_packs_epi32(finish(high[0], low[0]), finish(high[1], low[1]));
    const __m256i right = _mm256_packs_epi32(finish(high[2], low[2]), finish(high[3], low[3]));
    _mm256_storeu_si256((__m256i *)(to + i), _mm256_packus_epi16(left, right));
  }
}

const struct image_kernels image_kernels_avx2 = {"avx2", horizontal, vertical};

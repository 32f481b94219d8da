#include "data/image_kernels.h"
#include <immintrin.h>
#include <string.h>

/* Four RGB pixels of two rows -> 16-bit lanes (r0 r1 g0 g1 b0 b1 0 0 | r2 r3 g2 g3 b2 b3 0 0), the second row in the
 * upper half. */
static inline __m512i spread_pixels(const uint8_t *above, const uint8_t *below) {
  const __m512i order =
      _mm512_broadcast_i64x4(_mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 6, -1, 9, -1, 7,
                                              -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
  const __m512i first = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)above));
  return _mm512_shuffle_epi8(_mm512_mask_broadcast_i32x4(first, 0xff00, _mm_loadu_si128((const __m128i *)below)),
                             order);
}

/* Weights (w0 w1) in every lane of the even quarters, (w2 w3) in the odd ones. */
static inline __m512i spread_weights(const int16_t *weights) {
  const __m512i lanes = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1);
  return _mm512_permutexvar_epi32(lanes, _mm512_castsi128_si512(_mm_loadl_epi64((const __m128i *)weights)));
}

static inline __m512i finish(__m512i high, __m512i low) {
  const __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(high, IMAGE_LOW_BITS), low);
  return _mm512_srai_epi32(_mm512_add_epi32(sum, _mm512_set1_epi32(1 << (IMAGE_WEIGHT_BITS - 1))), IMAGE_WEIGHT_BITS);
}

/* The sums of two rows -> r g b 0 of the first, then of the second. */
static inline __m256i finish_pixels(__m512i high, __m512i low) {
  const __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(high, IMAGE_LOW_BITS), low);
  const __m512i both = _mm512_add_epi32(sum, _mm512_shuffle_i32x4(sum, sum, _MM_SHUFFLE(2, 3, 0, 1)));
  const __m256i rows = _mm512_castsi512_si256(_mm512_shuffle_i32x4(both, both, _MM_SHUFFLE(2, 0, 2, 0)));
  return _mm256_srai_epi32(_mm256_add_epi32(rows, _mm256_set1_epi32(1 << (IMAGE_WEIGHT_BITS - 1))), IMAGE_WEIGHT_BITS);
}

/* Packing keeps to halves: the lower half holds rows 0 and 2, the upper 1 and 3. */
static inline void store_four(__m256i rows01, __m256i rows23, int x, uint8_t *const to[IMAGE_ROW_BLOCK]) {
  const __m256i words = _mm256_packs_epi32(rows01, rows23);
  const __m256i packed = _mm256_packus_epi16(words, words);
  uint32_t pixel[8];
  _mm256_storeu_si256((__m256i *)pixel, packed);
  memcpy(to[0] + 3 * x, &pixel[0], 4);
  memcpy(to[2] + 3 * x, &pixel[1], 4);
  memcpy(to[1] + 3 * x, &pixel[4], 4);
  memcpy(to[3] + 3 * x, &pixel[5], 4);
}

static void horizontal(const uint8_t *const from[IMAGE_ROW_BLOCK], const struct image_taps *taps,
                       uint8_t *const to[IMAGE_ROW_BLOCK]) {
  const int16_t *group = taps->weights;
  for (int x = 0; x < taps->count; x++) {
    int64_t offset = (int64_t)taps->first[x] * 3;
    __m512i high01 = _mm512_setzero_si512(), low01 = high01, high23 = high01, low23 = high01;
    for (int g = 0; g < taps->groups; g++, group += 2 * IMAGE_TAP_GROUP, offset += 3 * IMAGE_TAP_GROUP) {
      const __m512i weight_high = spread_weights(group), weight_low = spread_weights(group + IMAGE_TAP_GROUP);
      const __m512i rows01 = spread_pixels(from[0] + offset, from[1] + offset),
                    rows23 = spread_pixels(from[2] + offset, from[3] + offset);
      high01 = _mm512_add_epi32(high01, _mm512_madd_epi16(rows01, weight_high));
      low01 = _mm512_add_epi32(low01, _mm512_madd_epi16(rows01, weight_low));
      high23 = _mm512_add_epi32(high23, _mm512_madd_epi16(rows23, weight_high));
      low23 = _mm512_add_epi32(low23, _mm512_madd_epi16(rows23, weight_low));
    }
    store_four(finish_pixels(high01, low01), finish_pixels(high23, low23), x, to);
  }
}

/* Two weights in every 32-bit lane. */
static inline __m512i pair_of(const int16_t *weights) {
  int32_t pair;
  memcpy(&pair, weights, sizeof pair);
  return _mm512_set1_epi32(pair);
}

static void vertical(const uint8_t *const *rows, const int16_t *weights, int groups, uint8_t *to, int bytes) {
  const __m512i zero = _mm512_setzero_si512();
  for (int i = 0; i < bytes; i += 64) {
    __m512i high[4] = {zero, zero, zero, zero}, low[4] = {zero, zero, zero, zero};
    for (int k = 0; k < groups * IMAGE_TAP_GROUP; k += 2) {
      const int16_t *pair = weights + (k / IMAGE_TAP_GROUP) * 2 * IMAGE_TAP_GROUP + k % IMAGE_TAP_GROUP;
      const __m512i weight_high = pair_of(pair), weight_low = pair_of(pair + IMAGE_TAP_GROUP);
      const __m512i a = _mm512_loadu_si512(rows[k] + i), b = _mm512_loadu_si512(rows[k + 1] + i);
      const __m512i first = _mm512_unpacklo_epi8(a, b), second = _mm512_unpackhi_epi8(a, b);
      const __m512i part[4] = {_mm512_unpacklo_epi8(first, zero), _mm512_unpackhi_epi8(first, zero),
                               _mm512_unpacklo_epi8(second, zero), _mm512_unpackhi_epi8(second, zero)};
#pragma GCC unroll 4
      for (int p = 0; p < 4; p++) {
        high[p] = _mm512_add_epi32(high[p], _mm512_madd_epi16(part[p], weight_high));
        low[p] = _mm512_add_epi32(low[p], _mm512_madd_epi16(part[p], weight_low));
      }
    }
    const __m512i left = _mm512_packs_epi32(finish(high[0], low[0]), finish(high[1], low[1]));
    const __m512i right = _mm512_packs_epi32(finish(high[2], low[2]), finish(high[3], low[3]));
    _mm512_storeu_si512(to + i, _mm512_packus_epi16(left, right));
  }
}

const struct image_kernels image_kernels_avx512 = {"avx512", horizontal, vertical};

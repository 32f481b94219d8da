/* Small matrix products on packed operands, for the kernels of attention and memory.
 *
 * An operand is made of 32-bit words: one fp32 number, or, where the processor multiplies bf16, a PAIR of bf16 that are
 * neighbours along the summed dimension (the earlier one in the low half). With `pairs` a constant, the functions here
 * are compiled twice. A tile is TILE_ROWS rows times up to TILE_VECTORS vectors of columns, all of it in registers. */
#ifndef MEMCLIP_DEVICE_CPU_TILE_H
#define MEMCLIP_DEVICE_CPU_TILE_H
#include "base/dtype.h"
#include "device/cpu/simd.h"
#include <stdbool.h>
#include <stdint.h>

#ifdef __SANITIZE_ADDRESS__ /* instrumented code in one piece takes minutes to compile */
#define TILE_INLINE static inline
#else
#define TILE_INLINE static inline __attribute__((always_inline))
#endif

/* The number of each lane. */
#if LANES == 16
#define TILE_LANE ((vint){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
#elif LANES == 8
#define TILE_LANE ((vint){0, 1, 2, 3, 4, 5, 6, 7})
#else
#define TILE_LANE ((vint){0, 1, 2, 3})
#endif

enum { TILE_ROWS = 6, TILE_VECTORS = LANES == 16 ? 4 : 2 };

#ifdef __AVX512BF16__
enum { TILE_MULTIPLIES_BF16 = true };
#else
enum { TILE_MULTIPLIES_BF16 = false };
#endif

/* sum + a b per word; a pair gives the sum of two products. */
TILE_INLINE vfloat tile_multiply_add(bool pairs, vfloat a, vfloat b, vfloat sum) {
#ifdef __AVX512BF16__
  if (pairs)
    return (vfloat)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#endif
  (void)pairs;
  return sum + a * b;
}

/* Lanes reduced by halves, in registers. */
TILE_INLINE vfloat tile_upper_half(vfloat v, int half) {
  return __builtin_shuffle(v, (TILE_LANE + half) & (LANES - 1));
}
TILE_INLINE float tile_sum(vfloat v) {
#pragma GCC unroll 4
  for (int half = LANES / 2; half > 0; half /= 2)
    v += tile_upper_half(v, half);
  return v[0];
}
TILE_INLINE float tile_largest(vfloat v) {
#pragma GCC unroll 4
  for (int half = LANES / 2; half > 0; half /= 2)
    v = v_max(v, tile_upper_half(v, half));
  return v[0];
}

/* c[r,:] (+)= sum over s < steps of a[r*a_row + s*a_step] b[s*b_step + :]; strides in words; c has c_row floats per
 * row. */
struct tile_product {
  int64_t steps, a_row, a_step, b_step, c_row;
  const float *a, *b;
  float *c;
};

TILE_INLINE void tile_multiply(bool pairs, bool add, const int vectors, const struct tile_product *product) {
  vfloat sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 6
  for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 4
    for (int n = 0; n < vectors; n++)
      sum[r][n] = add ? v_load(product->c + r * product->c_row + n * LANES) : (vfloat){0};
  const float *a = product->a, *b = product->b;
  int64_t a_row = product->a_row;
  for (int64_t s = 0; s < product->steps; s++, a += product->a_step, b += product->b_step) {
    vfloat right[TILE_VECTORS];
#pragma GCC unroll 4
    for (int n = 0; n < vectors; n++)
      right[n] = v_load(b + n * LANES);
#pragma GCC unroll 6
    for (int r = 0; r < TILE_ROWS; r++) {
      vfloat left = v_set(a[r * a_row]);
#pragma GCC unroll 4
      for (int n = 0; n < vectors; n++)
        sum[r][n] = tile_multiply_add(pairs, left, right[n], sum[r][n]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < TILE_ROWS; r++)
#pragma GCC unroll 4
    for (int n = 0; n < vectors; n++)
      v_store(product->c + r * product->c_row + n * LANES, sum[r][n]);
}

/* The same over any number of column vectors, in tiles of nearly equal width. */
TILE_INLINE void tile_multiply_row(bool pairs, bool add, int64_t vectors, struct tile_product product) {
  for (int64_t tiles = (vectors + TILE_VECTORS - 1) / TILE_VECTORS; tiles > 0; tiles--) {
    int64_t width = (vectors + tiles - 1) / tiles;
    switch (width) {
#if LANES == 16
    case 4:
      tile_multiply(pairs, add, 4, &product);
      break;
    case 3:
      tile_multiply(pairs, add, 3, &product);
      break;
#endif
    case 2:
      tile_multiply(pairs, add, 2, &product);
      break;
    default:
      tile_multiply(pairs, add, 1, &product);
    }
    vectors -= width;
    product.b += width * LANES;
    product.c += width * LANES;
  }
}

/* Up to LANES elements from x[i], as floats. */
TILE_INLINE vfloat tile_load(enum dtype dtype, const void *x, int64_t i, int64_t count) {
  if (dtype == DTYPE_F32)
    return count >= LANES ? v_load((const float *)x + i) : v_load_part((const float *)x + i, count);
  return count >= LANES ? v_load_bf16((const bf16 *)x + i) : v_load_bf16_part((const bf16 *)x + i, count);
}

TILE_INLINE void tile_store(enum dtype dtype, void *x, int64_t i, vfloat v, int64_t count) {
  if (dtype == DTYPE_F32 && count >= LANES)
    v_store((float *)x + i, v);
  else if (dtype == DTYPE_F32)
    v_store_part((float *)x + i, v, count);
  else if (count >= LANES)
    v_store_bf16((bf16 *)x + i, v);
  else
    v_store_bf16_part((bf16 *)x + i, v, count);
}

/* Words along a row: `elements` elements from x[i] (pairs: up to two per lane), missing ones zero. */
TILE_INLINE vfloat tile_load_words(bool pairs, enum dtype dtype, const void *x, int64_t i, int64_t elements) {
  if (!pairs)
    return tile_load(dtype, x, i, elements);
  if (elements >= 2 * LANES)
    return v_load((const float *)(const void *)((const bf16 *)x + i));
  vfloat words = {0};
  memcpy(&words, (const bf16 *)x + i, (size_t)elements * sizeof(bf16));
  return words;
}

/* Up to LANES bf16 from x[i], each in the low half of a lane. */
TILE_INLINE vbits tile_load_halves(const void *x, int64_t i, int64_t count) {
  vhalf half;
  if (count >= LANES) {
    memcpy(&half, (const bf16 *)x + i, sizeof half);
    return __builtin_convertvector(half, vbits);
  }
  vhalf part = {0};
  memcpy(&part, (const bf16 *)x + i, (size_t)count * sizeof(bf16));
  return __builtin_convertvector(part, vbits);
}

/* The word of (low[c], high[c]) in lane c, rounded to bf16. */
TILE_INLINE vfloat tile_pair(vfloat low, vfloat high) {
  return (vfloat)(__builtin_convertvector(v_narrow(low), vbits) | __builtin_convertvector(v_narrow(high), vbits) << 16);
}

/* 2*LANES floats as LANES words of neighbours. */
TILE_INLINE vfloat tile_join(vfloat first, vfloat second) {
#ifdef __AVX512BF16__
  return (vfloat)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
#else
  vhalf half[2] = {v_narrow(first), v_narrow(second)};
  vfloat words;
  memcpy(&words, half, sizeof words);
  return words;
#endif
}

static inline int64_t tile_words(bool pairs, int64_t count) {
  return pairs ? (count + 1) / 2 : count;
}

static inline int64_t tile_round_up(int64_t count, int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

/* Transposes a block of LANES x LANES words in registers: at each stage neighbours at distance `half` swap their
 * off-diagonal blocks. */
TILE_INLINE void tile_transpose(vfloat row[LANES]) {
#pragma GCC unroll 4
  for (int half = LANES / 2; half > 0; half /= 2) {
    vint in_second = ((TILE_LANE & half) != 0) & (LANES - half);
    vint upper = TILE_LANE + in_second, lower = TILE_LANE + half + in_second;
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) {
      if (i & half)
        continue;
      vfloat a = row[i], b = row[i + half];
      row[i] = __builtin_shuffle(a, b, upper);
      row[i + half] = __builtin_shuffle(a, b, lower);
    }
  }
}

/* A matrix in memory: element (r, c) is x[start + r*stride + c]. */
struct tile_source {
  enum dtype dtype;
  const void *x;
  int64_t start, stride, rows, columns;
};

/* to[word of c][r] for r < rows, zero up to to_rows (a multiple of LANES). */
TILE_INLINE void tile_pack_transposed(bool pairs, const struct tile_source *from, float *to, int64_t to_rows) {
  int64_t words = tile_words(pairs, from->columns), each = pairs ? 2 : 1;
  for (int64_t r0 = 0; r0 < to_rows; r0 += LANES)
    for (int64_t w0 = 0; w0 < words; w0 += LANES) {
      int64_t at = from->start + r0 * from->stride + w0 * each, rows = from->rows - r0,
              columns = from->columns - w0 * each;
      vfloat block[LANES];
      if (rows >= LANES && columns >= LANES * each) {
#pragma GCC unroll 16
        for (int r = 0; r < LANES; r++)
          block[r] = tile_load_words(pairs, from->dtype, from->x, at + r * from->stride, LANES * each);
      } else {
        for (int r = 0; r < LANES; r++)
          block[r] =
              r < rows ? tile_load_words(pairs, from->dtype, from->x, at + r * from->stride, columns) : (vfloat){0};
      }
      tile_transpose(block);
      for (int w = 0; w < LANES && w0 + w < words; w++)
        v_store(to + (w0 + w) * to_rows + r0, block[w]);
    }
}

/* to[r][word of c]: rows as they are, zero beyond rows and columns; to_words is a multiple of LANES. */
TILE_INLINE void tile_pack_rows(bool pairs, const struct tile_source *from, float *to, int64_t to_rows,
                                int64_t to_words) {
  int64_t each = pairs ? 2 : 1;
  for (int64_t r = 0; r < to_rows; r++)
    for (int64_t w = 0; w < to_words; w += LANES) {
      bool inside = r < from->rows && w * each < from->columns;
      v_store(to + r * to_words + w,
              inside ? tile_load_words(pairs, from->dtype, from->x, from->start + r * from->stride + w * each,
                                       from->columns - w * each)
                     : (vfloat){0});
    }
}

/* to[word of r][c]: rows interleaved in pairs (or plain), zero beyond rows and columns; to_rows words, to_columns a
 * multiple of LANES. */
TILE_INLINE void tile_pack_interleaved(bool pairs, const struct tile_source *from, float *to, int64_t to_rows,
                                       int64_t to_columns) {
  if (!pairs) {
    tile_pack_rows(false, from, to, to_rows, to_columns);
    return;
  }
  for (int64_t w = 0; w < to_rows; w++)
    for (int64_t c = 0; c < to_columns; c += LANES) {
      int64_t at = from->start + 2 * w * from->stride + c, count = from->columns - c;
      vbits even = {0}, odd = {0};
      if (2 * w < from->rows && count > 0)
        even = tile_load_halves(from->x, at, count);
      if (2 * w + 1 < from->rows && count > 0)
        odd = tile_load_halves(from->x, at + from->stride, count);
      v_store(to + w * to_columns + c, (vfloat)(even | odd << 16));
    }
}
#endif

/* Vectors of fp32 lanes for the kernels, as wide as the instruction set this file is compiled for. Partial loads and
 * stores touch only the first `count` elements; missing lanes read as zero. */
#ifndef MEMCLIP_DEVICE_CPU_SIMD_H
#define MEMCLIP_DEVICE_CPU_SIMD_H
#include "base/dtype.h"
#ifdef __AVX2__
#include <immintrin.h>
#endif

#if defined __AVX512F__
#define LANES 16
#elif defined __AVX2__
#define LANES 8
#else
#define LANES 4
#endif

typedef float vfloat __attribute__((vector_size(4 * LANES)));
typedef int32_t vint __attribute__((vector_size(4 * LANES)));
typedef uint32_t vbits __attribute__((vector_size(4 * LANES)));
typedef uint16_t vhalf __attribute__((vector_size(2 * LANES)));

static inline vfloat v_set(float value) {
  return value - (vfloat){0};
}

static inline vfloat v_load(const float *p) {
  vfloat v;
  memcpy(&v, p, sizeof v);
  return v;
}
static inline void v_store(float *p, vfloat v) {
  memcpy(p, &v, sizeof v);
}
static inline vfloat v_load_part(const float *p, int64_t count) {
  if (count == LANES) /* one instruction; a copy of unknown length is a call */
    return v_load(p);
  vfloat v = {0};
  memcpy(&v, p, (size_t)count * sizeof *p);
  return v;
}
static inline void v_store_part(float *p, vfloat v, int64_t count) {
  if (count == LANES)
    v_store(p, v);
  else
    memcpy(p, &v, (size_t)count * sizeof *p);
}

/* GCC 12 widens by pieces where one instruction does it. */
static inline vfloat v_widen(vhalf half) {
#if defined __AVX512F__
  return (vfloat)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)half), 16);
#elif defined __AVX2__
  return (vfloat)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)half), 16);
#else
  return (vfloat)(__builtin_convertvector(half, vbits) << 16);
#endif
}
/* Round to nearest even; NaN stays NaN. */
static inline vhalf v_narrow(vfloat v) {
#if defined __AVX512BF16__
  return (vhalf)_mm512_cvtneps_pbh((__m512)v);
#else
  vbits bits = (vbits)v;
  vbits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  vbits nan = (vbits)(v != v);
  vbits chosen = (rounded & ~nan) | (nan & 0x7fc0u);
#if defined __AVX512F__
  return (vhalf)_mm512_cvtepi32_epi16((__m512i)chosen);
#elif defined __AVX2__
  __m256i pairs = _mm256_packus_epi32((__m256i)chosen, (__m256i)chosen); /* within 128-bit halves */
  return (vhalf)_mm256_castsi256_si128(_mm256_permute4x64_epi64(pairs, 0x08));
#else
  return __builtin_convertvector(chosen, vhalf);
#endif
#endif
}
static inline vfloat v_load_bf16(const bf16 *p) {
  vhalf half;
  memcpy(&half, p, sizeof half);
  return v_widen(half);
}
static inline void v_store_bf16(bf16 *p, vfloat v) {
  vhalf half = v_narrow(v);
  memcpy(p, &half, sizeof half);
}
static inline vfloat v_load_bf16_part(const bf16 *p, int64_t count) {
  vhalf half = {0};
  memcpy(&half, p, (size_t)count * sizeof *p);
  return v_widen(half);
}
static inline void v_store_bf16_part(bf16 *p, vfloat v, int64_t count) {
  vhalf half = v_narrow(v);
  memcpy(p, &half, (size_t)count * sizeof *p);
}

/* The same for a tensor of either compute dtype, from element i on. */
static inline vfloat v_load_any(enum dtype dtype, const void *p, int64_t i) {
  return dtype == DTYPE_BF16 ? v_load_bf16((const bf16 *)p + i) : v_load((const float *)p + i);
}
static inline vfloat v_load_any_part(enum dtype dtype, const void *p, int64_t i, int64_t count) {
  return dtype == DTYPE_BF16 ? v_load_bf16_part((const bf16 *)p + i, count) : v_load_part((const float *)p + i, count);
}
static inline void v_store_any(enum dtype dtype, void *p, int64_t i, vfloat v) {
  if (dtype == DTYPE_BF16)
    v_store_bf16((bf16 *)p + i, v);
  else
    v_store((float *)p + i, v);
}
static inline void v_store_any_part(enum dtype dtype, void *p, int64_t i, vfloat v, int64_t count) {
  if (dtype == DTYPE_BF16)
    v_store_bf16_part((bf16 *)p + i, v, count);
  else
    v_store_part((float *)p + i, v, count);
}

static inline vfloat v_max(vfloat a, vfloat b) {
#if defined __AVX512F__
  return (vfloat)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined __AVX2__
  return (vfloat)_mm256_max_ps((__m256)a, (__m256)b);
#else
  vint greater = a > b;
  return (vfloat)(((vint)a & greater) | ((vint)b & ~greater));
#endif
}
static inline vfloat v_min(vfloat a, vfloat b) {
  return -v_max(-a, -b);
}
static inline vfloat v_abs(vfloat a) {
  return (vfloat)((vint)a & 0x7fffffff);
}

/* Lanes summed pairwise: half by half, so the order is fixed for a width. */
static inline float v_sum(vfloat v) {
  float lane[LANES];
  memcpy(lane, &v, sizeof v);
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++)
      lane[i] += lane[i + half];
  return lane[0];
}
#endif

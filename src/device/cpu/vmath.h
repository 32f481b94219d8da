/* Functions of vectors for the kernels, good to fp32: relative errors are a few units in the last place, also in the
 * tails. */
#ifndef MEMCLIP_DEVICE_CPU_VMATH_H
#define MEMCLIP_DEVICE_CPU_VMATH_H
#include "device/cpu/simd.h"

static inline vfloat v_select(vint mask, vfloat yes, vfloat no) {
  return (vfloat)(((vint)yes & mask) | ((vint)no & ~mask));
}

/* e^x = 2^n e^r, |r| <= ln 2 / 2, n in two factors so that subnormal results and infinity come out right.
 * e^r = 1 + r + r^2 Q(r): relative error 3e-9 before rounding. NaN stays NaN. */
static inline vfloat v_exponential(vfloat x) {
  x = v_max(v_set(-104.0f), v_min(v_set(89.0f), x));
  const float shift = 0x1.8p23f;
  vfloat n = x * 1.44269504f + shift;
  vint whole = (vint)n - 0x4b400000;
  n -= shift;
  vfloat r = x - n * 0.693359375f + n * 2.12194440e-4f;
  vfloat q = r * 0.0013814311241731048f + 0.008368794806301594f;
  q = q * r + 0.041668396443128586f;
  q = q * r + 0.1666651964187622f;
  q = q * r + 0.4999999403953552f;
  vfloat e = q * (r * r) + r + 1.0f;
#if defined __AVX512F__
  (void)whole;
  return (vfloat)_mm512_scalef_ps((__m512)e, (__m512)n);
#else
  vint low = whole >> 1;
  return e * (vfloat)((low + 127) << 23) * (vfloat)((whole - low + 127) << 23);
#endif
}

/* 1/x for 1 <= |x| <= 1e38, within a unit or two: an estimate and a Newton step where division is slow. */
static inline vfloat v_reciprocal(vfloat x) {
#if defined __AVX512F__
  vfloat estimate = (vfloat)_mm512_rcp14_ps((__m512)x);
  return estimate * (2.0f - x * estimate);
#else
  return 1.0f / x;
#endif
}

static inline vfloat v_sigmoid(vfloat x) {
  return v_reciprocal(v_exponential(v_min(v_set(87.0f), -x)) + 1.0f);
}

/* x^2 - square, exactly, for square = x^2 rounded. */
static inline vfloat v_square_error(vfloat x, vfloat square) {
#if defined __AVX512F__
  return (vfloat)_mm512_fmsub_ps((__m512)x, (__m512)x, (__m512)square);
#elif defined __AVX2__
  return (vfloat)_mm256_fmsub_ps((__m256)x, (__m256)x, (__m256)square);
#else
  vfloat head = (vfloat)((vbits)x & 0xfffff000u);
  return (head * head - square) + (x - head) * (head + x);
#endif
}

/* exp(-x^2/2); the rounding error of x^2, which the exponential would multiply by x^2, is put back. */
static inline vfloat v_exp_half_square(vfloat x) {
  x = v_max(v_set(-15.0f), v_min(v_set(15.0f), x)); /* beyond, the result is 0 */
  vfloat square = x * x, bell = v_exponential(square * -0.5f);
  return bell - bell * (v_square_error(x, square) * 0.5f);
}

/* Phi(x), the normal distribution, given bell = exp(-x^2/2): for x < 0 it is bell t P(t), t = 1 / (1 + 0.35 |x|); P is
 * a least-maximum fit of exp(x^2/2) Phi(-x) with relative error 3.2e-8. */
static inline vfloat v_normal_cdf(vfloat x, vfloat bell) {
  vfloat t = v_reciprocal(v_min(v_abs(x), v_set(1e6f)) * 0.35f + 1.0f);
  vfloat p = t * -0.029144801199436188f + 0.14396671950817108f;
  p = p * t - 0.25570496916770935f;
  p = p * t + 0.1591646522283554f;
  p = p * t - 0.023103980347514153f;
  p = p * t + 0.1055057942867279f;
  p = p * t + 0.11983336508274078f;
  p = p * t + 0.1398618072271347f;
  p = p * t + 0.13962140679359436f;
  vfloat below = p * t * bell;
  return v_select(x < 0, below, 1.0f - below);
}
#endif

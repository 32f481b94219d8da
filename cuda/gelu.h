/* x Phi(x) and its slope, with the exact normal distribution. */
#ifndef MEMCLIP_CUDA_GELU_H
#define MEMCLIP_CUDA_GELU_H
#include "cuda/kernel.h"

/* exp(-x^2/2); the rounding error of x^2, which the exponential would multiply by x^2, is put back. */
DEVICE float bell_of(float x) {
  const float square = x * x, lost = fmaf(x, x, -square), bell = expf(-0.5f * square);
  return fabsf(x) < 15 ? bell - bell * (0.5f * lost) : 0;
}

/* Phi(x) given bell: for x < 0 half of bell times erfcx, so that the tail keeps its relative precision. */
DEVICE float normal_cdf(float x, float bell) {
  const float below = 0.5f * bell * erfcxf(fabsf(x) * 0.70710678f);
  return x < 0 ? below : 1 - below;
}

/* bell = exp(-x^2/2) and Phi(-|x|), to one part in 10^6 next to zero and in 10^5 far out: bell times half of erfcx as a
 * polynomial in 1 / (1 + 0.36 |x|), fitted for the least relative error on |x| < 14.5. */
DEVICE float normal_tail(float x, float *bell) {
  const float t = fast_inverse(1 + 0.36f * fabsf(x));
  float q = 0.046782348f;
  q = q * t - 0.17882617f;
  q = q * t + 0.17967713f;
  q = q * t + 0.027426954f;
  q = q * t + 0.13939995f;
  q = q * t + 0.1418304f;
  q = q * t + 0.14370897f;
  *bell = fast_exp2(x * x * -0.72134752f);
  return q * t * *bell;
}

/* As good as a T can hold the result: what fp32 needs is 80 instructions, three times what memory gives time for. */
template <typename T> DEVICE float gelu(float x) {
  if constexpr (sizeof(T) == sizeof(bf16)) {
    float bell;
    return fmaxf(x, 0) - fabsf(x) * normal_tail(x, &bell);
  } else {
    return x * normal_cdf(x, bell_of(x));
  }
}
template <typename T> DEVICE float gelu_slope(float x) {
  float bell, cdf;
  if constexpr (sizeof(T) == sizeof(bf16)) {
    const float tail = normal_tail(x, &bell);
    cdf = x < 0 ? tail : 1 - tail;
  } else {
    bell = bell_of(x);
    cdf = normal_cdf(x, bell);
  }
  return cdf + x * bell * 0.39894228f;
}
#endif

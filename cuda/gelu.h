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

DEVICE float gelu(float x) {
  return x * normal_cdf(x, bell_of(x));
}
DEVICE float gelu_slope(float x) {
  const float bell = bell_of(x);
  return normal_cdf(x, bell) + x * bell * 0.39894228f;
}
#endif

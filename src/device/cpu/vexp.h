/* 2^x per lane, relative error 2e-7; 0 below -126, so that masked scores vanish; 2^127 or infinity from 127 on. */
#ifndef MEMCLIP_DEVICE_CPU_VEXP_H
#define MEMCLIP_DEVICE_CPU_VEXP_H
#include "device/cpu/simd.h"

#define VEXP_LOG2E 1.44269504088896341f

static inline vfloat v_exp2(vfloat x) {
#if defined __AVX512F__
  vfloat whole = (vfloat)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), r = x - whole;
#else
  const float shift = 0x1.8p23f; /* adding it rounds to a whole number, which then stands in the low bits */
  vfloat bounded = v_min(v_max(x, v_set(-127)), v_set(127)), shifted = bounded + shift, whole = shifted - shift,
         r = bounded - whole;
#endif
  vfloat y = v_set(1.327647129073739e-3f); /* minimax on [-1/2, 1/2] */
  y = y * r + 9.675540961325169e-3f;
  y = y * r + 5.550713092088699e-2f;
  y = y * r + 2.4022120237350464e-1f;
  y = y * r + 6.931469440460205e-1f;
  y = y * r + 1.0000001192092896f;
#if defined __AVX512F__
  return (vfloat)_mm512_scalef_ps((__m512)y, (__m512)whole);
#else
  vint visible = ~(x < -126.0f); /* NaN is kept */
  return (vfloat)(((vint)y + ((vint)shifted << 23)) & visible);
#endif
}
#endif

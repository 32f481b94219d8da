/* AdamW and sums of squares over a slice. */
#include "device/cpu/kernels.h"
#include "device/cpu/simd.h"

static inline vfloat square_root(vfloat v) {
#if defined __AVX512F__
  return (vfloat)_mm512_sqrt_ps((__m512)v);
#elif defined __AVX2__
  return (vfloat)_mm256_sqrt_ps((__m256)v);
#else
  for (int i = 0; i < LANES; i++)
    v[i] = __builtin_sqrtf(v[i]);
  return v;
#endif
}

void CPU_KERNEL(cpu_kernel_adamw)(const struct adamw *call, const struct adamw_factors *f, int64_t first,
                                  int64_t count) {
  for (int64_t i = first; i < first + count; i += LANES) {
    int64_t n = first + count - i < LANES ? first + count - i : LANES;
    vfloat g = v_load_part(call->gradient + i, n) * f->gradient_scale;
    vfloat m = v_load_part(call->first_moment + i, n) * f->beta1 + g * f->rest1;
    vfloat v = v_load_part(call->second_moment + i, n) * f->beta2 + g * g * f->rest2;
    vfloat p =
        v_load_part(call->parameter + i, n) * f->shrink - f->rate * m / (square_root(v) * f->root_scale + f->eps);
    v_store_part(call->first_moment + i, m, n);
    v_store_part(call->second_moment + i, v, n);
    v_store_part(call->parameter + i, p, n);
    if (call->compute)
      v_store_bf16_part(call->compute + i, p, n);
    if (call->zero_gradient)
      v_store_part(call->gradient + i, (vfloat){0}, n);
  }
}

/* *result = sum of x^2 in fp64, lane by lane, then the lanes in order. */
void CPU_KERNEL(cpu_kernel_sum_of_squares)(const float *x, int64_t count, double *result) {
  double lane[LANES] = {0}, total = 0;
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES)
    for (int j = 0; j < LANES; j++)
      lane[j] += (double)x[i + j] * x[i + j];
  for (; i < count; i++)
    total += (double)x[i] * x[i];
  for (int j = 0; j < LANES; j++)
    total += lane[j];
  *result = total;
}

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

static inline vfloat rounded(vfloat v, bool to_bf16) {
  return to_bf16 ? v_widen(v_narrow(v)) : v;
}

/* `n` elements from i on, at most LANES; a constant n makes whole loads and stores of them. */
static inline __attribute__((always_inline)) void adamw_vector(const struct adamw *call, const struct adamw_factors *f,
                                                               int64_t i, int64_t n, bool bf16_state) {
  vfloat g = rounded(v_load_part(call->gradient + i, n) * f->gradient_scale, bf16_state);
  vfloat m = rounded(v_load_part(call->first_moment + i, n) * f->beta1 + g * f->rest1, bf16_state);
  vfloat v = rounded(v_load_part(call->second_moment + i, n) * f->beta2 + g * g * f->rest2, bf16_state);
  vfloat step = f->rate * m / (square_root(v) * f->root_scale + f->eps);
  vfloat p = rounded(v_load_part(call->parameter + i, n) * f->shrink - step, bf16_state);
  v_store_part(call->first_moment + i, m, n);
  v_store_part(call->second_moment + i, v, n);
  v_store_part(call->parameter + i, p, n);
  if (call->compute)
    v_store_bf16_part(call->compute + i, p, n);
  if (call->zero_gradient)
    v_store_part(call->gradient + i, (vfloat){0}, n);
}

static inline void adamw_elements(const struct adamw *call, const struct adamw_factors *f, int64_t first, int64_t count,
                                  bool bf16_state) {
  int64_t i = first, end = first + count;
  for (; i + LANES <= end; i += LANES)
    adamw_vector(call, f, i, LANES, bf16_state);
  if (i < end)
    adamw_vector(call, f, i, end - i, bf16_state);
}

void CPU_KERNEL(cpu_kernel_adamw)(const struct adamw *call, const struct adamw_factors *f, int64_t first,
                                  int64_t count) {
  if (f->bf16_state)
    adamw_elements(call, f, first, count, true);
  else
    adamw_elements(call, f, first, count, false);
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

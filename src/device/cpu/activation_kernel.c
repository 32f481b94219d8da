/* The activations and their derivatives. */
#include "device/cpu/kernels.h"
#include "device/cpu/simd.h"
#include "device/cpu/vmath.h"

/* GELU: x Phi(x). */
static inline vfloat gelu(vfloat x) {
  return x * v_normal_cdf(x, v_exp_half_square(x));
}
/* Phi(x) + x phi(x) */
static inline vfloat gelu_slope(vfloat x) {
  vfloat bell = v_exp_half_square(x);
  return v_normal_cdf(x, bell) + x * bell * 0.3989422804f;
}
/* QuickGELU: x sigma(1.702 x). */
static inline vfloat quickgelu(vfloat x) {
  return x * v_sigmoid(x * 1.702f);
}
/* sigma(z) + z sigma(z) (1 - sigma(z)), z = 1.702 x */
static inline vfloat quickgelu_slope(vfloat x) {
  vfloat z = x * 1.702f, s = v_sigmoid(z), rest = v_sigmoid(-z);
  return s + z * s * rest;
}

/* Loops over `count` elements with the dtype and the function known to the compiler. */
#define ACTIVATION_LOOP(dtype, function)                                                                               \
  do {                                                                                                                 \
    int64_t i = first;                                                                                                 \
    for (; i + LANES <= first + count; i += LANES)                                                                     \
      v_store_any(dtype, call->y, i, function(v_load_any(dtype, call->x, i)));                                         \
    int64_t left = first + count - i;                                                                                  \
    if (left)                                                                                                          \
      v_store_any_part(dtype, call->y, i, function(v_load_any_part(dtype, call->x, i, left)), left);                   \
  } while (0)

void CPU_KERNEL(cpu_kernel_activation)(const struct activation_call *call, int64_t first, int64_t count) {
  bool half = call->dtype == DTYPE_BF16, quick = call->kind == ACTIVATION_QUICKGELU;
  if (half && quick)
    ACTIVATION_LOOP(DTYPE_BF16, quickgelu);
  else if (half)
    ACTIVATION_LOOP(DTYPE_BF16, gelu);
  else if (quick)
    ACTIVATION_LOOP(DTYPE_F32, quickgelu);
  else
    ACTIVATION_LOOP(DTYPE_F32, gelu);
}

static inline void slope_step(const struct activation_call *call, enum dtype dtype, vfloat slope, int64_t i,
                              float *sum) {
  vfloat dx = slope * v_load_any(dtype, call->dy, i);
  v_store_any(dtype, call->dx, i, dx);
  if (sum)
    v_store(sum, v_load(sum) + dx);
}
static inline void slope_step_part(const struct activation_call *call, enum dtype dtype, vfloat slope, int64_t i,
                                   int64_t left, float *sum) {
  vfloat dx = slope * v_load_any_part(dtype, call->dy, i, left);
  v_store_any_part(dtype, call->dx, i, dx, left);
  if (sum)
    v_store_part(sum, v_load_part(sum, left) + dx, left);
}
#define SLOPE_LOOP(dtype, function)                                                                                    \
  do {                                                                                                                 \
    int64_t c = 0, start = row * call->columns;                                                                        \
    for (; c + LANES <= call->columns; c += LANES)                                                                     \
      slope_step(call, dtype, function(v_load_any(dtype, call->x, start + c)), start + c, sum ? sum + c : NULL);       \
    int64_t left = call->columns - c;                                                                                  \
    if (left)                                                                                                          \
      slope_step_part(call, dtype, function(v_load_any_part(dtype, call->x, start + c, left)), start + c, left,        \
                      sum ? sum + c : NULL);                                                                           \
  } while (0)

/* One row; sum[columns] += dx. */
void CPU_KERNEL(cpu_kernel_activation_backward)(const struct activation_call *call, int64_t row, float *sum) {
  bool half = call->dtype == DTYPE_BF16, quick = call->kind == ACTIVATION_QUICKGELU;
  if (half && quick)
    SLOPE_LOOP(DTYPE_BF16, quickgelu_slope);
  else if (half)
    SLOPE_LOOP(DTYPE_BF16, gelu_slope);
  else if (quick)
    SLOPE_LOOP(DTYPE_F32, quickgelu_slope);
  else
    SLOPE_LOOP(DTYPE_F32, gelu_slope);
}

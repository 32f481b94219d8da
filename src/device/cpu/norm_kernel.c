/* Residual addition and layer norm of a row at a time: a row stays in the nearest cache over its passes. */
#include "device/cpu/kernels.h"
#include "device/cpu/simd.h"
#include <math.h>

#define NORM_EPSILON 1e-5f

/* Runs `step(c, n)` over the columns, n = LANES but for the last. */
#define FOR_COLUMNS(width, step)                                                                                       \
  do {                                                                                                                 \
    int64_t c = 0;                                                                                                     \
    for (; c + LANES <= (width); c += LANES)                                                                           \
      step(c, LANES);                                                                                                  \
    if (c < (width))                                                                                                   \
      step(c, (width)-c);                                                                                              \
  } while (0)

static inline vfloat load(const float *p, int64_t n) {
  return n == LANES ? v_load(p) : v_load_part(p, n);
}
static inline void store(float *p, vfloat v, int64_t n) {
  if (n == LANES)
    v_store(p, v);
  else
    v_store_part(p, v, n);
}
static inline vfloat load_any(enum dtype dtype, const void *p, int64_t i, int64_t n) {
  return n == LANES ? v_load_any(dtype, p, i) : v_load_any_part(dtype, p, i, n);
}
static inline void store_any(enum dtype dtype, void *p, int64_t i, vfloat v, int64_t n) {
  if (n == LANES)
    v_store_any(dtype, p, i, v);
  else
    v_store_any_part(dtype, p, i, v, n);
}

/* x_out = x + gamma branch; returns the row's sum. */
static inline float add_branch(const struct norm *call, int64_t row) {
  int64_t start = row * call->width;
  vfloat sum[2] = {{0}, {0}};
#define STEP(c, n)                                                                                                     \
  do {                                                                                                                 \
    vfloat value = load_any(call->dtype, call->branch, start + (c), n);                                                \
    if (call->gamma)                                                                                                   \
      value *= load(call->gamma + (c), n);                                                                             \
    value += load(call->x + start + (c), n);                                                                           \
    store(call->x_out + start + (c), value, n);                                                                        \
    sum[(c) / LANES & 1] += value;                                                                                     \
  } while (0)
  FOR_COLUMNS(call->width, STEP);
#undef STEP
  return v_sum(sum[0] + sum[1]);
}

static inline float sum_row(const float *x, int64_t width) {
  vfloat sum[2] = {{0}, {0}};
#define STEP(c, n) sum[(c) / LANES & 1] += load(x + (c), n)
  FOR_COLUMNS(width, STEP);
#undef STEP
  return v_sum(sum[0] + sum[1]);
}

/* Lanes beyond the row must not count (0 - mean)^2. */
static inline float sum_square_deviations(const float *x, int64_t width, float mean) {
  vfloat sum[2] = {{0}, {0}};
  int64_t c = 0;
  for (; c + LANES <= width; c += LANES) {
    vfloat d = v_load(x + c) - mean;
    sum[c / LANES & 1] += d * d;
  }
  float total = v_sum(sum[0] + sum[1]);
  for (; c < width; c++)
    total += (x[c] - mean) * (x[c] - mean);
  return total;
}

static inline void norm_row(const struct norm *call, int64_t row) {
  int64_t start = row * call->width;
  const float *x = call->branch ? call->x_out + start : call->x + start;
  float sum = 0;
  if (call->branch)
    sum = add_branch(call, row);
  if (!call->y)
    return;
  if (!call->branch)
    sum = sum_row(x, call->width);
  float mean = sum / (float)call->width;
  float rstd = 1.0f / sqrtf(sum_square_deviations(x, call->width, mean) / (float)call->width + NORM_EPSILON);
#define STEP(c, n)                                                                                                     \
  store_any(call->y_dtype, call->y, start + (c),                                                                       \
            (load(x + (c), n) - mean) * rstd * load(call->weight + (c), n) + load(call->bias + (c), n), n)
  FOR_COLUMNS(call->width, STEP);
#undef STEP
  if (call->mean)
    call->mean[row] = mean;
  if (call->rstd)
    call->rstd[row] = rstd;
}

void CPU_KERNEL(cpu_kernel_norm)(const struct norm *call, int64_t first, int64_t count) {
  for (int64_t row = first; row < first + count; row++)
    norm_row(call, row);
}

/* The norm's part of a row: sums of g and g xhat, gradients of its parameters, then dx. */
static inline void norm_row_backward(const struct norm_backward *call, int64_t row, const struct norm_sums *sums) {
  int64_t start = row * call->width;
  float mean = call->mean[row], rstd = call->rstd[row];
  vfloat sum_g = {0}, sum_product = {0};
#define STEP(c, n)                                                                                                     \
  do {                                                                                                                 \
    vfloat dy = load_any(call->dy_dtype, call->dy, start + (c), n);                                                    \
    vfloat xhat = (load(call->x + start + (c), n) - mean) * rstd;                                                      \
    vfloat g = dy * load(call->weight + (c), n);                                                                       \
    sum_g += g;                                                                                                        \
    sum_product += g * xhat;                                                                                           \
    if (call->dweight)                                                                                                 \
      store(sums->weight + (c), load(sums->weight + (c), n) + dy * xhat, n);                                           \
    if (call->dbias)                                                                                                   \
      store(sums->bias + (c), load(sums->bias + (c), n) + dy, n);                                                      \
  } while (0)
  FOR_COLUMNS(call->width, STEP);
#undef STEP
  float mean_g = v_sum(sum_g) / (float)call->width, mean_product = v_sum(sum_product) / (float)call->width;
#define STEP(c, n)                                                                                                     \
  do {                                                                                                                 \
    vfloat xhat = (load(call->x + start + (c), n) - mean) * rstd;                                                      \
    vfloat g = load_any(call->dy_dtype, call->dy, start + (c), n) * load(call->weight + (c), n);                       \
    vfloat dx = (g - mean_g - xhat * mean_product) * rstd;                                                             \
    store(call->dx + start + (c), call->dx_zero ? dx : load(call->dx + start + (c), n) + dx, n);                       \
  } while (0)
  FOR_COLUMNS(call->width, STEP);
#undef STEP
}

static inline void branch_row_backward(const struct norm_backward *call, int64_t row, const struct norm_sums *sums) {
  int64_t start = row * call->width;
#define STEP(c, n)                                                                                                     \
  do {                                                                                                                 \
    vfloat dx = load(call->dx + start + (c), n), dbranch = call->gamma ? dx * load(call->gamma + (c), n) : dx;         \
    store_any(call->dtype, call->dbranch, start + (c), dbranch, n);                                                    \
    if (call->dbranch_bias)                                                                                            \
      store(sums->branch + (c), load(sums->branch + (c), n) + dbranch, n);                                             \
    if (call->dgamma)                                                                                                  \
      store(sums->gamma + (c), load(sums->gamma + (c), n) + dx * load_any(call->dtype, call->branch, start + (c), n),  \
            n);                                                                                                        \
  } while (0)
  FOR_COLUMNS(call->width, STEP);
#undef STEP
}

void CPU_KERNEL(cpu_kernel_norm_backward)(const struct norm_backward *call, int64_t first, int64_t count,
                                          const struct norm_sums *sums) {
  for (int64_t row = first; row < first + count; row++) {
    if (call->dy)
      norm_row_backward(call, row, sums);
    else if (call->dx_zero)
      memset(call->dx + row * call->width, 0, (size_t)call->width * sizeof *call->dx);
    if (call->dbranch)
      branch_row_backward(call, row, sums);
  }
}

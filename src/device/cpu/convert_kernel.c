/* bf16 to fp32 and back. */
#include "device/cpu/kernels.h"
#include "device/cpu/simd.h"

void CPU_KERNEL(cpu_kernel_widen)(float *to, const bf16 *from, int64_t count) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES)
    v_store(to + i, v_load_bf16(from + i));
  if (i < count)
    v_store_part(to + i, v_load_bf16_part(from + i, count - i), count - i);
}

void CPU_KERNEL(cpu_kernel_narrow)(bf16 *to, const float *from, int64_t count) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES)
    v_store_bf16(to + i, v_load(from + i));
  if (i < count)
    v_store_bf16_part(to + i, v_load_part(from + i, count - i), count - i);
}

/* sum[i] += row[i] */
void CPU_KERNEL(cpu_kernel_add_row)(float *sum, enum dtype dtype, const void *row, int64_t count) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES)
    v_store(sum + i, v_load(sum + i) + v_load_any(dtype, row, i));
  if (i < count)
    v_store_part(sum + i, v_load_part(sum + i, count - i) + v_load_any_part(dtype, row, i, count - i), count - i);
}

/* y[i] += scale x[i] */
void CPU_KERNEL(cpu_kernel_add_scaled)(float *y, const float *x, float scale, int64_t count) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES)
    v_store(y + i, v_load(y + i) + v_load(x + i) * scale);
  if (i < count)
    v_store_part(y + i, v_load_part(y + i, count - i) + v_load_part(x + i, count - i) * scale, count - i);
}

/* to[i] = a[i] + b[i] */
void CPU_KERNEL(cpu_kernel_sum_rows)(float *to, enum dtype dtype, const void *a, const float *b, int64_t count) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES)
    v_store(to + i, v_load_any(dtype, a, i) + v_load(b + i));
  if (i < count)
    v_store_part(to + i, v_load_any_part(dtype, a, i, count - i) + v_load_part(b + i, count - i), count - i);
}

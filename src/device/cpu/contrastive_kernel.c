/* Sums over tiles of products of unit vectors; logits are scale * score. Log-sum-exps are kept as a maximum and a sum
 * below it. */
#include "device/cpu/kernels.h"
#include "device/cpu/simd.h"
#include "device/cpu/vmath.h"
#include <math.h>

/* One row of a tile joins (*max, *sum). */
void CPU_KERNEL(cpu_kernel_join_row)(const float *score, int64_t count, float scale, float *max, float *sum) {
  float top = *max;
  for (int64_t j = 0; j < count; j++)
    top = score[j] * scale > top ? score[j] * scale : top;
  vfloat total = {0};
  int64_t j = 0;
  for (; j + LANES <= count; j += LANES)
    total += v_exponential(v_load(score + j) * scale - top);
  float rest = 0;
  if (j < count) {
    float part[LANES];
    v_store(part, v_exponential(v_load_part(score + j, count - j) * scale - top));
    for (int64_t i = 0; i < count - j; i++)
      rest += part[i];
  }
  *sum = *sum * expf(*max - top) + (v_sum(total) + rest);
  *max = top;
}

/* Every column of rows x count scores joins (max[column], sum[column]). */
void CPU_KERNEL(cpu_kernel_join_columns)(const float *score, int64_t rows, int64_t stride, int64_t count, float scale,
                                         float *max, float *sum) {
  for (int64_t j = 0; j < count; j += LANES) {
    int64_t n = count - j < LANES ? count - j : LANES;
    vfloat old = v_load_part(max + j, n), top = old, total = {0};
    for (int64_t i = 0; i < rows; i++)
      top = v_max(top, v_load_part(score + i * stride + j, n) * scale);
    for (int64_t i = 0; i < rows; i++)
      total += v_exponential(v_load_part(score + i * stride + j, n) * scale - top);
    v_store_part(sum + j, v_load_part(sum + j, n) * v_exponential(old - top) + total, n);
    v_store_part(max + j, top, n);
  }
}

/* score[j] becomes e^(logit - row_lse) + e^(logit - column_lse[j]). */
void CPU_KERNEL(cpu_kernel_softmax_both)(float *score, int64_t count, float scale, float row_lse,
                                         const float *column_lse) {
  for (int64_t j = 0; j < count; j += LANES) {
    int64_t n = count - j < LANES ? count - j : LANES;
    vfloat logit = v_load_part(score + j, n) * scale;
    v_store_part(score + j, v_exponential(logit - row_lse) + v_exponential(logit - v_load_part(column_lse + j, n)), n);
  }
}

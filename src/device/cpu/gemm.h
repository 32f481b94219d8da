/* Matrix products on the CPU, by oneDNN (onednn.h). bf16 operands are
 * widened to fp32 where the processor (or MEMCLIP_ISA) has no bf16 products. */
#ifndef MEMCLIP_DEVICE_CPU_GEMM_H
#define MEMCLIP_DEVICE_CPU_GEMM_H
#include "device/cpu/cpu.h"

/* c[m,n] (+)= a[m,k] . B (+ bias[n]), B = b[k,n] or, when b_transposed, the transpose of b[n,k]. Leading dimensions
 * (elements from one row to the next) of 0 mean dense. a, b are `dtype`, c is c_dtype (dtype or fp32), bias fp32 or
 * NULL. b_kept: a packed copy of b (dense) is kept under the pointer b_key (NULL: b) until weights are forgotten;
 * whoever writes b tells cpu_weights_written. */
struct gemm {
  int64_t m, n, k, a_stride, b_stride, c_stride;
  enum dtype dtype, c_dtype;
  bool b_transposed, b_kept, accumulate;
  const void *a, *b, *b_key;
  const float *bias;
  void *c;
};
void gemm_multiply(struct cpu_device *cpu, const struct gemm *call);

/* c[n,k] += dy[rows,n]^T . x[rows,k], fp32; all dense. */
struct gemm_outer {
  int64_t rows, n, k;
  enum dtype dtype;
  const void *dy, *x;
  float *c;
};
void gemm_add_outer(struct cpu_device *cpu, const struct gemm_outer *call);

#endif

/* Matrix products: cuBLASLt (gemm.cu), or plain loops in the emulation; gemm_plain.cu where these have none. */
#ifndef MEMCLIP_CUDA_GEMM_H
#define MEMCLIP_CUDA_GEMM_H
#include "cuda/cuda.h"

/* c[m,n] (+)= A . B (+ bias[n]); A = a[m,k], or the transpose of a[k,m] when a_transposed; B = b[k,n], or the transpose
 * of b[n,k] when b_transposed; all row-major. Leading dimensions (elements from one row to the next) of 0 mean dense.
 * a, b are `dtype`, c is c_dtype (dtype or fp32), bias fp32 or NULL; where c is bf16 the bias may be rounded to bf16,
 * which rounded_bias is already or NULL.
 * `batch` (0 means 1) such products at distances of a_batch, b_batch, c_batch elements. */
struct gemm {
  int64_t m, n, k, a_stride, b_stride, c_stride;
  int64_t batch, a_batch, b_batch, c_batch;
  enum dtype dtype, c_dtype;
  bool a_transposed, b_transposed, accumulate;
  const void *a, *b, *rounded_bias;
  const float *bias;
  void *c;
};
void gemm_multiply(struct cuda_device *cuda, const struct gemm *call);
void gemm_multiply_plainly(struct cuda_device *cuda, const struct gemm *call); /* the same by gemm_plain.cu */
/* The bias as cuBLASLt takes it: of c's dtype, on 16 bytes (kernels for the A100 load that much at once). NULL where a
 * copy must be made, or where there is none. */
static inline const void *gemm_ready_bias(const struct gemm *call) {
  const void *bias = call->c_dtype == DTYPE_BF16 ? call->rounded_bias : call->bias;
  return (uintptr_t)bias % 16 == 0 ? bias : NULL;
}

enum status gemm_open(struct cuda_device *cuda);
void gemm_close(struct cuda_device *cuda);
const char *gemm_version(void); /* "cuBLASLt 13.0.2" */
#endif

/* Linear layers as matrix products. */
#include "cuda/gemm.h"

void cuda_linear(struct device *self, const struct linear *call) {
  struct gemm gemm = {};
  gemm.m = call->rows;
  gemm.n = call->out;
  gemm.k = call->in;
  gemm.dtype = call->dtype;
  gemm.c_dtype = call->y_dtype;
  gemm.b_transposed = !call->transposed;
  gemm.a = call->x;
  gemm.b = call->weight;
  gemm.bias = call->bias;
  gemm.rounded_bias = call->rounded_bias;
  gemm.c = call->y;
  gemm_multiply(cuda_from_device(self), &gemm);
}

void cuda_linear_data_gradient(struct device *self, const struct linear_data_gradient *call) {
  struct gemm gemm = {};
  gemm.m = call->rows;
  gemm.n = call->in;
  gemm.k = call->out;
  gemm.dtype = call->dtype;
  gemm.c_dtype = call->dx_dtype;
  gemm.b_transposed = call->transposed;
  gemm.accumulate = call->accumulate;
  gemm.a = call->dy;
  gemm.b = call->weight;
  gemm.c = call->dx;
  gemm_multiply(cuda_from_device(self), &gemm);
}

/* dweight[out,in] += dy^T x, or dweight[in,out] += x^T dy */
void cuda_linear_weight_gradient(struct device *self, const struct linear_weight_gradient *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  struct gemm gemm = {};
  gemm.m = call->transposed ? call->in : call->out;
  gemm.n = call->transposed ? call->out : call->in;
  gemm.k = call->rows;
  gemm.dtype = call->dtype;
  gemm.c_dtype = DTYPE_F32;
  gemm.a_transposed = true;
  gemm.accumulate = true;
  gemm.a = call->transposed ? call->x : call->dy;
  gemm.b = call->transposed ? call->dy : call->x;
  gemm.c = call->dweight;
  if (call->dweight)
    gemm_multiply(cuda, &gemm);
  cuda_sum_columns(cuda, call->dtype, call->dy, NULL, call->rows, call->out, call->dbias);
}

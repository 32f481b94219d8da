/* Matrix products of any shape without the library, for those that it has no algorithm for: a thread per element, sums
 * in fp32 in order. */
#include "cuda/gemm.h"
#include "cuda/kernel.h"

enum { THREADS = 256 };

template <typename T, typename C> KERNEL void multiply(struct gemm call) {
  for (int64_t i = thread_of_grid(); i < call.batch * call.m * call.n; i += threads_of_grid()) {
    const int64_t column = i % call.n, row = i / call.n % call.m, product = i / call.n / call.m;
    const T *a = (const T *)call.a + product * call.a_batch + row * (call.a_transposed ? 1 : call.a_stride);
    const T *b = (const T *)call.b + product * call.b_batch + column * (call.b_transposed ? call.b_stride : 1);
    const int64_t a_step = call.a_transposed ? call.a_stride : 1, b_step = call.b_transposed ? 1 : call.b_stride;
    C *c = (C *)call.c + product * call.c_batch + row * call.c_stride + column;
    float sum = 0;
    for (int64_t l = 0; l < call.k; l++)
      sum += to_float(a[l * a_step]) * to_float(b[l * b_step]);
    if (call.bias)
      sum += call.bias[column];
    from_float(c, call.accumulate ? to_float(*c) + sum : sum);
  }
}

void gemm_multiply_plainly(struct cuda_device *cuda, const struct gemm *call) {
  struct gemm all = *call;
  all.batch = call->batch ? call->batch : 1;
  all.a_stride = call->a_stride ? call->a_stride : call->a_transposed ? call->m : call->k;
  all.b_stride = call->b_stride ? call->b_stride : call->b_transposed ? call->k : call->n;
  all.c_stride = call->c_stride ? call->c_stride : call->n;
  const unsigned blocks = blocks_striding(all.batch * all.m * all.n, THREADS);
  WITH_TYPE(T, call->dtype, WITH_TYPE(C, call->c_dtype, LAUNCH((multiply<T, C>), blocks, THREADS, 0, cuda, all)));
}

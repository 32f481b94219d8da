/* Pooling of tokens: the row at a position (class token, end of text), or the mean of rows. */
#include "cuda/kernel.h"

enum { THREADS = 256 };

DEVICE int64_t pooled_row(const struct pool *call, int64_t b) {
  return b * call->tokens + (call->position ? call->position[b] : 0);
}

/* out[b,:] = x[b, position[b], :] */
template <typename T> KERNEL void pool_forward(struct pool call) {
  for (int64_t i = thread_of_grid(); i < call.batch * call.width; i += threads_of_grid()) {
    const int64_t b = i / call.width;
    ((T *)call.out)[i] = ((const T *)call.x)[pooled_row(&call, b) * call.width + i % call.width];
  }
}

void cuda_pool(struct device *self, const struct pool *call) {
  WITH_TYPE(T, call->dtype,
            LAUNCH((pool_forward<T>), blocks_striding(call->batch * call->width, THREADS), THREADS, 0,
                   cuda_from_device(self), *call));
}

template <typename T> KERNEL void pool_add(struct pool call) {
  for (int64_t i = thread_of_grid(); i < call.batch * call.width; i += threads_of_grid()) {
    T *dx = (T *)call.dx + pooled_row(&call, i / call.width) * call.width + i % call.width;
    from_float(dx, to_float(*dx) + to_float(((const T *)call.dout)[i]));
  }
}

void cuda_pool_backward(struct device *self, const struct pool *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  const int64_t pooled = call->batch * call->width, all = pooled * call->tokens;
  WITH_TYPE(T, call->dtype, {
    if (!call->accumulate)
      runtime_fill_bytes(cuda, call->dx, 0, (size_t)all * sizeof(T));
    LAUNCH((pool_add<T>), blocks_striding(pooled, THREADS), THREADS, 0, cuda, *call);
  });
}

/* out[b,c] = mean over t >= first of x[b,t,c], summed in order of t */
template <typename T> KERNEL void average_forward(struct pool_average call) {
  const float scale = 1.0f / (float)(call.tokens - call.first);
  for (int64_t i = thread_of_grid(); i < call.batch * call.width; i += threads_of_grid()) {
    const T *x = (const T *)call.x + i / call.width * call.tokens * call.width + i % call.width;
    float sum = 0;
    for (int64_t t = call.first; t < call.tokens; t++)
      sum += to_float(x[t * call.width]);
    from_float((T *)call.out + i, sum * scale);
  }
}

void cuda_pool_average(struct device *self, const struct pool_average *call) {
  WITH_TYPE(T, call->dtype,
            LAUNCH((average_forward<T>), blocks_striding(call->batch * call->width, THREADS), THREADS, 0,
                   cuda_from_device(self), *call));
}

template <typename T> KERNEL void average_backward(struct pool_average call) {
  const float scale = 1.0f / (float)(call.tokens - call.first);
  for (int64_t i = thread_of_grid(); i < call.batch * call.tokens * call.width; i += threads_of_grid()) {
    const int64_t t = i / call.width % call.tokens, b = i / call.width / call.tokens;
    const float gradient = to_float(((const T *)call.dout)[b * call.width + i % call.width]);
    from_float((T *)call.dx + i, t < call.first ? 0 : gradient * scale);
  }
}

void cuda_pool_average_backward(struct device *self, const struct pool_average *call) {
  const int64_t count = call->batch * call->tokens * call->width;
  WITH_TYPE(T, call->dtype,
            LAUNCH((average_backward<T>), blocks_striding(count, THREADS), THREADS, 0, cuda_from_device(self), *call));
}

/* CLIP's two activations and their gradients: x sigmoid(1.702 x), and x Phi(x) with the exact normal distribution. */
#include "cuda/gelu.h"
#include "cuda/kernel.h"
#include "cuda/sigmoid.h"

enum { THREADS = 128, VECTOR = 8 };

template <typename T> DEVICE float activate(enum activation kind, float x) {
  return kind == ACTIVATION_GELU ? gelu<T>(x) : x * sigmoid<T>(1.702f * x);
}

template <typename T> DEVICE float slope(enum activation kind, float x) {
  if (kind == ACTIVATION_GELU)
    return gelu_slope<T>(x);
  const float s = sigmoid<T>(1.702f * x);
  return s + 1.702f * x * s * (1 - s);
}

template <typename T, int V> KERNEL void activation(const T *x, T *y, enum activation kind, int64_t vectors) {
  float value[V];
  for (int64_t i = thread_of_grid(); i < vectors; i += threads_of_grid()) {
    load<V>(x, i * V, value);
#pragma unroll
    for (int n = 0; n < V; n++)
      value[n] = activate<T>(kind, value[n]);
    store<V>(y, i * V, value);
  }
}

void cuda_activation(struct device *self, const struct activation_call *call) {
  const int64_t count = call->rows * call->columns;
  WITH_TYPE(T, call->dtype,
            WITH_VECTOR(VECTOR, count % VECTOR == 0 && aligned(call->x, call->y),
                        LAUNCH((activation<T, V>), blocks_striding(count / V, THREADS), THREADS, 0,
                               cuda_from_device(self), (const T *)call->x, (T *)call->y, call->kind, count / V)));
}

/* dx of a chunk of rows; partial[chunk, columns] its column sums, where wanted. */
template <typename T, int V>
KERNEL void activation_backward(const T *x, const T *dy, T *dx, enum activation kind, int64_t rows, int64_t per_chunk,
                                int64_t columns, float *partial) {
  const int64_t column = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * V, first = blockIdx.y * per_chunk;
  const int64_t last = first + per_chunk < rows ? first + per_chunk : rows;
  if (column >= columns)
    return;
  float sum[V] = {0}, value[V], gradient[V];
  for (int64_t row = first; row < last; row++) {
    load<V>(x, row * columns + column, value);
    load<V>(dy, row * columns + column, gradient);
#pragma unroll
    for (int n = 0; n < V; n++) {
      gradient[n] *= slope<T>(kind, value[n]);
      sum[n] += gradient[n];
    }
    store<V>(dx, row * columns + column, gradient);
  }
  if (partial)
    store<V>(partial, blockIdx.y * columns + column, sum);
}

void cuda_activation_backward(struct device *self, const struct activation_call *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  const struct cuda_chunks chunks = cuda_cut_rows(call->rows);
  float *partial = call->dbias ? (float *)cuda_scratch(cuda, CUDA_SCRATCH_COLUMNS,
                                                       (size_t)(chunks.count * call->columns) * sizeof *partial)
                               : NULL;
  WITH_TYPE(T, call->dtype, WITH_VECTOR(VECTOR, call->columns % VECTOR == 0 && aligned(call->x, call->dy, call->dx), {
              dim3 grid(blocks_for(call->columns, THREADS * V), (unsigned)chunks.count);
              LAUNCH((activation_backward<T, V>), grid, THREADS, 0, cuda, (const T *)call->x, (const T *)call->dy,
                     (T *)call->dx, call->kind, call->rows, chunks.rows, call->columns, partial);
            }));
  cuda_add_chunks(cuda, partial, chunks.count, call->columns, 1, &call->dbias);
}

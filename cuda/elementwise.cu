/* Fills, casts, additions and limits. */
#include "cuda/kernel.h"

enum { THREADS = 256, VECTOR = 4 };

KERNEL void fill(float *x, int64_t count, float value) {
  for (int64_t i = thread_of_grid(); i < count; i += threads_of_grid())
    x[i] = value;
}

void cuda_fill(struct device *self, float *x, int64_t count, float value) {
  LAUNCH(fill, blocks_striding(count, THREADS), THREADS, 0, cuda_from_device(self), x, count, value);
}

template <typename To, typename From, int V> KERNEL void cast(To *to, const From *from, int64_t vectors) {
  float value[V];
  for (int64_t i = thread_of_grid(); i < vectors; i += threads_of_grid()) {
    load<V>(from, i * V, value);
    store<V>(to, i * V, value);
  }
}

template <typename To, typename From>
static void cast_elements(struct cuda_device *cuda, To *to, const From *from, int64_t count) {
  WITH_VECTOR(VECTOR, count % VECTOR == 0 && aligned(to, from),
              LAUNCH((cast<To, From, V>), blocks_striding(count / V, THREADS), THREADS, 0, cuda, to, from, count / V));
}

void cuda_cast(struct device *self, void *to, enum dtype to_dtype, const void *from, enum dtype from_dtype,
               int64_t count) {
  if ((to_dtype != DTYPE_F32 && to_dtype != DTYPE_BF16) || (from_dtype != DTYPE_F32 && from_dtype != DTYPE_BF16))
    fatal("cast from dtype %d to %d: fp32 and bf16 are meant", (int)from_dtype, (int)to_dtype);
  WITH_TYPE(From, from_dtype,
            WITH_TYPE(To, to_dtype, cast_elements(cuda_from_device(self), (To *)to, (const From *)from, count)));
}

template <int V> KERNEL void add_scaled(float *y, const float *x, float scale, int64_t vectors) {
  float sum[V], value[V];
  for (int64_t i = thread_of_grid(); i < vectors; i += threads_of_grid()) {
    load<V>(y, i * V, sum);
    load<V>(x, i * V, value);
#pragma unroll
    for (int n = 0; n < V; n++)
      sum[n] += scale * value[n];
    store<V>(y, i * V, sum);
  }
}

void cuda_add(struct device *self, float *y, const float *x, double scale, int64_t count) {
  WITH_VECTOR(VECTOR, count % VECTOR == 0 && aligned(y, x),
              LAUNCH((add_scaled<V>), blocks_striding(count / V, THREADS), THREADS, 0, cuda_from_device(self), y, x,
                     (float)scale, count / V));
}

KERNEL void clamp_elements(float *x, int64_t count, float low, float high) {
  for (int64_t i = thread_of_grid(); i < count; i += threads_of_grid())
    x[i] = x[i] < low ? low : x[i] > high ? high : x[i];
}

void cuda_clamp(struct device *self, float *x, int64_t count, float low, float high) {
  LAUNCH(clamp_elements, blocks_striding(count, THREADS), THREADS, 0, cuda_from_device(self), x, count, low, high);
}

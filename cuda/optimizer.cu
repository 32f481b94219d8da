/* AdamW and the norm of gradients: one sweep over a slice of the arenas. */
#include "cuda/kernel.h"

enum { THREADS = 256, SQUARES_PER_BLOCK = 16384 };

struct adamw_factors {
  float beta1, rest1, beta2, rest2, shrink, rate, root_scale, eps;
};

/* bf16_state: every value as bf16 would hold it. */
DEVICE float as_held(const struct adamw *call, float x) {
  return call->bf16_state ? rounded<bf16>(x) : x;
}

DEVICE float clip_scale(const struct adamw *call) {
  double sum = 0;
  for (int i = 0; call->clip_norm > 0 && i < call->squares_count; i++)
    sum += call->squares[i];
  return call->clip_norm > 0 ? (float)fmin(1.0, call->clip_norm / (sqrt(sum) + 1e-6)) : 1;
}

template <int V> KERNEL void adamw_step(struct adamw call, struct adamw_factors f, int64_t vectors) {
  const float gradient_scale = clip_scale(&call);
  for (int64_t i = thread_of_grid(); i < vectors; i += threads_of_grid()) {
    float p[V], g[V], m[V], v[V];
    load<V>(call.parameter, i * V, p);
    load<V>(call.gradient, i * V, g);
    load<V>(call.first_moment, i * V, m);
    load<V>(call.second_moment, i * V, v);
#pragma unroll
    for (int n = 0; n < V; n++) {
      g[n] = as_held(&call, g[n] * gradient_scale);
      m[n] = as_held(&call, f.beta1 * m[n] + f.rest1 * g[n]);
      v[n] = as_held(&call, f.beta2 * v[n] + f.rest2 * g[n] * g[n]);
      p[n] = as_held(&call, p[n] * f.shrink - f.rate * m[n] / (sqrtf(v[n]) * f.root_scale + f.eps));
      g[n] = 0;
    }
    store<V>(call.first_moment, i * V, m);
    store<V>(call.second_moment, i * V, v);
    store<V>(call.parameter, i * V, p);
    if (call.compute)
      store<V>(call.compute, i * V, p);
    if (call.zero_gradient)
      store<V>(call.gradient, i * V, g);
  }
}

void cuda_adamw(struct device *self, const struct adamw *call) {
  const struct adamw_factors factors = {(float)call->beta1,
                                        (float)(1 - call->beta1),
                                        (float)call->beta2,
                                        (float)(1 - call->beta2),
                                        (float)(1 - call->lr * call->decay),
                                        (float)(call->lr / (1 - pow(call->beta1, (double)call->step))),
                                        (float)(1 / sqrt(1 - pow(call->beta2, (double)call->step))),
                                        (float)call->eps};
  const bool fits = call->count % 4 == 0 &&
                    aligned(call->parameter, call->gradient, call->first_moment, call->second_moment, call->compute);
  WITH_VECTOR(4, fits,
              LAUNCH((adamw_step<V>), blocks_striding(call->count / V, THREADS), THREADS, 0, cuda_from_device(self),
                     *call, factors, call->count / V));
}

/* partial[block] = sum of x^2 of a piece, in fp64 */
template <int V> KERNEL void square_piece(const float *x, int64_t count, double *partial) {
  SHARED(double, warp_sums, THREADS / WARP);
  const int64_t first = (int64_t)blockIdx.x * SQUARES_PER_BLOCK;
  const int64_t last = first + SQUARES_PER_BLOCK < count ? first + SQUARES_PER_BLOCK : count;
  double sum = 0;
#pragma unroll 4
  for (int64_t i = first + (int64_t)threadIdx.x * V; i < last; i += THREADS * V) {
    float value[V];
    load<V>(x, i, value);
#pragma unroll
    for (int n = 0; n < V; n++)
      sum += (double)value[n] * value[n];
  }
  sum = warp_sum(sum);
  if (lane_of_thread() == 0)
    warp_sums[warp_of_thread()] = sum;
  block_barrier();
  if (threadIdx.x == 0) {
    for (int i = 1; i < THREADS / WARP; i++)
      sum += warp_sums[i];
    partial[blockIdx.x] = sum;
  }
}

void cuda_sum_of_squares(struct device *self, const float *x, int64_t count, double *result) {
  struct cuda_device *cuda = cuda_from_device(self);
  const unsigned pieces = blocks_for(count, SQUARES_PER_BLOCK);
  double *partial = (double *)cuda_scratch(cuda, CUDA_SCRATCH_ROWS, pieces * sizeof *partial);
  WITH_VECTOR(4, count % 4 == 0 && aligned(x), LAUNCH((square_piece<V>), pieces, THREADS, 0, cuda, x, count, partial));
  cuda_add_total(cuda, partial, pieces, 1, result);
}

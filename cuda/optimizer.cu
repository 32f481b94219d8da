/* AdamW and the norm of gradients: one sweep over the arenas each, a warp per block of elements, four a lane. */
#include "cuda/kernel.h"

enum { THREADS = 256, WARPS = THREADS / WARP, V = ADAMW_BLOCK / WARP };

/* A group's settings with the gradients' scale; in shared memory. */
struct adamw_factors {
  float gradient_scale, shrink, rate, root_scale;
  bool bf16_state;
};
/* What all groups share. */
struct adamw_betas {
  float beta1, rest1, beta2, rest2, eps;
};

DEVICE float clip_scale(const struct adamw *call, const struct adamw_group *group) {
  double sum = 0;
  if (!(group->clip_norm > 0))
    return 1;
  for (int i = 0; i < group->clip_count; i++)
    sum += call->squares[group->clip_first + i];
  return (float)fmin(1.0, group->clip_norm / (sqrt(sum) + 1e-6));
}

DEVICE float as_held(float x, bool in_bf16) {
  return in_bf16 ? rounded<bf16>(x) : x;
}

KERNEL void adamw_step(struct adamw call, struct adamw_betas b) {
  SHARED_DYNAMIC(struct adamw_factors, factors);
  for (int n = (int)threadIdx.x; n < call.group_count; n += THREADS) {
    const struct adamw_group *group = &call.groups[n];
    factors[n] = {clip_scale(&call, group), group->shrink, group->rate, group->root_scale, group->bf16_state};
  }
  block_barrier();
  for (int64_t block = warp_of_grid(); block < call.count / ADAMW_BLOCK; block += threads_of_grid() / WARP) {
    const int64_t i = block * ADAMW_BLOCK + lane_of_thread() * V;
    float p[V], g[V], m[V], v[V];
    load<V>(call.parameter, i, p);
    load<V>(call.gradient, i, g);
    load<V>(call.first_moment, i, m);
    load<V>(call.second_moment, i, v);
    const struct adamw_factors f = factors[call.group_of[block]];
#pragma unroll
    for (int n = 0; n < V; n++) {
      g[n] = as_held(g[n] * f.gradient_scale, f.bf16_state);
      m[n] = as_held(b.beta1 * m[n] + b.rest1 * g[n], f.bf16_state);
      v[n] = as_held(b.beta2 * v[n] + b.rest2 * g[n] * g[n], f.bf16_state);
      p[n] = as_held(p[n] * f.shrink - f.rate * m[n] / (sqrtf(v[n]) * f.root_scale + b.eps), f.bf16_state);
      g[n] = 0;
    }
    store<V>(call.first_moment, i, m);
    store<V>(call.second_moment, i, v);
    store<V>(call.parameter, i, p);
    if (call.compute)
      store<V>(call.compute, i, p);
    if (call.zero_gradient)
      store<V>(call.gradient, i, g);
  }
}

void cuda_adamw(struct device *self, const struct adamw *call) {
  const struct adamw_betas betas = {(float)call->beta1, (float)(1 - call->beta1), (float)call->beta2,
                                    (float)(1 - call->beta2), (float)call->eps};
  LAUNCH(adamw_step, blocks_striding(call->count / ADAMW_BLOCK, WARPS), THREADS,
         (size_t)call->group_count * sizeof(struct adamw_factors), cuda_from_device(self), *call, betas);
}

/* partial[s][thread block] = its blocks' part of squares[s] */
KERNEL void square_blocks(struct adamw call, double *partial) {
  SHARED(double, warp_sums, ADAMW_SQUARES *WARPS);
  double sums[ADAMW_SQUARES] = {0};
#pragma unroll 4
  for (int64_t block = warp_of_grid(); block < call.count / ADAMW_BLOCK; block += threads_of_grid() / WARP) {
    float g[V];
    load<V>(call.gradient, block * ADAMW_BLOCK + lane_of_thread() * V, g);
    const int which = call.groups[call.group_of[block]].squares;
    double square = 0;
#pragma unroll
    for (int n = 0; n < V; n++)
      square += (double)g[n] * g[n];
#pragma unroll
    for (int s = 0; s < ADAMW_SQUARES; s++)
      sums[s] += s == which ? square : 0;
  }
#pragma unroll
  for (int s = 0; s < ADAMW_SQUARES; s++) {
    const double sum = warp_sum(sums[s]);
    if (lane_of_thread() == 0)
      warp_sums[s * WARPS + warp_of_thread()] = sum;
  }
  block_barrier();
  if (threadIdx.x < ADAMW_SQUARES) {
    double sum = 0;
    for (int w = 0; w < WARPS; w++)
      sum += warp_sums[(int)threadIdx.x * WARPS + w];
    partial[threadIdx.x * gridDim.x + blockIdx.x] = sum;
  }
}

void cuda_adamw_squares(struct device *self, const struct adamw *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  const unsigned blocks = blocks_striding(call->count / ADAMW_BLOCK, WARPS);
  double *partial = (double *)cuda_scratch(cuda, CUDA_SCRATCH_ROWS, ADAMW_SQUARES * blocks * sizeof *partial);
  LAUNCH(square_blocks, blocks, THREADS, 0, cuda, *call, partial);
  runtime_fill_bytes(cuda, call->squares, 0, ADAMW_SQUARES * sizeof *call->squares);
  for (int s = 0; s < ADAMW_SQUARES; s++)
    cuda_add_total(cuda, partial + s * blocks, blocks, 1, call->squares + s);
}

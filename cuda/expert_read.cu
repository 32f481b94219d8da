/* Experts of one neuron each, as three bags over the same entries. */
#include "cuda/bag.h"
#include "cuda/gelu.h"
#include "cuda/kernel.h"

enum { THREADS = 256 };

static struct bag bag_of(const struct expert_read *call, const void *table) {
  struct bag bag = {};
  bag.count = call->rows;
  bag.entries = call->entries;
  bag.slots = call->slots;
  bag.width = call->width;
  bag.dtype = call->dtype;
  bag.index = call->index;
  bag.table = table;
  return bag;
}

/* factor = weight gelu(z); backward, where dweight holds c: dz = weight gelu'(z) c, dweight = gelu(z) c. */
KERNEL void entry_factors(struct expert_read call, bool backward, float *factor, float *dz) {
  for (int64_t i = thread_of_grid(); i < call.rows * call.entries; i += threads_of_grid()) {
    const float weight = call.weight[i], z = call.z[i], g = gelu<float>(z);
    factor[i] = weight * g;
    if (backward) {
      const float c = call.dweight[i];
      dz[i] = weight * gelu_slope<float>(z) * c;
      call.dweight[i] = g * c;
    }
  }
}

static float *make_factors(struct cuda_device *cuda, const struct expert_read *call, bool backward) {
  const int64_t count = call->rows * call->entries;
  float *factor = (float *)cuda_scratch(cuda, CUDA_SCRATCH_ROWS, (size_t)(2 * count) * sizeof *factor);
  LAUNCH(entry_factors, blocks_striding(count, THREADS), THREADS, 0, cuda, *call, backward, factor, factor + count);
  return factor;
}

void cuda_expert_read(struct device *self, const struct expert_read *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  struct bag down = bag_of(call, call->down), up = bag_of(call, call->up);
  down.rows = call->x;
  down.dots = call->z;
  cuda_bag_dot(cuda, &down);
  up.weight = make_factors(cuda, call, false);
  up.out = call->out;
  cuda_bag_sum(cuda, &up);
}

void cuda_expert_read_backward(struct device *self, const struct expert_read *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  struct bag down = bag_of(call, call->down), up = bag_of(call, call->up);
  up.rows = call->dout;
  up.dots = call->dweight;
  cuda_bag_dot(cuda, &up); /* c */
  up.weight = make_factors(cuda, call, true);
  down.weight = up.weight + call->rows * call->entries;
  if (call->dup) {
    up.dtable = call->dup;
    cuda_bag_scatter(cuda, &up);
  }
  if (call->ddown) {
    down.rows = call->x;
    down.dtable = call->ddown;
    cuda_bag_scatter(cuda, &down);
  }
  if (call->dx) {
    down.out = call->dx;
    down.accumulate = true;
    cuda_bag_sum(cuda, &down);
  }
}

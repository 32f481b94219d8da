/* Experts of one neuron each, as three bags over the same entries. */
#include "device/cpu/bag.h"
#include "device/cpu/cpu.h"

enum { ENTRIES_AT_A_TIME = 4096 };

static struct cpu_bag bag_of(const struct expert_read *call, const void *table) {
  return (struct cpu_bag){.count = call->rows,
                          .entries = call->entries,
                          .slots = call->slots,
                          .width = call->width,
                          .dtype = call->dtype,
                          .index = call->index,
                          .table = table};
}

static int64_t entries_from(int64_t first, int64_t count) {
  return count - first < ENTRIES_AT_A_TIME ? count - first : ENTRIES_AT_A_TIME;
}

/* weight gelu(z) of every entry; dz when `dz`: from c, which dweight holds and gives up for its own value. */
static float *entry_factors(struct device *self, const struct expert_read *call, bool backward) {
  const struct cpu_kernels *kernel = cpu_from_device(self)->kernel;
  const int64_t count = call->rows * call->entries;
  float *factor = cpu_scratch(cpu_from_device(self), CPU_SCRATCH_ROWS, (size_t)(2 * count) * sizeof *factor);
#pragma omp parallel for num_threads(self->threads) if (count > ENTRIES_AT_A_TIME)
  for (int64_t i = 0; i < count; i += ENTRIES_AT_A_TIME) {
    const int64_t length = entries_from(i, count);
    kernel->cpu_kernel_expert_weights(call->weight + i, call->z + i, factor + i, length);
    if (backward)
      kernel->cpu_kernel_expert_gradients(call->weight + i, call->z + i, call->dweight + i, factor + count + i, length);
  }
  return factor;
}

void cpu_expert_read(struct device *self, const struct expert_read *call) {
  struct cpu_bag down = bag_of(call, call->down), up = bag_of(call, call->up);
  down.rows = call->x;
  down.dots = call->z;
  cpu_bag_dot(self, &down);
  up.weight = entry_factors(self, call, false);
  up.out = call->out;
  cpu_bag_sum(self, &up);
}

void cpu_expert_read_backward(struct device *self, const struct expert_read *call) {
  struct cpu_bag down = bag_of(call, call->down), up = bag_of(call, call->up);
  up.rows = call->dout;
  up.dots = call->dweight;
  cpu_bag_dot(self, &up); /* c */
  up.weight = entry_factors(self, call, true);
  down.weight = up.weight + call->rows * call->entries;
  if (call->dup) {
    up.dtable = call->dup;
    cpu_bag_scatter(self, &up);
  }
  if (call->ddown) {
    down.rows = call->x;
    down.dtable = call->ddown;
    cpu_bag_scatter(self, &down);
  }
  if (call->dx) {
    down.out = call->dx;
    down.accumulate = true;
    cpu_bag_sum(self, &down);
  }
}

/* Weighted sums of rows of the value table, and their gradients. */
#include "device/cpu/bag.h"
#include "device/cpu/cpu.h"

static struct cpu_bag bag_of(const struct memory_read *call) {
  return (struct cpu_bag){.count = call->rows,
                          .entries = call->entries,
                          .slots = call->slots,
                          .width = call->width,
                          .dtype = call->dtype,
                          .index = call->index,
                          .weight = call->weight,
                          .table = call->values,
                          .rows = call->dout,
                          .out = call->out,
                          .dots = call->dweight,
                          .dtable = call->dvalues};
}

void cpu_memory_read(struct device *self, const struct memory_read *call) {
  struct cpu_bag bag = bag_of(call);
  cpu_bag_sum(self, &bag);
}

void cpu_memory_read_backward(struct device *self, const struct memory_read *call) {
  struct cpu_bag bag = bag_of(call);
  if (bag.dots)
    cpu_bag_dot(self, &bag);
  if (bag.dtable)
    cpu_bag_scatter(self, &bag);
}

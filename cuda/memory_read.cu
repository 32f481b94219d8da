/* Weighted sums of rows of the value table, and their gradients. */
#include "cuda/bag.h"

static struct bag bag_of(const struct memory_read *call) {
  struct bag bag = {};
  bag.count = call->rows;
  bag.entries = call->entries;
  bag.slots = call->slots;
  bag.width = call->width;
  bag.dtype = call->dtype;
  bag.index = call->index;
  bag.weight = call->weight;
  bag.table = call->values;
  bag.rows = call->dout;
  bag.out = call->out;
  bag.dots = call->dweight;
  bag.dtable = call->dvalues;
  return bag;
}

void cuda_memory_read(struct device *self, const struct memory_read *call) {
  const struct bag bag = bag_of(call);
  cuda_bag_sum(cuda_from_device(self), &bag);
}

void cuda_memory_read_backward(struct device *self, const struct memory_read *call) {
  const struct bag bag = bag_of(call);
  if (bag.dots)
    cuda_bag_dot(cuda_from_device(self), &bag);
  if (bag.dtable)
    cuda_bag_scatter(cuda_from_device(self), &bag);
}

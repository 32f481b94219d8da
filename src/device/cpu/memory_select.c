/* Product-key selection: the knn best of K*K slots per row and head, through the knn best of each half. */
#include "device/cpu/bag.h"
#include "device/cpu/cpu.h"
#include <omp.h>

void cpu_memory_select(struct device *self, const struct memory_select *call) {
  if (call->knn > call->n_keys || call->knn < 1 || call->knn > MEMORY_KNN_MAX)
    fatal("memory_select: knn is %lld; it must be 1 to %d and at most n_keys, %lld", (long long)call->knn,
          MEMORY_KNN_MAX, (long long)call->n_keys);
  const struct cpu_kernels *kernel = cpu_from_device(self)->product_kernel;
  int64_t halves = 2 * call->heads, key_floats = select_key_floats(call), work_floats = select_work_floats(call);
  float *keys = cpu_scratch(cpu_from_device(self), CPU_SCRATCH_SCORES, (size_t)(halves * key_floats) * sizeof *keys);
  float *work =
      cpu_scratch(cpu_from_device(self), CPU_SCRATCH_THREADS, (size_t)(work_floats * self->threads) * sizeof *work);
  int64_t blocks = (call->rows + SELECT_ROWS - 1) / SELECT_ROWS;
#pragma omp parallel num_threads(self->threads)
  {
#pragma omp for schedule(static)
    for (int64_t half = 0; half < halves; half++)
      kernel->cpu_kernel_memory_pack_keys(call, half, keys + half * key_floats);
#pragma omp for schedule(static)
    for (int64_t item = 0; item < blocks * call->heads; item++)
      kernel->cpu_kernel_memory_select(call, item % call->heads, item / call->heads * SELECT_ROWS, keys,
                                       work + work_floats * omp_get_thread_num());
  }
}

/* The softmax's gradient of one row and head: dscore_t = weight_t (dweight_t - sum weight dweight), given to both of
 * the slot's keys. key and factor are [2][knn]: what bags of keys make the gradients of the two halves of the query. */
static void score_gradients(const struct memory_select *call, int64_t item, int32_t *key, float *factor) {
  int64_t knn = call->knn, keys = call->n_keys, head = item % call->heads;
  const float *weight = call->weight + item * knn, *dweight = call->dweight + item * knn;
  const int32_t *slot = call->index + item * knn;
  float mean = 0;
  for (int64_t t = 0; t < knn; t++)
    mean += weight[t] * dweight[t];
  for (int64_t t = 0; t < knn; t++) {
    key[t] = (int32_t)(2 * head * keys + slot[t] / keys);
    key[knn + t] = (int32_t)((2 * head + 1) * keys + slot[t] % keys);
    factor[t] = factor[knn + t] = weight[t] * (dweight[t] - mean);
  }
}

void cpu_memory_select_backward(struct device *self, const struct memory_select *call) {
  int64_t items = call->rows * call->heads, picks = 2 * call->knn;
  float *factor = cpu_scratch(cpu_from_device(self), CPU_SCRATCH_SCORES, (size_t)(2 * items * picks) * sizeof *factor);
  int32_t *key = (int32_t *)(factor + items * picks);
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t item = 0; item < items; item++)
    score_gradients(call, item, key + item * picks, factor + item * picks);
  struct cpu_bag bag = {.count = 2 * items,
                        .entries = call->knn,
                        .slots = 2 * call->heads * call->n_keys,
                        .width = call->half,
                        .dtype = call->dtype,
                        .index = key,
                        .weight = factor,
                        .table = call->keys,
                        .rows = call->queries,
                        .out = call->dqueries,
                        .dtable = call->dkeys};
  if (bag.out)
    cpu_bag_sum(self, &bag);
  if (bag.dtable)
    cpu_bag_scatter(self, &bag);
}

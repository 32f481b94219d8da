/* Weighted sums of rows of the value table, and their gradients. */
#include "device/cpu/cpu.h"
#include <omp.h>
#include <string.h>

static void add_scaled(enum dtype dtype, float *sum, float factor, const void *x, int64_t offset, int64_t count) {
  if (dtype == DTYPE_F32) {
    const float *row = (const float *)x + offset;
#pragma omp simd
    for (int64_t c = 0; c < count; c++)
      sum[c] += factor * row[c];
  } else {
    const bf16 *row = (const bf16 *)x + offset;
#pragma omp simd
    for (int64_t c = 0; c < count; c++)
      sum[c] += factor * bf16_to_float(row[c]);
  }
}

static float dot(enum dtype dtype, const void *x, int64_t x_offset, const void *y, int64_t y_offset, int64_t count) {
  float sum = 0;
  if (dtype == DTYPE_F32) {
    const float *a = (const float *)x + x_offset, *b = (const float *)y + y_offset;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < count; c++)
      sum += a[c] * b[c];
  } else {
    const bf16 *a = (const bf16 *)x + x_offset, *b = (const bf16 *)y + y_offset;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < count; c++)
      sum += bf16_to_float(a[c]) * bf16_to_float(b[c]);
  }
  return sum;
}

/* out[n,:] = sum_j weight[n,j] values[index[n,j],:] */
void cpu_memory_read(struct device *self, const struct memory_read *call) {
  float *scratch = cpu_scratch(cpu_from_device(self), CPU_SCRATCH_THREADS, (size_t)(call->width * self->threads) * sizeof *scratch);
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t n = 0; n < call->rows; n++) {
    float *sum = scratch + call->width * omp_get_thread_num();
    memset(sum, 0, (size_t)call->width * sizeof *sum);
    for (int64_t j = n * call->entries; j < (n + 1) * call->entries; j++)
      add_scaled(call->dtype, sum, call->weight[j], call->values, call->index[j] * call->width, call->width);
    for (int64_t c = 0; c < call->width; c++)
      if (call->dtype == DTYPE_F32)
        ((float *)call->out)[n * call->width + c] = sum[c];
      else
        ((bf16 *)call->out)[n * call->width + c] = bf16_from_float(sum[c]);
  }
}

/* dweight[n,j] = <dout[n,:], values[index[n,j],:]> */
static void weight_gradient(struct device *self, const struct memory_read *call) {
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t n = 0; n < call->rows; n++)
    for (int64_t j = n * call->entries; j < (n + 1) * call->entries; j++)
      call->dweight[j] = dot(call->dtype, call->dout, n * call->width, call->values, call->index[j] * call->width, call->width);
}

/* Counting sort of the entries by slot, stable: entries of slot s are order[first[s]] .. order[first[s+1]-1], ascending.
 * first has slots + 2 places. */
static void sort_by_slot(const struct memory_read *call, int32_t *first, int32_t *order) {
  int64_t count = call->rows * call->entries;
  memset(first, 0, (size_t)(call->slots + 2) * sizeof *first);
  for (int64_t j = 0; j < count; j++)
    first[call->index[j] + 2]++;
  for (int64_t slot = 2; slot <= call->slots + 1; slot++)
    first[slot] += first[slot - 1];
  for (int64_t j = 0; j < count; j++)
    order[first[call->index[j] + 1]++] = (int32_t)j;
}

enum { COLUMN_BLOCK = 128 }; /* columns of one slot that a thread sums at a time */

/* dvalues[slot,:] += sum of its entries' weight dout[n,:], in order of (n,j): one slot and column block belongs to one thread. */
static void value_gradient(struct device *self, const struct memory_read *call) {
  int64_t count = call->rows * call->entries, blocks = (call->width + COLUMN_BLOCK - 1) / COLUMN_BLOCK;
  int32_t *first = cpu_scratch(cpu_from_device(self), CPU_SCRATCH_INDEX, (size_t)(call->slots + 2 + count) * sizeof *first),
          *order = first + call->slots + 2;
  sort_by_slot(call, first, order);
#pragma omp parallel for num_threads(self->threads) schedule(dynamic, 16)
  for (int64_t item = 0; item < call->slots * blocks; item++) {
    int64_t slot = item / blocks, column = item % blocks * COLUMN_BLOCK;
    int64_t columns = call->width - column < COLUMN_BLOCK ? call->width - column : COLUMN_BLOCK;
    if (first[slot] == first[slot + 1])
      continue;
    float sum[COLUMN_BLOCK] = {0};
    for (int32_t e = first[slot]; e < first[slot + 1]; e++) {
      int64_t j = order[e];
      add_scaled(call->dtype, sum, call->weight[j], call->dout, j / call->entries * call->width + column, columns);
    }
    for (int64_t c = 0; c < columns; c++)
      call->dvalues[slot * call->width + column + c] += sum[c];
  }
}

void cpu_memory_read_backward(struct device *self, const struct memory_read *call) {
  if (call->dweight)
    weight_gradient(self, call);
  if (call->dvalues)
    value_gradient(self, call);
}

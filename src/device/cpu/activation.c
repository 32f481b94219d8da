/* Activations, over pieces of the elements. */
#include "device/cpu/cpu.h"
#include <string.h>

enum { PIECE_ELEMENTS = 16384 };

void cpu_activation(struct device *self, const struct activation_call *call) {
  struct cpu_device *cpu = cpu_from_device(self);
  int64_t total = call->rows * call->columns;
#pragma omp parallel for num_threads(self->threads) if (total > PIECE_ELEMENTS)
  for (int64_t first = 0; first < total; first += PIECE_ELEMENTS)
    cpu->kernel->cpu_kernel_activation(call, first, total - first < PIECE_ELEMENTS ? total - first : PIECE_ELEMENTS);
}

/* dx = act'(x) dy; dbias += column sums of dx */
void cpu_activation_backward(struct device *self, const struct activation_call *call) {
  struct cpu_device *cpu = cpu_from_device(self);
  struct cpu_chunks chunks = cpu_chunks(call->rows);
  size_t sum_bytes = call->dbias ? (size_t)call->columns * sizeof(float) : 0;
  float *partial = cpu_scratch(cpu, CPU_SCRATCH_COLUMNS, (size_t)chunks.count * sum_bytes);
#pragma omp parallel for num_threads(self->threads)
  for (int64_t chunk = 0; chunk < chunks.count; chunk++) {
    int64_t first, count = cpu_chunk_range(chunks, call->rows, chunk, &first);
    float *sum = call->dbias ? partial + chunk * call->columns : NULL;
    if (sum)
      memset(sum, 0, sum_bytes);
    for (int64_t row = first; row < first + count; row++)
      cpu->kernel->cpu_kernel_activation_backward(call, row, sum);
  }
  cpu_add_chunks(cpu, partial, chunks.count, call->columns, call->columns, call->dbias);
}

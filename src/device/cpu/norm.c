/* Residual addition and layer norm. */
#include "device/cpu/cpu.h"
#include <string.h>

void cpu_norm(struct device *self, const struct norm *call) {
  struct cpu_device *cpu = cpu_from_device(self);
  enum { PIECE_ROWS = 8 };
#pragma omp parallel for num_threads(self->threads) if (call->rows > PIECE_ROWS)
  for (int64_t first = 0; first < call->rows; first += PIECE_ROWS)
    cpu->kernel->cpu_kernel_norm(call, first, call->rows - first < PIECE_ROWS ? call->rows - first : PIECE_ROWS);
}

/* The column sums of a chunk of rows lie side by side: dweight, dbias, dbranch_bias, dgamma. */
void cpu_norm_backward(struct device *self, const struct norm_backward *call) {
  struct cpu_device *cpu = cpu_from_device(self);
  struct cpu_chunks chunks = cpu_chunks(call->rows);
  int64_t width = call->width, stride = 4 * width;
  float *partial = cpu_scratch(cpu, CPU_SCRATCH_COLUMNS, (size_t)(chunks.count * stride) * sizeof *partial);
#pragma omp parallel for num_threads(self->threads)
  for (int64_t chunk = 0; chunk < chunks.count; chunk++) {
    int64_t first, count = cpu_chunk_range(chunks, call->rows, chunk, &first);
    float *sum = partial + chunk * stride;
    memset(sum, 0, (size_t)stride * sizeof *sum);
    struct norm_sums sums = {.weight = sum, .bias = sum + width, .branch = sum + 2 * width, .gamma = sum + 3 * width};
    cpu->kernel->cpu_kernel_norm_backward(call, first, count, &sums);
  }
  if (call->dy) {
    cpu_add_chunks(cpu, partial, chunks.count, stride, width, call->dweight);
    cpu_add_chunks(cpu, partial + width, chunks.count, stride, width, call->dbias);
  }
  if (call->dbranch) {
    cpu_add_chunks(cpu, partial + 2 * width, chunks.count, stride, width, call->dbranch_bias);
    cpu_add_chunks(cpu, partial + 3 * width, chunks.count, stride, width, call->dgamma);
  }
}

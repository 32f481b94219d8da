/* Gates of the memory layer: element by element (u = m silu(g)) and one scalar per token. */
#include "device/cpu/cpu.h"
#include <string.h>

enum { ELEMENTS_AT_A_TIME = 8192 };

void cpu_gate(struct device *self, const struct gate *call) {
  const struct cpu_kernels *kernel = cpu_from_device(self)->kernel;
  int64_t total = call->rows * call->columns;
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t first = 0; first < total; first += ELEMENTS_AT_A_TIME)
    kernel->cpu_kernel_gate(call, first, total - first < ELEMENTS_AT_A_TIME ? total - first : ELEMENTS_AT_A_TIME);
}

void cpu_gate_backward(struct device *self, const struct gate *call) {
  struct cpu_device *cpu = cpu_from_device(self);
  struct cpu_chunks chunks = cpu_chunks(call->rows);
  float *partial = cpu_scratch(cpu, CPU_SCRATCH_COLUMNS, (size_t)(chunks.count * call->columns) * sizeof *partial);
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t chunk = 0; chunk < chunks.count; chunk++) {
    int64_t first, rows = cpu_chunk_range(chunks, call->rows, chunk, &first);
    float *sum = partial + chunk * call->columns;
    memset(sum, 0, (size_t)call->columns * sizeof *sum);
    cpu->kernel->cpu_kernel_gate_backward(call, first, rows, sum);
  }
  cpu_add_chunks(cpu, partial, chunks.count, call->columns, call->columns, call->dgate_bias);
}

void cpu_token_gate(struct device *self, const struct token_gate *call) {
  const struct cpu_kernels *kernel = cpu_from_device(self)->kernel;
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t n = 0; n < call->rows; n++)
    kernel->cpu_kernel_token_gate(call, n);
}

void cpu_token_gate_backward(struct device *self, const struct token_gate *call) {
  struct cpu_device *cpu = cpu_from_device(self);
  struct cpu_chunks chunks = cpu_chunks(call->rows);
  int64_t stride = call->in + 1; /* dweight, then dbias */
  float *partial = cpu_scratch(cpu, CPU_SCRATCH_COLUMNS, (size_t)(chunks.count * stride) * sizeof *partial);
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t chunk = 0; chunk < chunks.count; chunk++) {
    int64_t first, rows = cpu_chunk_range(chunks, call->rows, chunk, &first);
    float *sum = partial + chunk * stride;
    memset(sum, 0, (size_t)stride * sizeof *sum);
    for (int64_t n = first; n < first + rows; n++)
      cpu->kernel->cpu_kernel_token_gate_backward(call, n, sum);
  }
  cpu_add_chunks(cpu, partial, chunks.count, stride, call->in, call->dweight);
  cpu_add_chunks(cpu, partial + call->in, chunks.count, stride, 1, call->dbias);
}

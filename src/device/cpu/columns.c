/* Sums over rows in an order that does not depend on the number of threads: rows are cut into a fixed number of chunks,
 * each chunk summed by one thread, the chunks added in order. */
#include "device/cpu/cpu.h"
#include <string.h>

enum { CHUNK_ROWS_MIN = 32, CHUNKS_MAX = 256, COLUMNS_PER_ITEM = 256 };

struct cpu_chunks cpu_chunks(int64_t rows) {
  int64_t per_chunk = (rows + CHUNKS_MAX - 1) / CHUNKS_MAX;
  if (per_chunk < CHUNK_ROWS_MIN)
    per_chunk = CHUNK_ROWS_MIN;
  return (struct cpu_chunks){.rows = per_chunk, .count = (rows + per_chunk - 1) / per_chunk};
}

void cpu_add_chunks(struct cpu_device *cpu, const float *partial, int64_t count, int64_t stride, int64_t columns,
                    float *out) {
  if (!out)
    return;
#pragma omp parallel for num_threads(cpu->device.threads) if (count * columns > 65536)
  for (int64_t first = 0; first < columns; first += COLUMNS_PER_ITEM) {
    int64_t last = first + COLUMNS_PER_ITEM < columns ? first + COLUMNS_PER_ITEM : columns;
    float sum[COLUMNS_PER_ITEM] = {0};
    for (int64_t chunk = 0; chunk < count; chunk++)
      for (int64_t c = first; c < last; c++)
        sum[c - first] += partial[chunk * stride + c];
    for (int64_t c = first; c < last; c++)
      out[c] += sum[c - first];
  }
}

void cpu_sum_columns(struct cpu_device *cpu, enum dtype dtype, const void *x, int64_t rows, int64_t columns,
                     float *out) {
  if (!out || rows == 0)
    return;
  struct cpu_chunks chunks = cpu_chunks(rows);
  float *partial = cpu_scratch(cpu, CPU_SCRATCH_COLUMNS, (size_t)(chunks.count * columns) * sizeof *partial);
#pragma omp parallel for num_threads(cpu->device.threads)
  for (int64_t chunk = 0; chunk < chunks.count; chunk++) {
    int64_t first, count = cpu_chunk_range(chunks, rows, chunk, &first);
    float *sum = partial + chunk * columns;
    memset(sum, 0, (size_t)columns * sizeof *sum);
    for (int64_t row = first; row < first + count; row++)
      cpu->kernel->cpu_kernel_add_row(sum, dtype, cpu_at(dtype, x, row * columns), columns);
  }
  cpu_add_chunks(cpu, partial, chunks.count, columns, columns, out);
}

/* Fills, casts, additions, limits. */
#include "device/cpu/cpu.h"
#include <string.h>

enum { PIECE_ELEMENTS = 16384 };

static int64_t piece_length(int64_t first, int64_t count) {
  return count - first < PIECE_ELEMENTS ? count - first : PIECE_ELEMENTS;
}

void cpu_fill(struct device *self, float *x, int64_t count, float value) {
  for (int64_t i = 0; i < count; i++)
    x[i] = value;
  cpu_weights_written(cpu_from_device(self), x, (size_t)count * sizeof *x);
}

void cpu_cast(struct device *self, void *to, enum dtype to_dtype, const void *from, enum dtype from_dtype,
              int64_t count) {
  const struct cpu_kernels *kernel = cpu_from_device(self)->kernel;
  if ((to_dtype != DTYPE_F32 && to_dtype != DTYPE_BF16) || (from_dtype != DTYPE_F32 && from_dtype != DTYPE_BF16))
    fatal("cast from %s to %s: only fp32 and bf16 are cast", dtype_name(from_dtype), dtype_name(to_dtype));
#pragma omp parallel for num_threads(self->threads) if (count > PIECE_ELEMENTS)
  for (int64_t first = 0; first < count; first += PIECE_ELEMENTS) {
    int64_t length = piece_length(first, count);
    if (to_dtype == from_dtype)
      memcpy(cpu_at_writable(to_dtype, to, first), cpu_at(from_dtype, from, first),
             (size_t)length * dtype_size(to_dtype));
    else if (to_dtype == DTYPE_F32)
      kernel->cpu_kernel_widen((float *)to + first, (const bf16 *)from + first, length);
    else
      kernel->cpu_kernel_narrow((bf16 *)to + first, (const float *)from + first, length);
  }
  cpu_weights_written(cpu_from_device(self), to, (size_t)count * dtype_size(to_dtype));
}

/* y += scale x */
void cpu_add(struct device *self, float *y, const float *x, double scale, int64_t count) {
  const struct cpu_kernels *kernel = cpu_from_device(self)->kernel;
#pragma omp parallel for num_threads(self->threads) if (count > PIECE_ELEMENTS)
  for (int64_t first = 0; first < count; first += PIECE_ELEMENTS)
    kernel->cpu_kernel_add_scaled(y + first, x + first, (float)scale, piece_length(first, count));
  cpu_weights_written(cpu_from_device(self), y, (size_t)count * sizeof *y);
}

void cpu_clamp(struct device *self, float *x, int64_t count, float low, float high) {
  for (int64_t i = 0; i < count; i++)
    x[i] = x[i] < low ? low : x[i] > high ? high : x[i];
  cpu_weights_written(cpu_from_device(self), x, (size_t)count * sizeof *x);
}

/* AdamW and the norm of gradients. */
#include "device/cpu/cpu.h"
#include <math.h>

enum { PIECE_ELEMENTS = 16384, SQUARES_PER_PIECE = 65536 };

static double clip_scale(const struct adamw *call) {
  double sum = 0;
  for (int i = 0; call->clip_norm > 0 && i < call->squares_count; i++)
    sum += call->squares[i];
  return call->clip_norm > 0 ? fmin(1, call->clip_norm / (sqrt(sum) + 1e-6)) : 1;
}

void cpu_adamw(struct device *self, const struct adamw *call) {
  struct cpu_device *cpu = cpu_from_device(self);
  struct adamw_factors factors = {.gradient_scale = (float)clip_scale(call),
                                  .beta1 = (float)call->beta1,
                                  .rest1 = (float)(1 - call->beta1),
                                  .beta2 = (float)call->beta2,
                                  .rest2 = (float)(1 - call->beta2),
                                  .shrink = (float)(1 - call->lr * call->decay),
                                  .rate = (float)(call->lr / (1 - pow(call->beta1, (double)call->step))),
                                  .root_scale = (float)(1 / sqrt(1 - pow(call->beta2, (double)call->step))),
                                  .eps = (float)call->eps};
#pragma omp parallel for num_threads(self->threads) if (call->count > PIECE_ELEMENTS)
  for (int64_t first = 0; first < call->count; first += PIECE_ELEMENTS)
    cpu->kernel->cpu_kernel_adamw(call, &factors, first,
                                  call->count - first < PIECE_ELEMENTS ? call->count - first : PIECE_ELEMENTS);
  cpu_weights_written(cpu, call->parameter, (size_t)call->count * sizeof *call->parameter);
  if (call->compute)
    cpu_weights_written(cpu, call->compute, (size_t)call->count * sizeof *call->compute);
}

/* Pieces of a fixed size, added in order: the same for any number of threads. */
void cpu_sum_of_squares(struct device *self, const float *x, int64_t count, double *result) {
  struct cpu_device *cpu = cpu_from_device(self);
  int64_t pieces = (count + SQUARES_PER_PIECE - 1) / SQUARES_PER_PIECE;
  double *partial = cpu_scratch(cpu, CPU_SCRATCH_ROWS, (size_t)pieces * sizeof *partial);
#pragma omp parallel for num_threads(self->threads) if (pieces > 1)
  for (int64_t i = 0; i < pieces; i++) {
    int64_t left = count - i * SQUARES_PER_PIECE;
    cpu->kernel->cpu_kernel_sum_of_squares(x + i * SQUARES_PER_PIECE,
                                           left < SQUARES_PER_PIECE ? left : SQUARES_PER_PIECE, &partial[i]);
  }
  double total = 0;
  for (int64_t i = 0; i < pieces; i++)
    total += partial[i];
  *result += total;
}

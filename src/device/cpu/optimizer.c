/* AdamW and the norm of gradients. Pieces of a fixed size, within them stretches of blocks of one group. */
#include "device/cpu/cpu.h"
#include <math.h>

enum { PIECE_BLOCKS = 128, SQUARES_PIECE_BLOCKS = 512 };

static int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static double clip_scale(const struct adamw *call, const struct adamw_group *group) {
  double sum = 0;
  if (!(group->clip_norm > 0))
    return 1;
  for (int i = 0; i < group->clip_count; i++)
    sum += call->squares[group->clip_first + i];
  return fmin(1, group->clip_norm / (sqrt(sum) + 1e-6));
}

static struct adamw_factors factors_of(const struct adamw *call, const struct adamw_group *group) {
  return (struct adamw_factors){.gradient_scale = (float)clip_scale(call, group),
                                .beta1 = (float)call->beta1,
                                .rest1 = (float)(1 - call->beta1),
                                .beta2 = (float)call->beta2,
                                .rest2 = (float)(1 - call->beta2),
                                .shrink = group->shrink,
                                .rate = group->rate,
                                .root_scale = group->root_scale,
                                .eps = (float)call->eps,
                                .bf16_state = group->bf16_state};
}

/* The first block behind those of the group of `block`; at most `end`. */
static int64_t end_of_stretch(const struct adamw *call, int64_t block, int64_t end) {
  const uint16_t group = call->group_of[block];
  while (block < end && call->group_of[block] == group)
    block++;
  return block;
}

void cpu_adamw(struct device *self, const struct adamw *call) {
  struct cpu_device *cpu = cpu_from_device(self);
  const int64_t blocks = call->count / ADAMW_BLOCK;
#pragma omp parallel for num_threads(self->threads) if (blocks > PIECE_BLOCKS)
  for (int64_t first = 0; first < blocks; first += PIECE_BLOCKS) {
    const int64_t end = smaller(first + PIECE_BLOCKS, blocks);
    for (int64_t block = first, next; block < end; block = next) {
      const struct adamw_factors factors = factors_of(call, &call->groups[call->group_of[block]]);
      next = end_of_stretch(call, block, end);
      cpu->kernel->cpu_kernel_adamw(call, &factors, block * ADAMW_BLOCK, (next - block) * ADAMW_BLOCK);
    }
  }
  cpu_weights_written(cpu, call->parameter, (size_t)call->count * sizeof *call->parameter);
  if (call->compute)
    cpu_weights_written(cpu, call->compute, (size_t)call->count * sizeof *call->compute);
}

/* The pieces' sums are added in order: the same for any number of threads. */
void cpu_adamw_squares(struct device *self, const struct adamw *call) {
  struct cpu_device *cpu = cpu_from_device(self);
  const int64_t blocks = call->count / ADAMW_BLOCK, pieces = (blocks + SQUARES_PIECE_BLOCKS - 1) / SQUARES_PIECE_BLOCKS;
  double *partial = cpu_scratch(cpu, CPU_SCRATCH_ROWS, (size_t)pieces * ADAMW_SQUARES * sizeof *partial);
  memset(partial, 0, (size_t)pieces * ADAMW_SQUARES * sizeof *partial);
#pragma omp parallel for num_threads(self->threads) if (pieces > 1)
  for (int64_t i = 0; i < pieces; i++) {
    const int64_t end = smaller((i + 1) * SQUARES_PIECE_BLOCKS, blocks);
    for (int64_t block = i * SQUARES_PIECE_BLOCKS, next; block < end; block = next) {
      double sum;
      next = end_of_stretch(call, block, end);
      cpu->kernel->cpu_kernel_sum_of_squares(call->gradient + block * ADAMW_BLOCK, (next - block) * ADAMW_BLOCK, &sum);
      partial[i * ADAMW_SQUARES + call->groups[call->group_of[block]].squares] += sum;
    }
  }
  memset(call->squares, 0, ADAMW_SQUARES * sizeof *call->squares);
  for (int64_t i = 0; i < pieces * ADAMW_SQUARES; i++)
    call->squares[i % ADAMW_SQUARES] += partial[i];
}

/* The contrastive loss by tiles. First sweep: log-sum-exps of all rows and columns (both are needed by the gradient of
 * any one row). Second and third: gradients of the owned images, then, with the roles exchanged, of the owned texts. */
#include "device/cpu/gemm.h"
#include <math.h>
#include <string.h>

enum { TILE_ROWS = 256, TILE_COLUMNS = 1024, COLUMN_BLOCK = 64 };

struct sweep {
  struct cpu_device *cpu;
  const struct contrastive *call;
  float scale;          /* exp(*logit_scale) */
  float *tile;          /* [TILE_ROWS, TILE_COLUMNS] */
  float *lse[2];        /* [G] of the rows (images) and columns (texts) */
  float *max[2];        /* [G] while they are being made */
  double *scale_shares; /* [G] sum over j of dA * A of one owned row */
};

static int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

/* tile[rows,columns] = a . b^T */
static void multiply_tile(const struct sweep *sweep, const float *a, int64_t rows, const float *b, int64_t columns) {
  gemm_multiply(sweep->cpu, &(struct gemm){.m = rows,
                                           .n = columns,
                                           .k = sweep->call->width,
                                           .c_stride = TILE_COLUMNS,
                                           .dtype = DTYPE_F32,
                                           .c_dtype = DTYPE_F32,
                                           .b_transposed = true,
                                           .a = a,
                                           .b = b,
                                           .c = sweep->tile});
}

static void join_tile(const struct sweep *sweep, int64_t row, int64_t rows, int64_t column, int64_t columns) {
  const struct cpu_kernels *kernel = sweep->cpu->kernel;
#pragma omp parallel num_threads(sweep->cpu->device.threads)
  {
#pragma omp for nowait
    for (int64_t i = 0; i < rows; i++)
      kernel->cpu_kernel_join_row(sweep->tile + i * TILE_COLUMNS, columns, sweep->scale, &sweep->max[0][row + i],
                                  &sweep->lse[0][row + i]);
#pragma omp for
    for (int64_t j = 0; j < columns; j += COLUMN_BLOCK)
      kernel->cpu_kernel_join_columns(sweep->tile + j, rows, TILE_COLUMNS, smaller(COLUMN_BLOCK, columns - j),
                                      sweep->scale, sweep->max[1] + column + j, sweep->lse[1] + column + j);
  }
}

static void find_normalisers(const struct sweep *sweep) {
  const struct contrastive *call = sweep->call;
  for (int side = 0; side < 2; side++)
    for (int64_t i = 0; i < call->global; i++) {
      sweep->max[side][i] = -INFINITY;
      sweep->lse[side][i] = 0;
    }
  for (int64_t i = 0; i < call->global; i += TILE_ROWS)
    for (int64_t j = 0; j < call->global; j += TILE_COLUMNS) {
      int64_t rows = smaller(TILE_ROWS, call->global - i), columns = smaller(TILE_COLUMNS, call->global - j);
      multiply_tile(sweep, call->images + i * call->width, rows, call->texts + j * call->width, columns);
      join_tile(sweep, i, rows, j, columns);
    }
  for (int side = 0; side < 2; side++)
    for (int64_t i = 0; i < call->global; i++)
      sweep->lse[side][i] = sweep->max[side][i] + logf(sweep->lse[side][i]);
}

static double own_logit(const struct sweep *sweep, int64_t i) {
  const float *image = sweep->call->images + i * sweep->call->width,
              *text = sweep->call->texts + i * sweep->call->width;
  double sum = 0;
  for (int64_t c = 0; c < sweep->call->width; c++)
    sum += (double)image[c] * text[c];
  return sweep->scale * sum;
}

static void add_loss(const struct sweep *sweep) {
  const struct contrastive *call = sweep->call;
  double sum = 0;
  for (int64_t i = call->first; i < call->first + call->count; i++)
    sum += (double)sweep->lse[0][i] + sweep->lse[1][i] - 2 * own_logit(sweep, i);
  *call->loss += call->weight / (2 * (double)call->global) * sum;
}

/* A tile of scores becomes dA 2G / weight = P_row + P_column - 2 delta; shares of the sum of that times A are added per
 * row. */
static void differentiate_tile(const struct sweep *sweep, int side, int64_t row, int64_t rows, int64_t column,
                               int64_t columns) {
#pragma omp parallel for num_threads(sweep->cpu->device.threads)
  for (int64_t i = 0; i < rows; i++) {
    float *score = sweep->tile + i * TILE_COLUMNS, kept[TILE_COLUMNS];
    memcpy(kept, score, (size_t)columns * sizeof *kept);
    sweep->cpu->kernel->cpu_kernel_softmax_both(score, columns, sweep->scale, sweep->lse[side][row + i],
                                                sweep->lse[1 - side] + column);
    if (row + i >= column && row + i < column + columns)
      score[row + i - column] -= 2;
    double share = 0;
    for (int64_t j = 0; side == 0 && j < columns; j++)
      share += (double)score[j] * kept[j];
    sweep->scale_shares[row + i] += share;
  }
}

/* Gradients of the owned rows of `own` against all rows of `other`: d = weight s / (2G) * (P_row + P_column - 2 delta)
 * other. */
static void differentiate_side(const struct sweep *sweep, int side, const float *own, const float *other,
                               float *gradient) {
  const struct contrastive *call = sweep->call;
  int64_t width = call->width, last = call->first + call->count;
  for (int64_t i = call->first; i < last; i += TILE_ROWS)
    for (int64_t j = 0; j < call->global; j += TILE_COLUMNS) {
      int64_t rows = smaller(TILE_ROWS, last - i), columns = smaller(TILE_COLUMNS, call->global - j);
      multiply_tile(sweep, own + i * width, rows, other + j * width, columns);
      differentiate_tile(sweep, side, i, rows, j, columns);
      gemm_multiply(sweep->cpu, &(struct gemm){.m = rows,
                                               .n = width,
                                               .k = columns,
                                               .a_stride = TILE_COLUMNS,
                                               .dtype = DTYPE_F32,
                                               .c_dtype = DTYPE_F32,
                                               .accumulate = j > 0,
                                               .a = sweep->tile,
                                               .b = other + j * width,
                                               .c = gradient + (i - call->first) * width});
    }
  float factor = (float)(call->weight / (2 * (double)call->global) * sweep->scale);
#pragma omp parallel for num_threads(sweep->cpu->device.threads)
  for (int64_t i = 0; i < call->count * width; i++)
    gradient[i] *= factor;
}

static void add_scale_gradient(const struct sweep *sweep) {
  const struct contrastive *call = sweep->call;
  double sum = 0;
  for (int64_t i = call->first; i < call->first + call->count; i++)
    sum += sweep->scale_shares[i];
  *call->dlogit_scale += (float)(call->weight / (2 * (double)call->global) * sweep->scale * sum);
}

void cpu_contrastive(struct device *self, const struct contrastive *call) {
  struct cpu_device *cpu = cpu_from_device(self);
  int64_t global = call->global;
  float *vectors = cpu_scratch(cpu, CPU_SCRATCH_ROWS, (size_t)global * (4 * sizeof(float) + sizeof(double)));
  struct sweep sweep = {.cpu = cpu,
                        .call = call,
                        .scale = expf(*call->logit_scale),
                        .tile = cpu_scratch(cpu, CPU_SCRATCH_SCORES, sizeof(float[TILE_ROWS][TILE_COLUMNS])),
                        .lse = {vectors + 2 * global, vectors + 3 * global},
                        .max = {vectors + 4 * global, vectors + 5 * global},
                        .scale_shares = (double *)vectors};
  find_normalisers(&sweep);
  if (call->loss)
    add_loss(&sweep);
  memset(sweep.scale_shares, 0, (size_t)global * sizeof *sweep.scale_shares);
  if (call->dimages)
    differentiate_side(&sweep, 0, call->images, call->texts, call->dimages);
  if (call->dtexts)
    differentiate_side(&sweep, 1, call->texts, call->images, call->dtexts);
  if (call->dimages && call->dlogit_scale)
    add_scale_gradient(&sweep);
}

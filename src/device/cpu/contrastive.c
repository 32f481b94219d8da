/* The contrastive loss by tiles of logits. The normalisers (log-sum-exps) of all rows and columns come first: the
 * gradient of any one row needs both. Where this rank owns all rows, a tile serves images and texts at once; else the
 * owned images, then, with the roles exchanged, the owned texts go through all of the others. */
#include "device/cpu/gemm.h"
#include <math.h>
#include <string.h>

enum { TILE_ROWS = 256, TILE_COLUMNS = 1024, COLUMN_BLOCK = 64 };

struct sweep {
  struct cpu_device *cpu;
  const struct contrastive *call;
  bool all, both;       /* rows are owned; gradients come of the same tiles */
  int share_side;       /* whose tiles give the logit scale's gradient */
  float scale;          /* exp(*logit_scale) */
  float *tile;          /* [TILE_ROWS, TILE_COLUMNS] or less, dense */
  float *lse[2];        /* [G] of the rows (images) and columns (texts) */
  float *max[2];        /* [G] while they are being made */
  double *scale_shares; /* [G] sum over j of dA * A of one owned row */
};

/* Rows of `own`, images for side 0 and texts for side 1, against rows of the others. */
struct tile {
  int side;
  const float *own, *others; /* the tile's first rows */
  int64_t row, rows, column, columns;
};

static int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

/* sweep->tile = own . others^T */
static void multiply_tile(const struct sweep *sweep, const struct tile *t) {
  gemm_multiply(sweep->cpu, &(struct gemm){.m = t->rows,
                                           .n = t->columns,
                                           .k = sweep->call->width,
                                           .dtype = DTYPE_F32,
                                           .c_dtype = DTYPE_F32,
                                           .b_transposed = true,
                                           .a = t->own,
                                           .b = t->others,
                                           .c = sweep->tile});
}

/* All tiles of the owned rows of a side. */
static void for_tiles(const struct sweep *sweep, int side, void (*use)(const struct sweep *, const struct tile *)) {
  const struct contrastive *call = sweep->call;
  const float *own = side ? call->texts : call->images, *others = side ? call->images : call->texts;
  const int64_t last = call->first + call->count;
  for (int64_t i = call->first; i < last; i += TILE_ROWS)
    for (int64_t j = 0; j < call->global; j += TILE_COLUMNS) {
      const struct tile tile = {side,
                                own + i * call->width,
                                others + j * call->width,
                                i,
                                smaller(TILE_ROWS, last - i),
                                j,
                                smaller(TILE_COLUMNS, call->global - j)};
      multiply_tile(sweep, &tile);
      use(sweep, &tile);
    }
}

static void join_tile(const struct sweep *sweep, const struct tile *t) {
  const struct cpu_kernels *kernel = sweep->cpu->kernel;
#pragma omp parallel num_threads(sweep->cpu->device.threads)
  {
#pragma omp for nowait
    for (int64_t i = 0; i < t->rows; i++)
      kernel->cpu_kernel_join_row(sweep->tile + i * t->columns, t->columns, sweep->scale,
                                  &sweep->max[t->side][t->row + i], &sweep->lse[t->side][t->row + i]);
#pragma omp for
    for (int64_t j = 0; j < (sweep->all ? t->columns : 0); j += COLUMN_BLOCK)
      kernel->cpu_kernel_join_columns(sweep->tile + j, t->rows, t->columns, smaller(COLUMN_BLOCK, t->columns - j),
                                      sweep->scale, sweep->max[1] + t->column + j, sweep->lse[1] + t->column + j);
  }
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

/* The tile of scores becomes dA 2G / weight = P_row + P_column - 2 delta; shares of the sum of that times A are added
 * per row. */
static void find_slopes(const struct sweep *sweep, const struct tile *t) {
#pragma omp parallel for num_threads(sweep->cpu->device.threads)
  for (int64_t i = 0; i < t->rows; i++) {
    float *score = sweep->tile + i * t->columns, kept[TILE_COLUMNS];
    memcpy(kept, score, (size_t)t->columns * sizeof *kept);
    sweep->cpu->kernel->cpu_kernel_softmax_both(score, t->columns, sweep->scale, sweep->lse[t->side][t->row + i],
                                                sweep->lse[1 - t->side] + t->column);
    if (t->row + i >= t->column && t->row + i < t->column + t->columns)
      score[t->row + i - t->column] -= 2;
    double share = 0;
    for (int64_t j = 0; t->side == sweep->share_side && j < t->columns; j++)
      share += (double)score[j] * kept[j];
    sweep->scale_shares[t->row + i] += share;
  }
}

/* d own (+)= slopes . others;  d others += slopes^T . own */
static void differentiate_tile(const struct sweep *sweep, const struct tile *t) {
  const struct contrastive *call = sweep->call;
  float *gradient = t->side ? call->dtexts : call->dimages;
  find_slopes(sweep, t);
  if (gradient)
    gemm_multiply(sweep->cpu, &(struct gemm){.m = t->rows,
                                             .n = call->width,
                                             .k = t->columns,
                                             .dtype = DTYPE_F32,
                                             .c_dtype = DTYPE_F32,
                                             .accumulate = t->column > 0,
                                             .a = sweep->tile,
                                             .b = t->others,
                                             .c = gradient + (t->row - call->first) * call->width});
  if (sweep->both)
    gemm_add_outer(sweep->cpu, &(struct gemm_outer){.rows = t->rows,
                                                    .n = t->columns,
                                                    .k = call->width,
                                                    .dtype = DTYPE_F32,
                                                    .dy = sweep->tile,
                                                    .x = t->own,
                                                    .c = call->dtexts + t->column * call->width});
}

/* d = weight s / (2G) * what the tiles added up */
static void scale_gradient(const struct sweep *sweep, float *gradient) {
  const struct contrastive *call = sweep->call;
  const float factor = (float)(call->weight / (2 * (double)call->global) * sweep->scale);
#pragma omp parallel for num_threads(sweep->cpu->device.threads)
  for (int64_t i = 0; i < (gradient ? call->count * call->width : 0); i++)
    gradient[i] *= factor;
}

static void add_scale_gradient(const struct sweep *sweep) {
  const struct contrastive *call = sweep->call;
  double sum = 0;
  for (int64_t i = call->first; i < call->first + call->count; i++)
    sum += sweep->scale_shares[i];
  *call->dlogit_scale += (float)(call->weight / (2 * (double)call->global) * sweep->scale * sum);
}

static struct sweep open_sweep(struct device *self, const struct contrastive *call) {
  struct cpu_device *cpu = cpu_from_device(self);
  const int64_t global = call->global;
  double *shares = cpu_scratch(cpu, CPU_SCRATCH_ROWS, (size_t)global * (2 * sizeof(float) + sizeof(double)));
  float *max = (float *)(shares + global);
  return (struct sweep){.cpu = cpu,
                        .call = call,
                        .all = call->count == global,
                        .both = call->count == global && call->dimages && call->dtexts,
                        .share_side = call->dtexts && !call->dimages,
                        .scale = expf(*call->logit_scale),
                        .tile = cpu_scratch(cpu, CPU_SCRATCH_SCORES, sizeof(float[TILE_ROWS][TILE_COLUMNS])),
                        .lse = {call->normalisers, call->normalisers + global},
                        .max = {max, max + global},
                        .scale_shares = shares};
}

void cpu_contrastive_normalisers(struct device *self, const struct contrastive *call) {
  const struct sweep sweep = open_sweep(self, call);
  const int64_t last = call->first + call->count;
  for (int side = 0; side < 2; side++)
    for (int64_t i = call->first; i < last; i++) {
      sweep.max[side][i] = -INFINITY;
      sweep.lse[side][i] = 0;
    }
  for_tiles(&sweep, 0, join_tile);
  if (!sweep.all)
    for_tiles(&sweep, 1, join_tile);
  for (int side = 0; side < 2; side++)
    for (int64_t i = call->first; i < last; i++)
      sweep.lse[side][i] = sweep.max[side][i] + logf(sweep.lse[side][i]);
}

void cpu_contrastive(struct device *self, const struct contrastive *call) {
  const struct sweep sweep = open_sweep(self, call);
  if (call->loss)
    add_loss(&sweep);
  memset(sweep.scale_shares, 0, (size_t)call->global * sizeof *sweep.scale_shares);
  if (sweep.both)
    memset(call->dtexts, 0, (size_t)(call->count * call->width) * sizeof *call->dtexts);
  if (call->dimages || !call->dtexts)
    for_tiles(&sweep, 0, differentiate_tile);
  if (call->dtexts && !sweep.both)
    for_tiles(&sweep, 1, differentiate_tile);
  scale_gradient(&sweep, call->dimages);
  scale_gradient(&sweep, call->dtexts);
  if (call->dlogit_scale)
    add_scale_gradient(&sweep);
}

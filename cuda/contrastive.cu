/* The contrastive loss by tiles of logits, of which one exists at a time, in fp32. The normalisers (log-sum-exps) of
 * all rows and columns come first: the gradient of any one row needs both. Where this rank owns all rows, a tile serves
 * images and texts at once; else the owned images, then, with the roles exchanged, the owned texts go through all of
 * the others.
 *
 * In bf16 products are made by tensor cores. For the logits x = upper + lower, both bf16, and a . b = upper upper +
 * upper lower + lower upper as one product three times as wide: within 2^-16 |a| |b|. The gradients are products of dA
 * and of the features rounded to bf16. */
#include "cuda/gemm.h"
#include "cuda/kernel.h"

#ifdef __CUDACC__
enum { TILE_ROWS = 2048, TILE_COLUMNS = 4096 };
#else
enum { TILE_ROWS = 320, TILE_COLUMNS = 448 }; /* small, so that the tests on a host see several */
#endif
enum { THREADS = 256, PAD = 8 /* bf16 of 16 bytes */, VECTOR = 4 };

struct sweep {
  struct cuda_device *cuda;
  struct contrastive call;
  bool all, both; /* rows are owned; gradients come of the same tiles */
  int share_side; /* whose tiles give the logit scale's gradient */
  float *tile;    /* [TILE_ROWS or fewer, stride] */
  void *slopes;   /* dA of the tile: the tile itself, or bf16 [same] */
  int64_t stride; /* columns of a whole tile, padded */
  int64_t padded; /* width, padded */
  bf16 *own,
      *others;   /* bf16 only: [TILE_ROWS or fewer, 3 padded] upper, upper, lower; [G, 3 padded] upper, lower, upper */
  float *lse[2]; /* [G] of the rows (images) and columns (texts); sums of exponentials while they are being made */
  float *max[2]; /* [G] while they are being made */
  double *row_sums; /* [count] loss terms, then shares of the logit scale's gradient */
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
static int64_t padded_to(int64_t count) {
  return (count + PAD - 1) / PAD * PAD;
}

/* ---- operands */

/* out[row] = upper halves, then the two other thirds as said above; zeros behind the width. */
template <int V>
KERNEL void split_rows(const float *x, int64_t rows, int64_t width, int64_t padded, bool own, bf16 *out) {
  const int64_t vectors = padded / V;
  for (int64_t i = thread_of_grid(); i < rows * vectors; i += threads_of_grid()) {
    const int64_t row = i / vectors, c = i % vectors * V;
    float upper[V] = {0}, second[V], third[V];
    if (c < width)
      load<V>(x, row * width + c, upper);
#pragma unroll
    for (int n = 0; n < V; n++) {
      const float lower = upper[n] - rounded<bf16>(upper[n]);
      upper[n] -= lower;
      second[n] = own ? upper[n] : lower;
      third[n] = own ? lower : upper[n];
    }
    bf16 *to = out + row * 3 * padded + c;
    store<V>(to, 0, upper);
    store<V>(to, padded, second);
    store<V>(to, 2 * padded, third);
  }
}

static void split(const struct sweep *s, const float *x, int64_t rows, bf16 *out) {
  const int64_t width = s->call.width, padded = s->padded;
  if (!out)
    return;
  WITH_VECTOR(VECTOR, width % VECTOR == 0 && aligned(x),
              LAUNCH((split_rows<V>), blocks_striding(rows * padded / V, THREADS), THREADS, 0, s->cuda, x, rows, width,
                     padded, out == s->own, out));
}

/* Rows of the others as bf16, from the tile's first on; NULL in fp32. */
static const bf16 *others_of(const struct sweep *s, const struct tile *t) {
  return s->others ? s->others + t->column * 3 * s->padded : NULL;
}

/* s->tile = own . others^T; in bf16 of what was split before. */
static void multiply_tile(const struct sweep *s, const struct tile *t) {
  struct gemm gemm = {};
  gemm.m = t->rows;
  gemm.n = t->columns;
  gemm.k = s->own ? 3 * s->padded : s->call.width;
  gemm.c_stride = s->stride;
  gemm.dtype = s->call.dtype;
  gemm.c_dtype = DTYPE_F32;
  gemm.b_transposed = true;
  gemm.a = s->own ? (const void *)s->own : t->own;
  gemm.b = s->own ? (const void *)others_of(s, t) : t->others;
  gemm.c = s->tile;
  gemm_multiply(s->cuda, &gemm);
}

/* All tiles of the owned rows of a side. */
static void for_tiles(const struct sweep *s, int side, void (*use)(const struct sweep *, const struct tile *)) {
  const struct contrastive *call = &s->call;
  const int64_t width = call->width, last = call->first + call->count;
  const float *own = side ? call->texts : call->images, *others = side ? call->images : call->texts;
  split(s, others, call->global, s->others);
  for (int64_t i = call->first; i < last; i += TILE_ROWS) {
    const int64_t rows = smaller(TILE_ROWS, last - i);
    split(s, own + i * width, rows, s->own);
    for (int64_t j = 0; j < call->global; j += TILE_COLUMNS) {
      const int64_t columns = smaller(TILE_COLUMNS, call->global - j);
      const struct tile tile = {side, own + i * width, others + j * width, i, rows, j, columns};
      multiply_tile(s, &tile);
      use(s, &tile);
    }
  }
}

/* ---- log-sum-exps */

/* A value joins a running log-sum-exp (max, sum). */
DEVICE void join(float *max, float *sum, float value) {
  const float above = value - *max, factor = expf(-fabsf(above));
  *sum = above > 0 ? *sum * factor + 1 : *sum + factor;
  *max = fmaxf(*max, value);
}
DEVICE void join_pair(float *max, float *sum, float other_max, float other_sum) {
  const float top = fmaxf(*max, other_max);
  *sum = *sum * expf(*max - top) + other_sum * expf(other_max - top);
  *max = top;
}
/* Finite, so that differences are numbers; no logit is as small. */
#define NO_LOGIT (-1e30f)

/* A block per row of the tile. */
KERNEL void join_rows(struct sweep s, int side, int64_t row, int64_t columns) {
  SHARED(float, warp_max_, THREADS / WARP);
  SHARED(float, warp_sum_, THREADS / WARP);
  const float scale = expf(*s.call.logit_scale), *tile = s.tile + blockIdx.x * s.stride;
  float max = NO_LOGIT, sum = 0;
  for (int64_t j = threadIdx.x; j < columns; j += THREADS)
    join(&max, &sum, scale * tile[j]);
  for (int mask = WARP / 2; mask > 0; mask /= 2) {
    const float other_max = shuffle_xor(max, mask), other_sum = shuffle_xor(sum, mask);
    join_pair(&max, &sum, other_max, other_sum);
  }
  if (lane_of_thread() == 0) {
    warp_max_[warp_of_thread()] = max;
    warp_sum_[warp_of_thread()] = sum;
  }
  block_barrier();
  if (threadIdx.x == 0) {
    const int64_t i = row + blockIdx.x;
    max = s.max[side][i];
    sum = s.lse[side][i];
    for (int w = 0; w < THREADS / WARP; w++)
      join_pair(&max, &sum, warp_max_[w], warp_sum_[w]);
    s.max[side][i] = max;
    s.lse[side][i] = sum;
  }
}

/* A lane per column, the warps of a block share the rows. */
KERNEL void join_columns(struct sweep s, int64_t rows, int64_t column, int64_t columns) {
  SHARED(float, max_of, THREADS);
  SHARED(float, sum_of, THREADS);
  const int64_t j = (int64_t)blockIdx.x * WARP + lane_of_thread();
  const float scale = expf(*s.call.logit_scale);
  float max = NO_LOGIT, sum = 0;
  for (int64_t i = warp_of_thread(); j < columns && i < rows; i += THREADS / WARP)
    join(&max, &sum, scale * s.tile[i * s.stride + j]);
  max_of[threadIdx.x] = max;
  sum_of[threadIdx.x] = sum;
  block_barrier();
  if (warp_of_thread() == 0 && j < columns) {
    max = s.max[1][column + j];
    sum = s.lse[1][column + j];
    for (int w = 0; w < THREADS / WARP; w++)
      join_pair(&max, &sum, max_of[w * WARP + lane_of_thread()], sum_of[w * WARP + lane_of_thread()]);
    s.max[1][column + j] = max;
    s.lse[1][column + j] = sum;
  }
}

KERNEL void start_normalisers(struct sweep s) {
  for (int64_t n = thread_of_grid(); n < s.call.count; n += threads_of_grid())
    for (int side = 0; side < 2; side++) {
      s.max[side][s.call.first + n] = NO_LOGIT;
      s.lse[side][s.call.first + n] = 0;
    }
}
KERNEL void finish_normalisers(struct sweep s) {
  for (int64_t n = thread_of_grid(); n < s.call.count; n += threads_of_grid())
    for (int side = 0; side < 2; side++) {
      const int64_t i = s.call.first + n;
      s.lse[side][i] = s.max[side][i] + logf(s.lse[side][i]);
    }
}

static void join_tile(const struct sweep *s, const struct tile *t) {
  LAUNCH(join_rows, (unsigned)t->rows, THREADS, 0, s->cuda, *s, t->side, t->row, t->columns);
  if (s->all)
    LAUNCH(join_columns, blocks_for(t->columns, WARP), THREADS, 0, s->cuda, *s, t->rows, t->column, t->columns);
}

/* The terms of an owned row: lse_row + lse_column - 2 A_ii; a warp each. */
KERNEL void loss_rows(struct sweep s) {
  const int64_t n = warp_of_grid(), i = s.call.first + n;
  if (n >= s.call.count)
    return;
  double sum = 0;
  for (int64_t c = lane_of_thread(); c < s.call.width; c += WARP)
    sum += (double)s.call.images[i * s.call.width + c] * s.call.texts[i * s.call.width + c];
  sum = warp_sum(sum);
  if (lane_of_thread() == 0)
    s.row_sums[n] = (double)s.lse[0][i] + s.lse[1][i] - 2 * (double)expf(*s.call.logit_scale) * sum;
}

/* ---- gradients */

/* From a row of scores dA G 2 / weight = P_row + P_column - 2 delta, into the slopes; its sum with A is added to
 * row_sums. */
template <typename T>
KERNEL void differentiate_rows(struct sweep s, int side, int64_t row, int64_t column, int64_t columns) {
  SHARED(double, warp_shares, THREADS / WARP);
  const float scale = expf(*s.call.logit_scale), own = s.lse[side][row + blockIdx.x];
  const float *tile = s.tile + blockIdx.x * s.stride;
  T *slopes = (T *)s.slopes + blockIdx.x * s.stride;
  double share = 0;
  for (int64_t j = threadIdx.x; j < columns; j += THREADS) {
    const float score = tile[j], logit = scale * score;
    float d = expf(logit - own) + expf(logit - s.lse[1 - side][column + j]);
    d -= row + blockIdx.x == column + j ? 2 : 0;
    share += (double)d * score;
    from_float(slopes + j, d);
  }
  share = warp_sum(share);
  if (lane_of_thread() == 0)
    warp_shares[warp_of_thread()] = share;
  block_barrier();
  if (threadIdx.x == 0 && side == s.share_side)
    for (int w = 0; w < THREADS / WARP; w++)
      s.row_sums[row + blockIdx.x - s.call.first] += (double)scale * warp_shares[w];
}

/* d = weight s / (2G) * what the tiles added up */
KERNEL void scale_gradient(struct sweep s, float *gradient, float factor) {
  const float by = factor * expf(*s.call.logit_scale);
  for (int64_t i = thread_of_grid(); i < s.call.count * s.call.width; i += threads_of_grid())
    gradient[i] *= by;
}

/* What products with a tile's slopes share. */
static struct gemm slopes_product(const struct sweep *s) {
  struct gemm gemm = {};
  gemm.n = s->call.width;
  gemm.a_stride = s->stride;
  gemm.b_stride = s->own ? 3 * s->padded : 0;
  gemm.dtype = s->call.dtype;
  gemm.c_dtype = DTYPE_F32;
  gemm.a = s->slopes;
  return gemm;
}

/* d own (+)= slopes . others */
static void add_to_own(const struct sweep *s, const struct tile *t, float *gradient) {
  struct gemm gemm = slopes_product(s);
  gemm.m = t->rows;
  gemm.k = t->columns;
  gemm.accumulate = t->column > 0;
  gemm.b = s->own ? (const void *)others_of(s, t) : t->others;
  gemm.c = gradient + (t->row - s->call.first) * s->call.width;
  gemm_multiply(s->cuda, &gemm);
}

/* d others (+)= slopes^T . own */
static void add_to_others(const struct sweep *s, const struct tile *t, float *gradient) {
  struct gemm gemm = slopes_product(s);
  gemm.m = t->columns;
  gemm.k = t->rows;
  gemm.a_transposed = true;
  gemm.accumulate = t->row > 0;
  gemm.b = s->own ? (const void *)s->own : t->own;
  gemm.c = gradient + t->column * s->call.width;
  gemm_multiply(s->cuda, &gemm);
}

static void differentiate_tile(const struct sweep *s, const struct tile *t) {
  float *gradient = t->side ? s->call.dtexts : s->call.dimages;
  WITH_TYPE(T, s->call.dtype,
            LAUNCH((differentiate_rows<T>), (unsigned)t->rows, THREADS, 0, s->cuda, *s, t->side, t->row, t->column,
                   t->columns));
  if (gradient)
    add_to_own(s, t, gradient);
  if (s->both)
    add_to_others(s, t, s->call.dtexts);
}

/* Splits lie behind the tile: at 65,536 pairs of width 512 in bf16, 258 MB in all. */
static struct sweep plan_sweep(struct cuda_device *cuda, const struct contrastive *call) {
  const int64_t global = call->global, rows = smaller(TILE_ROWS, global);
  struct sweep sweep = {};
  sweep.cuda = cuda;
  sweep.call = *call;
  sweep.all = call->count == global;
  sweep.both = sweep.all && call->dimages && call->dtexts;
  sweep.share_side = call->dtexts && !call->dimages;
  sweep.stride = padded_to(smaller(TILE_COLUMNS, global));
  sweep.padded = padded_to(call->width);
  const int64_t elements = rows * sweep.stride, splits = (rows + global) * 3 * sweep.padded;
  const bool half = call->dtype == DTYPE_BF16;
  sweep.tile =
      (float *)cuda_scratch(cuda, CUDA_SCRATCH_SCORES,
                            (size_t)elements * sizeof(float) + (half ? (size_t)(elements + splits) * sizeof(bf16) : 0));
  sweep.slopes = half ? (void *)(sweep.tile + elements) : sweep.tile;
  sweep.own = half ? (bf16 *)sweep.slopes + elements : NULL;
  sweep.others = half ? sweep.own + rows * 3 * sweep.padded : NULL;
  const size_t vector_bytes = (size_t)global * (2 * sizeof(float) + sizeof(double));
  sweep.row_sums = (double *)cuda_scratch(cuda, CUDA_SCRATCH_ROWS, vector_bytes);
  for (int side = 0; side < 2; side++) {
    sweep.lse[side] = call->normalisers + side * global;
    sweep.max[side] = (float *)(sweep.row_sums + global) + side * global;
  }
  return sweep;
}

void cuda_contrastive_normalisers(struct device *self, const struct contrastive *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  const struct sweep sweep = plan_sweep(cuda, call);
  const unsigned blocks = blocks_striding(call->count, THREADS);
  LAUNCH(start_normalisers, blocks, THREADS, 0, cuda, sweep);
  for_tiles(&sweep, 0, join_tile);
  if (!sweep.all)
    for_tiles(&sweep, 1, join_tile);
  LAUNCH(finish_normalisers, blocks, THREADS, 0, cuda, sweep);
}

void cuda_contrastive(struct device *self, const struct contrastive *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  const struct sweep sweep = plan_sweep(cuda, call);
  const double factor = call->weight / (2 * (double)call->global);
  float *const gradients[] = {call->dimages, call->dtexts};
  if (call->loss) {
    LAUNCH(loss_rows, blocks_for(call->count, THREADS / WARP), THREADS, 0, cuda, sweep);
    cuda_add_total(cuda, sweep.row_sums, call->count, factor, call->loss);
  }
  runtime_fill_bytes(cuda, sweep.row_sums, 0, (size_t)call->count * sizeof *sweep.row_sums);
  if (call->dimages || !call->dtexts)
    for_tiles(&sweep, 0, differentiate_tile);
  if (call->dtexts && !sweep.both)
    for_tiles(&sweep, 1, differentiate_tile);
  for (int side = 0; side < 2; side++)
    if (gradients[side])
      LAUNCH(scale_gradient, blocks_striding(call->count * call->width, THREADS), THREADS, 0, cuda, sweep,
             gradients[side], (float)factor);
  if (call->dlogit_scale)
    cuda_add_total(cuda, sweep.row_sums, call->count, factor, call->dlogit_scale);
}

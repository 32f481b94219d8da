/* Residual addition and layer norm: a warp per row. Widths of whole vectors up to 1,280 are held in registers; others
 * are read again for each pass. */
#include "cuda/kernel.h"

enum { THREADS = 128, VECTOR = 4 };

/* ---- forward */

DEVICE int column_of_pack(int pack) {
  return (pack * WARP + lane_of_thread()) * VECTOR;
}

/* x += gamma branch, V columns from `column`. */
template <int V> DEVICE void add_branch(const struct norm *call, int64_t column, const float *branch, float *x) {
  float gamma[V];
  if (call->gamma)
    load<V>(call->gamma, column, gamma);
#pragma unroll
  for (int n = 0; n < V; n++)
    x[n] += call->gamma ? gamma[n] * branch[n] : branch[n];
}

/* x becomes the sum, all of a row at once: every load is under way before the first addition waits for one. */
template <typename T, int PACKS> DEVICE void take_branch(const struct norm *call, int64_t row, float x[][VECTOR]) {
  float branch[PACKS][VECTOR];
#pragma unroll
  for (int p = 0; p < PACKS; p++)
    if (column_of_pack(p) < call->width)
      load<VECTOR>((const T *)call->branch, row * call->width + column_of_pack(p), branch[p]);
#pragma unroll
  for (int p = 0; p < PACKS; p++)
    if (column_of_pack(p) < call->width) {
      add_branch<VECTOR>(call, column_of_pack(p), branch[p], x[p]);
      store<VECTOR>(call->x_out, row * call->width + column_of_pack(p), x[p]);
    }
}

template <typename Y, int V>
DEVICE void write_norm(const struct norm *call, int64_t row, int64_t column, const float *x, float mean, float rstd) {
  float weight[V], bias[V], y[V];
  load<V>(call->weight, column, weight);
  load<V>(call->bias, column, bias);
#pragma unroll
  for (int n = 0; n < V; n++)
    y[n] = (x[n] - mean) * rstd * weight[n] + bias[n];
  store<V>((Y *)call->y, row * call->width + column, y);
}

DEVICE void keep_statistics(const struct norm *call, int64_t row, float mean, float rstd) {
  if (lane_of_thread() == 0) {
    if (call->mean)
      call->mean[row] = mean;
    if (call->rstd)
      call->rstd[row] = rstd;
  }
}

DEVICE float deviation_inverse(float squares, int64_t width) {
  return 1 / sqrtf(squares / (float)width + 1e-5f);
}

/* PACKS vectors of a row in each lane. */
template <typename T, typename Y, int PACKS>
KERNEL_THREADS(THREADS, PACKS > 8 ? 3 : 4)
void norm_in_registers(struct norm call) {
  const int64_t row = warp_of_grid();
  if (row >= call.rows)
    return;
  float x[PACKS][VECTOR], sum = 0, squares = 0;
#pragma unroll
  for (int p = 0; p < PACKS; p++)
    if (column_of_pack(p) < call.width)
      load<VECTOR>(call.x, row * call.width + column_of_pack(p), x[p]);
  if (call.branch)
    take_branch<T, PACKS>(&call, row, x);
#pragma unroll
  for (int p = 0; p < PACKS; p++)
    if (column_of_pack(p) < call.width)
      sum += (x[p][0] + x[p][1]) + (x[p][2] + x[p][3]);
  if (!call.y)
    return;
  const float mean = warp_sum(sum) / (float)call.width;
#pragma unroll
  for (int p = 0; p < PACKS; p++)
#pragma unroll
    for (int n = 0; n < VECTOR; n++)
      if (column_of_pack(p) < call.width)
        squares += (x[p][n] - mean) * (x[p][n] - mean);
  const float rstd = deviation_inverse(warp_sum(squares), call.width);
#pragma unroll
  for (int p = 0; p < PACKS; p++)
    if (column_of_pack(p) < call.width)
      write_norm<Y, VECTOR>(&call, row, column_of_pack(p), x[p], mean, rstd);
  keep_statistics(&call, row, mean, rstd);
}

template <typename T, typename Y> KERNEL void norm_of_any_width(struct norm call) {
  const int64_t row = warp_of_grid();
  if (row >= call.rows)
    return;
  float sum = 0, squares = 0, x, branch;
  for (int64_t c = lane_of_thread(); c < call.width; c += WARP) {
    x = call.x[row * call.width + c];
    if (call.branch) {
      branch = to_float(((const T *)call.branch)[row * call.width + c]);
      add_branch<1>(&call, c, &branch, &x);
      call.x_out[row * call.width + c] = x;
    }
    sum += x;
  }
  if (!call.y)
    return;
  const float *sums = (call.branch ? call.x_out : call.x) + row * call.width; /* each lane reads what it wrote */
  const float mean = warp_sum(sum) / (float)call.width;
  for (int64_t c = lane_of_thread(); c < call.width; c += WARP)
    squares += (sums[c] - mean) * (sums[c] - mean);
  const float rstd = deviation_inverse(warp_sum(squares), call.width);
  for (int64_t c = lane_of_thread(); c < call.width; c += WARP)
    write_norm<Y, 1>(&call, row, c, &sums[c], mean, rstd);
  keep_statistics(&call, row, mean, rstd);
}

template <typename T, typename Y> static void launch_norm(struct cuda_device *cuda, const struct norm *call) {
  const unsigned blocks = blocks_for(call->rows, THREADS / WARP);
  const bool fits = call->width % VECTOR == 0 &&
                    aligned(call->x, (const char *)call->branch, call->gamma, call->x_out) &&
                    aligned((char *)call->y, call->weight, call->bias);
  const int64_t packs = (call->width + VECTOR * WARP - 1) / (VECTOR * WARP);
  if (!fits || packs > 10)
    LAUNCH((norm_of_any_width<T, Y>), blocks, THREADS, 0, cuda, *call);
  else if (packs <= 4)
    LAUNCH((norm_in_registers<T, Y, 4>), blocks, THREADS, 0, cuda, *call);
  else if (packs <= 6)
    LAUNCH((norm_in_registers<T, Y, 6>), blocks, THREADS, 0, cuda, *call);
  else if (packs <= 8)
    LAUNCH((norm_in_registers<T, Y, 8>), blocks, THREADS, 0, cuda, *call);
  else
    LAUNCH((norm_in_registers<T, Y, 10>), blocks, THREADS, 0, cuda, *call);
}

void cuda_norm(struct device *self, const struct norm *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  WITH_TYPE(T, call->dtype, WITH_TYPE(Y, call->y_dtype, launch_norm<T, Y>(cuda, call)));
}

/* ---- backward
 *
 * Rows of whole vectors up to 6,144 columns: a block of one to eight warps walks a run of rows, reads every operand
 * once and keeps the column sums of its run in registers; the runs' sums are added in order. Other widths: a warp per
 * row, then the column sums from what it left in memory. */
enum { RUN_ROWS_MIN = 8, RUNS = 2048, GROUP_WARPS_MAX = 8, SUMS = 3 };

/* Sums of two numbers over the threads of the block; `turn` alternates, so that one barrier is enough. */
DEVICE void sum_block(float *a, float *b, float *of_warp, int turn) {
  *a = warp_sum(*a);
  *b = warp_sum(*b);
  const int warps = (int)blockDim.x / WARP;
  if (warps == 1)
    return;
  float *sums = of_warp + turn * 2 * GROUP_WARPS_MAX;
  if (lane_of_thread() == 0) {
    sums[2 * warp_of_thread()] = *a;
    sums[2 * warp_of_thread() + 1] = *b;
  }
  block_barrier();
  *a = *b = 0;
  for (int warp = 0; warp < warps; warp++) {
    *a += sums[2 * warp];
    *b += sums[2 * warp + 1];
  }
}

/* Column of this thread's vector number `pack`. */
DEVICE int64_t column_of(int pack) {
  return (int64_t)(pack * (int)blockDim.x + (int)threadIdx.x) * VECTOR;
}

/* x becomes xhat, dy becomes g = dy weight, and what they add to the column sums is added. */
template <typename Y>
DEVICE void take_norm_terms(const struct norm_backward *call, int64_t row, int64_t column, float *xhat, float *g,
                            float *dweight, float *dbias) {
  float weight[VECTOR];
  const float mean = call->mean[row], rstd = call->rstd[row];
  load<VECTOR>(call->x, row * call->width + column, xhat);
  load<VECTOR>((const Y *)call->dy, row * call->width + column, g);
  load<VECTOR>(call->weight, column, weight);
#pragma unroll
  for (int n = 0; n < VECTOR; n++) {
    xhat[n] = (xhat[n] - mean) * rstd;
    dweight[n] += g[n] * xhat[n];
    dbias[n] += g[n];
    g[n] *= weight[n];
  }
}

/* dx and dbranch at one place from the gradient of the row so far. */
template <typename T>
DEVICE void put_row_gradient(const struct norm_backward *call, int64_t row, int64_t column, const float *dx,
                             float *dbranch_bias) {
  const int64_t at = row * call->width + column;
  store<VECTOR>(call->dx, at, dx);
  if (!call->dbranch)
    return;
  float gamma[VECTOR], branch[VECTOR];
  if (call->gamma)
    load<VECTOR>(call->gamma, column, gamma);
#pragma unroll
  for (int n = 0; n < VECTOR; n++) {
    branch[n] = call->gamma ? gamma[n] * dx[n] : dx[n];
    dbranch_bias[n] += branch[n];
  }
  store<VECTOR>((T *)call->dbranch, at, branch);
}

/* partial[run][dweight, dbias, dbranch_bias][width], where WANTED. PACKS vectors of a row in each thread. */
template <typename T, typename Y, int PACKS, bool WANTED>
KERNEL void norm_gradients_in_registers(struct norm_backward call, int64_t per_run, float *partial) {
  SHARED(float, of_warp, 2 * 2 * GROUP_WARPS_MAX);
  const int64_t first = blockIdx.x * per_run, last = first + per_run < call.rows ? first + per_run : call.rows;
  float sums[SUMS][PACKS][VECTOR];
#pragma unroll
  for (int i = 0; i < SUMS * PACKS * VECTOR; i++)
    sums[i / VECTOR / PACKS][i / VECTOR % PACKS][i % VECTOR] = 0;
  for (int64_t row = first; row < last; row++) {
    float xhat[PACKS][VECTOR], g[PACKS][VECTOR], dx[PACKS][VECTOR], sum = 0, product = 0;
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
#pragma unroll
      for (int n = 0; n < VECTOR; n++)
        xhat[p][n] = g[p][n] = dx[p][n] = 0;
      if (column_of(p) >= call.width)
        continue;
      if (!call.dx_zero)
        load<VECTOR>(call.dx, row * call.width + column_of(p), dx[p]);
      if (!call.dy)
        continue;
      take_norm_terms<Y>(&call, row, column_of(p), xhat[p], g[p], sums[0][p], sums[1][p]);
#pragma unroll
      for (int n = 0; n < VECTOR; n++) {
        sum += g[p][n];
        product += g[p][n] * xhat[p][n];
      }
    }
    sum_block(&sum, &product, of_warp, (int)(row & 1));
    sum /= (float)call.width;
    product /= (float)call.width;
    const float rstd = call.dy ? call.rstd[row] : 0;
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
#pragma unroll
      for (int n = 0; n < VECTOR; n++)
        dx[p][n] += rstd * (g[p][n] - sum - xhat[p][n] * product);
      if (column_of(p) < call.width)
        put_row_gradient<T>(&call, row, column_of(p), dx[p], sums[2][p]);
    }
  }
#pragma unroll
  for (int i = 0; WANTED && i < SUMS * PACKS; i++)
    if (column_of(i % PACKS) < call.width)
      store<VECTOR>(partial, (blockIdx.x * SUMS + i / PACKS) * call.width + column_of(i % PACKS),
                    sums[i / PACKS][i % PACKS]);
}

/* ---- backward for any width */

/* xhat and g = dy weight at one place */
template <typename Y>
DEVICE void norm_terms(const struct norm_backward *call, int64_t row, int64_t column, float mean, float rstd,
                       float *xhat, float *g) {
  const int64_t at = row * call->width + column;
  *xhat = (call->x[at] - mean) * rstd;
  *g = to_float(((const Y *)call->dy)[at]) * call->weight[column];
}

/* dx and dbranch; a warp per row. */
template <typename T, typename Y> KERNEL void norm_row_gradients(struct norm_backward call) {
  const int64_t row = warp_of_grid();
  if (row >= call.rows)
    return;
  float xhat, g, sum = 0, product = 0, mean = 0, rstd = 0;
  if (call.dy) {
    mean = call.mean[row];
    rstd = call.rstd[row];
    for (int64_t c = lane_of_thread(); c < call.width; c += WARP) {
      norm_terms<Y>(&call, row, c, mean, rstd, &xhat, &g);
      sum += g;
      product += g * xhat;
    }
    sum = warp_sum(sum) / (float)call.width;
    product = warp_sum(product) / (float)call.width;
  }
  for (int64_t c = lane_of_thread(); c < call.width; c += WARP) {
    const int64_t at = row * call.width + c;
    float dx = call.dx_zero ? 0 : call.dx[at];
    if (call.dy) {
      norm_terms<Y>(&call, row, c, mean, rstd, &xhat, &g);
      dx += rstd * (g - sum - xhat * product);
    }
    call.dx[at] = dx;
    if (call.dbranch)
      from_float((T *)call.dbranch + at, call.gamma ? call.gamma[c] * dx : dx);
  }
}

/* The four column sums of a chunk of rows, side by side: dweight, dbias, dbranch_bias, dgamma. */
template <typename T, typename Y, int V>
KERNEL void norm_column_gradients(struct norm_backward call, int64_t per_chunk, float *partial) {
  const int64_t column = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * V, first = blockIdx.y * per_chunk;
  const int64_t last = first + per_chunk < call.rows ? first + per_chunk : call.rows;
  if (column >= call.width)
    return;
  float dweight[V] = {0}, dbias[V] = {0}, dbranch_bias[V] = {0}, dgamma[V] = {0}, x[V], dy[V];
  for (int64_t row = first; row < last; row++) {
    const int64_t at = row * call.width + column;
    if (call.dy) {
      const float mean = call.mean[row], rstd = call.rstd[row];
      load<V>(call.x, at, x);
      load<V>((const Y *)call.dy, at, dy);
#pragma unroll
      for (int n = 0; n < V; n++) {
        dweight[n] += dy[n] * ((x[n] - mean) * rstd);
        dbias[n] += dy[n];
      }
    }
    if (call.dbranch) {
      load<V>(call.dx, at, x);
#pragma unroll
      for (int n = 0; n < V; n++)
        dbranch_bias[n] += x[n];
      if (call.dgamma) {
        load<V>((const T *)call.branch, at, dy);
#pragma unroll
        for (int n = 0; n < V; n++)
          dgamma[n] += x[n] * dy[n];
      }
    }
  }
#pragma unroll
  for (int n = 0; n < V; n++)
    dbranch_bias[n] *= call.gamma ? call.gamma[column + n] : 1;
  float *sums = partial + blockIdx.y * 4 * call.width + column;
  store<V>(sums, 0, dweight);
  store<V>(sums, call.width, dbias);
  store<V>(sums, 2 * call.width, dbranch_bias);
  store<V>(sums, 3 * call.width, dgamma);
}

/* ---- which of them */

static bool wants_weights(const struct norm_backward *call) {
  return call->dy && (call->dweight || call->dbias);
}

static struct norm_backward without_dy(const struct norm_backward *call) {
  struct norm_backward rest = *call;
  rest.dy = NULL;
  rest.dbranch_bias = NULL;
  return rest;
}

template <typename T, typename Y, int V>
static void add_column_gradients(struct cuda_device *cuda, const struct norm_backward *call) {
  if (!wants_weights(call) && !(call->dbranch && (call->dbranch_bias || call->dgamma)))
    return;
  const struct cuda_chunks chunks = cuda_cut_rows(call->rows);
  const size_t bytes = (size_t)(chunks.count * 4 * call->width) * sizeof(float);
  float *partial = (float *)cuda_scratch(cuda, CUDA_SCRATCH_COLUMNS, bytes);
  dim3 grid(blocks_for(call->width, THREADS * V), (unsigned)chunks.count);
  LAUNCH((norm_column_gradients<T, Y, V>), grid, THREADS, 0, cuda, *call, chunks.rows, partial);
  float *const weights[] = {call->dy ? call->dweight : NULL, call->dy ? call->dbias : NULL};
  float *const branch[] = {call->dbranch ? call->dbranch_bias : NULL, call->dbranch ? call->dgamma : NULL};
  float *const out[CUDA_SUMS_MAX] = {weights[0], weights[1], branch[0], branch[1]};
  cuda_add_chunks(cuda, partial, chunks.count, call->width, 4, out);
}

template <typename T, typename Y, int PACKS>
static void launch_in_registers(struct cuda_device *cuda, const struct norm_backward *call, unsigned warps) {
  const int64_t per_run = RUN_ROWS_MIN + call->rows / RUNS, runs = (call->rows + per_run - 1) / per_run;
  float *const branch_bias = call->dbranch ? call->dbranch_bias : NULL;
  if (!wants_weights(call) && !branch_bias) {
    LAUNCH((norm_gradients_in_registers<T, Y, PACKS, false>), (unsigned)runs, warps * WARP, 0, cuda, *call, per_run,
           nullptr);
  } else {
    const size_t bytes = (size_t)(runs * SUMS * call->width) * sizeof(float);
    float *partial = (float *)cuda_scratch(cuda, CUDA_SCRATCH_COLUMNS, bytes);
    LAUNCH((norm_gradients_in_registers<T, Y, PACKS, true>), (unsigned)runs, warps * WARP, 0, cuda, *call, per_run,
           partial);
    float *const out[CUDA_SUMS_MAX] = {call->dy ? call->dweight : NULL, call->dy ? call->dbias : NULL, branch_bias};
    cuda_add_chunks(cuda, partial, runs, call->width, SUMS, out);
  }
  const struct norm_backward scale = without_dy(call);
  if (call->dgamma) /* LayerScale's: from dx and the branch, which it reads again */
    add_column_gradients<T, Y, VECTOR>(cuda, &scale);
}

template <typename T, typename Y>
static void launch_norm_backward(struct cuda_device *cuda, const struct norm_backward *call) {
  enum { PACKS_MAX = 6 };
  const bool fits = call->width % VECTOR == 0 && aligned((const char *)call->dy, call->x, call->weight, call->gamma) &&
                    aligned((const char *)call->branch, call->dx, (char *)call->dbranch);
  const int64_t packs = (call->width + VECTOR * WARP - 1) / (VECTOR * WARP);
  const int64_t warps = (packs + PACKS_MAX - 1) / PACKS_MAX, packs_each = (packs + warps - 1) / warps;
  if (!fits || warps > GROUP_WARPS_MAX) {
    LAUNCH((norm_row_gradients<T, Y>), blocks_for(call->rows, THREADS / WARP), THREADS, 0, cuda, *call);
    add_column_gradients<T, Y, 1>(cuda, call);
  } else if (packs_each <= 2) {
    launch_in_registers<T, Y, 2>(cuda, call, (unsigned)warps);
  } else if (packs_each <= 4) {
    launch_in_registers<T, Y, 4>(cuda, call, (unsigned)warps);
  } else if (packs_each <= 5) {
    launch_in_registers<T, Y, 5>(cuda, call, (unsigned)warps);
  } else {
    launch_in_registers<T, Y, PACKS_MAX>(cuda, call, (unsigned)warps);
  }
}

void cuda_norm_backward(struct device *self, const struct norm_backward *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  WITH_TYPE(T, call->dtype, WITH_TYPE(Y, call->dy_dtype, (launch_norm_backward<T, Y>(cuda, call))));
}

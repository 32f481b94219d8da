/* Residual addition and layer norm: a warp per row. Widths of whole vectors up to 1,280 are held in registers; others
 * are read again for each pass. */
#include "cuda/kernel.h"

enum { THREADS = 128, VECTOR = 4 };

/* ---- forward */

/* x_out = x + gamma branch at one place of a row, V columns. */
template <typename T, int V> DEVICE void add_branch(const struct norm *call, int64_t row, int64_t column, float *x) {
  const int64_t at = row * call->width + column;
  load<V>(call->x, at, x);
  if (!call->branch)
    return;
  float branch[V], gamma[V];
  load<V>((const T *)call->branch, at, branch);
  if (call->gamma)
    load<V>(call->gamma, column, gamma);
#pragma unroll
  for (int n = 0; n < V; n++)
    x[n] += call->gamma ? gamma[n] * branch[n] : branch[n];
  store<V>(call->x_out, at, x);
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
template <typename T, typename Y, int PACKS> KERNEL_THREADS(THREADS, 4) void norm_in_registers(struct norm call) {
  const int64_t row = warp_of_grid();
  if (row >= call.rows)
    return;
  float x[PACKS][VECTOR], sum = 0, squares = 0;
#pragma unroll
  for (int p = 0; p < PACKS; p++) {
    const int64_t column = (p * WARP + lane_of_thread()) * VECTOR;
    if (column < call.width) {
      add_branch<T, VECTOR>(&call, row, column, x[p]);
      sum += (x[p][0] + x[p][1]) + (x[p][2] + x[p][3]);
    }
  }
  if (!call.y)
    return;
  const float mean = warp_sum(sum) / (float)call.width;
#pragma unroll
  for (int p = 0; p < PACKS; p++)
#pragma unroll
    for (int n = 0; n < VECTOR; n++)
      if ((p * WARP + lane_of_thread()) * VECTOR < call.width)
        squares += (x[p][n] - mean) * (x[p][n] - mean);
  const float rstd = deviation_inverse(warp_sum(squares), call.width);
#pragma unroll
  for (int p = 0; p < PACKS; p++) {
    const int64_t column = (p * WARP + lane_of_thread()) * VECTOR;
    if (column < call.width)
      write_norm<Y, VECTOR>(&call, row, column, x[p], mean, rstd);
  }
  keep_statistics(&call, row, mean, rstd);
}

template <typename T, typename Y> KERNEL void norm_of_any_width(struct norm call) {
  const int64_t row = warp_of_grid();
  if (row >= call.rows)
    return;
  float sum = 0, squares = 0, x;
  for (int64_t c = lane_of_thread(); c < call.width; c += WARP) {
    add_branch<T, 1>(&call, row, c, &x);
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

/* ---- backward */

/* xhat and g = dy weight at one place */
template <typename Y, int V>
DEVICE void norm_terms(const struct norm_backward *call, int64_t row, int64_t column, float mean, float rstd,
                       float *xhat, float *g) {
  float weight[V];
  load<V>(call->x, row * call->width + column, xhat);
  load<V>((const Y *)call->dy, row * call->width + column, g);
  load<V>(call->weight, column, weight);
#pragma unroll
  for (int n = 0; n < V; n++) {
    xhat[n] = (xhat[n] - mean) * rstd;
    g[n] *= weight[n];
  }
}

/* dx and dbranch; a warp per row. */
template <typename T, typename Y, int V> KERNEL void norm_row_gradients(struct norm_backward call) {
  const int64_t row = warp_of_grid();
  if (row >= call.rows)
    return;
  float xhat[V], g[V], dx[V], gamma[V], sum = 0, product = 0, mean = 0, rstd = 0;
  if (call.dy) {
    mean = call.mean[row];
    rstd = call.rstd[row];
    for (int64_t c = lane_of_thread() * V; c < call.width; c += WARP * V) {
      norm_terms<Y, V>(&call, row, c, mean, rstd, xhat, g);
#pragma unroll
      for (int n = 0; n < V; n++) {
        sum += g[n];
        product += g[n] * xhat[n];
      }
    }
    sum = warp_sum(sum) / (float)call.width;
    product = warp_sum(product) / (float)call.width;
  }
  for (int64_t c = lane_of_thread() * V; c < call.width; c += WARP * V) {
    const int64_t at = row * call.width + c;
#pragma unroll
    for (int n = 0; n < V; n++)
      dx[n] = 0;
    if (!call.dx_zero)
      load<V>(call.dx, at, dx);
    if (call.dy) {
      norm_terms<Y, V>(&call, row, c, mean, rstd, xhat, g);
#pragma unroll
      for (int n = 0; n < V; n++)
        dx[n] += rstd * (g[n] - sum - xhat[n] * product);
    }
    store<V>(call.dx, at, dx);
    if (call.dbranch) {
      if (call.gamma)
        load<V>(call.gamma, c, gamma);
#pragma unroll
      for (int n = 0; n < V; n++)
        dx[n] *= call.gamma ? gamma[n] : 1;
      store<V>((T *)call.dbranch, at, dx);
    }
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

template <typename T, typename Y, int V>
static void launch_norm_backward(struct cuda_device *cuda, const struct norm_backward *call) {
  LAUNCH((norm_row_gradients<T, Y, V>), blocks_for(call->rows, THREADS / WARP), THREADS, 0, cuda, *call);
  const bool weights = call->dy && (call->dweight || call->dbias);
  const bool branch = call->dbranch && (call->dbranch_bias || call->dgamma);
  if (!weights && !branch)
    return;
  const struct cuda_chunks chunks = cuda_cut_rows(call->rows);
  const int64_t width = call->width, stride = 4 * width;
  float *partial = (float *)cuda_scratch(cuda, CUDA_SCRATCH_COLUMNS, (size_t)(chunks.count * stride) * sizeof *partial);
  dim3 grid(blocks_for(width, THREADS * V), (unsigned)chunks.count);
  LAUNCH((norm_column_gradients<T, Y, V>), grid, THREADS, 0, cuda, *call, chunks.rows, partial);
  if (weights) {
    cuda_add_chunks(cuda, partial, chunks.count, stride, width, call->dweight);
    cuda_add_chunks(cuda, partial + width, chunks.count, stride, width, call->dbias);
  }
  if (branch) {
    cuda_add_chunks(cuda, partial + 2 * width, chunks.count, stride, width, call->dbranch_bias);
    cuda_add_chunks(cuda, partial + 3 * width, chunks.count, stride, width, call->dgamma);
  }
}

void cuda_norm_backward(struct device *self, const struct norm_backward *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  const bool fits = call->width % VECTOR == 0 && aligned((const char *)call->dy, call->x, call->weight, call->gamma) &&
                    aligned((const char *)call->branch, call->dx, (char *)call->dbranch);
  WITH_TYPE(T, call->dtype,
            WITH_TYPE(Y, call->dy_dtype, WITH_VECTOR(VECTOR, fits, (launch_norm_backward<T, Y, V>(cuda, call)))));
}

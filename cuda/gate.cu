/* Gates of the memory layer: element by element (u = m silu(g)) and one scalar per token. */
#include "cuda/kernel.h"
#include "cuda/sigmoid.h"

enum { THREADS = 128, VECTOR = 8 };

/* ---- u = m silu(g) */

template <typename T, int V> KERNEL void gate_forward(const T *m, const T *g, T *u, int64_t vectors) {
  float value[V], x[V];
  for (int64_t i = thread_of_grid(); i < vectors; i += threads_of_grid()) {
    load<V>(m, i * V, value);
    load<V>(g, i * V, x);
#pragma unroll
    for (int n = 0; n < V; n++)
      value[n] *= x[n] * sigmoid<T>(x[n]);
    store<V>(u, i * V, value);
  }
}

void cuda_gate(struct device *self, const struct gate *call) {
  const int64_t count = call->rows * call->columns;
  WITH_TYPE(
      T, call->dtype,
      WITH_VECTOR(VECTOR, count % VECTOR == 0 && aligned(call->m, call->g, call->u),
                  LAUNCH((gate_forward<T, V>), blocks_striding(count / V, THREADS), THREADS, 0, cuda_from_device(self),
                         (const T *)call->m, (const T *)call->g, (T *)call->u, count / V)));
}

/* dm = du silu(g), dg = du m s (1 + g (1 - s)) of a chunk of rows; partial[chunk, columns] the column sums of dg. */
template <typename T, int V> KERNEL void gate_gradients(struct gate call, int64_t per_chunk, float *partial) {
  const int64_t column = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * V, first = blockIdx.y * per_chunk;
  const int64_t last = first + per_chunk < call.rows ? first + per_chunk : call.rows;
  if (column >= call.columns)
    return;
  float sum[V] = {0}, m[V], g[V], du[V];
  for (int64_t row = first; row < last; row++) {
    const int64_t at = row * call.columns + column;
    load<V>((const T *)call.m, at, m);
    load<V>((const T *)call.g, at, g);
    load<V>((const T *)call.du, at, du);
#pragma unroll
    for (int n = 0; n < V; n++) {
      const float x = g[n], s = sigmoid<T>(x);
      g[n] = du[n] * m[n] * s * (1 + x * (1 - s));
      m[n] = du[n] * x * s;
      sum[n] += g[n];
    }
    store<V>((T *)call.dm, at, m);
    store<V>((T *)call.dg, at, g);
  }
  if (partial)
    store<V>(partial, blockIdx.y * call.columns + column, sum);
}

void cuda_gate_backward(struct device *self, const struct gate *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  const struct cuda_chunks chunks = cuda_cut_rows(call->rows);
  const size_t bytes = (size_t)(chunks.count * call->columns) * sizeof(float);
  float *partial = call->dgate_bias ? (float *)cuda_scratch(cuda, CUDA_SCRATCH_COLUMNS, bytes) : NULL;
  const bool fits = call->columns % VECTOR == 0 && aligned(call->m, call->g, call->du, call->dm, call->dg);
  WITH_TYPE(T, call->dtype, WITH_VECTOR(VECTOR, fits, {
              dim3 grid(blocks_for(call->columns, THREADS * V), (unsigned)chunks.count);
              LAUNCH((gate_gradients<T, V>), grid, THREADS, 0, cuda, *call, chunks.rows, partial);
            }));
  cuda_add_chunks(cuda, partial, chunks.count, call->columns, 1, &call->dgate_bias);
}

/* ---- one gate per token: a warp per row */

template <typename T> KERNEL void token_gate_forward(struct token_gate call) {
  const int64_t row = warp_of_grid();
  if (row >= call.rows)
    return;
  const T *x = (const T *)call.x + row * call.in, *o = (const T *)call.o + row * call.width;
  float z = 0;
  for (int64_t c = lane_of_thread(); c < call.in; c += WARP)
    z += to_float(x[c]) * call.weight[c];
  const float s = sigmoid<float>(warp_sum(z) + (call.bias ? call.bias[0] : 0));
  if (lane_of_thread() == 0)
    call.s[row] = s;
  for (int64_t c = lane_of_thread(); c < call.width; c += WARP)
    from_float((T *)call.y + row * call.width + c, s * to_float(o[c]));
}

void cuda_token_gate(struct device *self, const struct token_gate *call) {
  WITH_TYPE(T, call->dtype,
            LAUNCH((token_gate_forward<T>), blocks_for(call->rows, THREADS / WARP), THREADS, 0, cuda_from_device(self),
                   *call));
}

/* do = s dy, dz = s (1-s) <dy, o>, dx += dz weight */
template <typename T> KERNEL void token_gate_gradients(struct token_gate call, float *dz_of_row) {
  const int64_t row = warp_of_grid();
  if (row >= call.rows)
    return;
  const T *dy = (const T *)call.dy + row * call.width, *o = (const T *)call.o + row * call.width;
  const float s = call.s[row];
  float product = 0;
  for (int64_t c = lane_of_thread(); c < call.width; c += WARP) {
    const float gradient = to_float(dy[c]);
    product += gradient * to_float(o[c]);
    from_float((T *)call.d_o + row * call.width + c, s * gradient);
  }
  const float dz = s * (1 - s) * warp_sum(product);
  if (lane_of_thread() == 0)
    dz_of_row[row] = dz;
  T *dx = (T *)call.dx + row * call.in;
  for (int64_t c = lane_of_thread(); call.dx && c < call.in; c += WARP)
    from_float(dx + c, to_float(dx[c]) + dz * call.weight[c]);
}

void cuda_token_gate_backward(struct device *self, const struct token_gate *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  float *dz = (float *)cuda_scratch(cuda, CUDA_SCRATCH_ROWS, (size_t)call->rows * sizeof *dz);
  WITH_TYPE(T, call->dtype,
            LAUNCH((token_gate_gradients<T>), blocks_for(call->rows, THREADS / WARP), THREADS, 0, cuda, *call, dz));
  cuda_sum_columns(cuda, call->dtype, call->x, dz, call->rows, call->in, call->dweight);
  cuda_sum_columns(cuda, DTYPE_F32, dz, NULL, call->rows, 1, call->dbias);
}

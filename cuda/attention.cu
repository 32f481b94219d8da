/* Softmax attention in fp32 arithmetic, for every dtype and heads of up to 128 columns; attention_tensor.cu has the
 * calls that tensor cores can do, and this is their twin of the same formulas; attention_wide.cu has wider heads. P =
 * exp(scale q k - lse), dP = dout v, D = sum P dP = <dout, out>, dS = scale P (dP - D), dq = dS k, dk = dS' q, dv = P'
 * dout. A block holds a tile of 32 rows of two operands in shared memory; a lane owns one of them for the products, and
 * columns of the results. */
#include "cuda/attention.h"

enum { WARPS = 4, OWN = 4, OWN_ROWS = WARPS * OWN, WIDTH_MAX = 128, COLUMNS = WIDTH_MAX / WARP };

/* A tile of rows as fp32, each `width` + 1 apart so that a column is free of bank conflicts; rows beyond `rows` are 0.
 */
template <typename T>
DEVICE void load_tile(float *tile, int tile_rows, const T *from, int64_t stride, int64_t rows, int width, float scale) {
  for (int i = (int)threadIdx.x; i < tile_rows * width; i += WARPS * WARP) {
    const int row = i / width, column = i % width;
    tile[row * (width + 1) + column] = row < rows ? scale * to_float(from[row * stride + column]) : 0;
  }
}

DEVICE float dot_rows(const float *a, const float *b, int width) {
  float sum = 0;
  for (int c = 0; c < width; c++)
    sum += a[c] * b[c];
  return sum;
}

/* sum[n] += factor[0..31] times column (lane + 32 n) of the tile */
DEVICE void add_rows(float *sum, const float *factor, const float *tile, int width) {
#pragma unroll
  for (int n = 0; n < COLUMNS; n++) {
    const int column = lane_of_thread() + n * WARP;
    if (column < width)
      for (int row = 0; row < WARP; row++)
        sum[n] += factor[row] * tile[row * (width + 1) + column];
  }
}

template <typename T> DEVICE void store_row(T *to, const float *sum, float factor, int width) {
#pragma unroll
  for (int n = 0; n < COLUMNS; n++)
    if (lane_of_thread() + n * WARP < width)
      from_float(to + lane_of_thread() + n * WARP, factor * sum[n]);
}

DEVICE int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

/* A warp owns OWN queries; scores are in units of log2. */
template <typename T> KERNEL void attention_forward(struct attention call) {
  SHARED_DYNAMIC(float, memory);
  SHARED(float, p, WARPS *WARP);
  const int width = (int)call.head_width, row = width + 1, lane = lane_of_thread(), warp = warp_of_thread();
  float *keys = memory, *values = keys + WARP * row, *queries = values + WARP * row;
  int64_t first;
  const struct head head = head_of_block(&call, call.queries, OWN_ROWS, &first);
  const T *k = (const T *)call.k + head.kv, *v = (const T *)call.v + head.kv;
  load_tile(queries, OWN_ROWS, (const T *)call.q + head.q + first * call.q_stride, call.q_stride, call.queries - first,
            width, LOG2_E / sqrtf((float)width));
  float largest[OWN], sum[OWN], out[OWN][COLUMNS];
  for (int n = 0; n < OWN; n++) {
    largest[n] = MASKED;
    sum[n] = 0;
    for (int c = 0; c < COLUMNS; c++)
      out[n][c] = 0;
  }
  const int64_t seen = visible_keys(&call, head.sample, smaller(first + OWN_ROWS, call.queries) - 1);
  for (int64_t key = 0; key < seen; key += WARP) {
    block_barrier();
    load_tile(keys, WARP, k + key * call.kv_stride, call.kv_stride, call.tokens - key, width, 1);
    load_tile(values, WARP, v + key * call.kv_stride, call.kv_stride, call.tokens - key, width, 1);
    block_barrier();
#pragma unroll
    for (int n = 0; n < OWN; n++) {
      const int own = warp * OWN + n;
      const bool visible = key + lane < visible_keys(&call, head.sample, first + own);
      const float score = visible ? dot_rows(queries + own * row, keys + lane * row, width) : MASKED;
      const float top = fmaxf(largest[n], warp_max(score)), shrink = exp2f(largest[n] - top);
      largest[n] = top;
      p[warp * WARP + lane] = visible ? exp2f(score - top) : 0;
      warp_barrier();
      sum[n] = sum[n] * shrink + warp_sum(p[warp * WARP + lane]);
      for (int c = 0; c < COLUMNS; c++)
        out[n][c] *= shrink;
      add_rows(out[n], p + warp * WARP, values, width);
      warp_barrier();
    }
  }
#pragma unroll
  for (int n = 0; n < OWN; n++) {
    const int64_t query = first + warp * OWN + n;
    if (query >= call.queries)
      continue;
    store_row((T *)call.out + head.out + query * call.heads * width, out[n], 1 / sum[n], width);
    if (call.lse && lane == 0)
      call.lse[head.lse + query] = (largest[n] + log2f(sum[n])) * LN_2;
  }
}

/* mean_of[b,h,i] = <dout, out> of a query, which is sum P dP; a warp each. */
template <typename T> KERNEL void dot_outputs(struct attention call, float *mean_of) {
  const int64_t item = warp_of_grid(), query = item % call.queries, number = item / call.queries;
  if (item >= call.batch * call.heads * call.queries)
    return;
  const int64_t at = head_of(&call, number).out + query * call.heads * call.head_width;
  float sum = 0;
  for (int64_t c = lane_of_thread(); c < call.head_width; c += WARP)
    sum += to_float(((const T *)call.out)[at + c]) * to_float(((const T *)call.dout)[at + c]);
  sum = warp_sum(sum);
  if (lane_of_thread() == 0)
    mean_of[item] = sum;
}

/* dq: a warp owns OWN queries, a lane a key of the tile. */
template <typename T> KERNEL void attention_query_gradients(struct attention call, const float *mean_of) {
  SHARED_DYNAMIC(float, memory);
  SHARED(float, ds, WARPS *WARP);
  const int width = (int)call.head_width, row = width + 1, lane = lane_of_thread(), warp = warp_of_thread();
  float *keys = memory, *values = keys + WARP * row, *queries = values + WARP * row, *douts = queries + OWN_ROWS * row;
  int64_t first;
  const struct head head = head_of_block(&call, call.queries, OWN_ROWS, &first);
  const int64_t out_stride = call.heads * width;
  const T *k = (const T *)call.k + head.kv, *v = (const T *)call.v + head.kv;
  const float scale = 1 / sqrtf((float)width);
  load_tile(queries, OWN_ROWS, (const T *)call.q + head.q + first * call.q_stride, call.q_stride, call.queries - first,
            width, LOG2_E * scale);
  load_tile(douts, OWN_ROWS, (const T *)call.dout + head.out + first * out_stride, out_stride, call.queries - first,
            width, 1);
  float dq[OWN][COLUMNS];
  for (int n = 0; n < OWN; n++)
    for (int c = 0; c < COLUMNS; c++)
      dq[n][c] = 0;
  const int64_t seen = visible_keys(&call, head.sample, smaller(first + OWN_ROWS, call.queries) - 1);
  for (int64_t key = 0; key < seen; key += WARP) {
    block_barrier();
    load_tile(keys, WARP, k + key * call.kv_stride, call.kv_stride, call.tokens - key, width, 1);
    load_tile(values, WARP, v + key * call.kv_stride, call.kv_stride, call.tokens - key, width, 1);
    block_barrier();
#pragma unroll
    for (int n = 0; n < OWN; n++) {
      const int own = warp * OWN + n;
      const int64_t query = smaller(first + own, call.queries - 1);
      const float score = dot_rows(queries + own * row, keys + lane * row, width);
      const bool visible = first + own < call.queries && key + lane < visible_keys(&call, head.sample, query);
      const float p = visible ? exp2f(score - LOG2_E * call.lse[head.lse + query]) : 0;
      ds[warp * WARP + lane] =
          p * (dot_rows(douts + own * row, values + lane * row, width) - mean_of[head.lse + query]);
      warp_barrier();
      add_rows(dq[n], ds + warp * WARP, keys, width);
      warp_barrier();
    }
  }
#pragma unroll
  for (int n = 0; n < OWN; n++) {
    const int64_t query = first + warp * OWN + n;
    if (query < call.queries)
      store_row((T *)call.dq + head.q + query * call.q_stride, dq[n], scale, width);
  }
}

/* dk and dv: a warp owns OWN keys, a lane a query of the tile. */
template <typename T> KERNEL void attention_key_gradients(struct attention call, const float *mean_of) {
  SHARED_DYNAMIC(float, memory);
  SHARED(float, p, WARPS *WARP);
  SHARED(float, ds, WARPS *WARP);
  const int width = (int)call.head_width, row = width + 1, lane = lane_of_thread(), warp = warp_of_thread();
  float *queries = memory, *douts = queries + WARP * row, *keys = douts + WARP * row, *values = keys + OWN_ROWS * row;
  int64_t first;
  const struct head head = head_of_block(&call, call.tokens, OWN_ROWS, &first);
  const int64_t out_stride = call.heads * width;
  const T *q = (const T *)call.q + head.q, *dout = (const T *)call.dout + head.out;
  const float scale = 1 / sqrtf((float)width);
  load_tile(keys, OWN_ROWS, (const T *)call.k + head.kv + first * call.kv_stride, call.kv_stride, call.tokens - first,
            width, LOG2_E * scale);
  load_tile(values, OWN_ROWS, (const T *)call.v + head.kv + first * call.kv_stride, call.kv_stride, call.tokens - first,
            width, 1);
  float dk[OWN][COLUMNS], dv[OWN][COLUMNS];
  for (int n = 0; n < OWN; n++)
    for (int c = 0; c < COLUMNS; c++)
      dk[n][c] = dv[n][c] = 0;
  const bool square = call.causal && !call.position;
  for (int64_t query = square ? first / WARP * WARP : 0; query < call.queries; query += WARP) {
    block_barrier();
    load_tile(queries, WARP, q + query * call.q_stride, call.q_stride, call.queries - query, width, 1);
    load_tile(douts, WARP, dout + query * out_stride, out_stride, call.queries - query, width, 1);
    block_barrier();
    const bool exists = query + lane < call.queries;
    const float lse = exists ? LOG2_E * call.lse[head.lse + query + lane] : 0;
    const float mean = exists ? mean_of[head.lse + query + lane] : 0;
    const int64_t seen = exists ? visible_keys(&call, head.sample, query + lane) : 0;
#pragma unroll
    for (int n = 0; n < OWN; n++) {
      const int own = warp * OWN + n;
      const float score = dot_rows(keys + own * row, queries + lane * row, width);
      const float probability = first + own < seen ? exp2f(score - lse) : 0;
      p[warp * WARP + lane] = probability;
      ds[warp * WARP + lane] = probability * (dot_rows(values + own * row, douts + lane * row, width) - mean);
      warp_barrier();
      add_rows(dk[n], ds + warp * WARP, queries, width);
      add_rows(dv[n], p + warp * WARP, douts, width);
      warp_barrier();
    }
  }
#pragma unroll
  for (int n = 0; n < OWN; n++) {
    const int64_t key = first + warp * OWN + n;
    if (key >= call.tokens)
      continue;
    store_row((T *)call.dk + head.kv + key * call.kv_stride, dk[n], scale, width);
    store_row((T *)call.dv + head.kv + key * call.kv_stride, dv[n], 1, width);
  }
}

/* Two tiles of 32 rows and `own` tiles of the owned ones. */
static size_t tile_bytes(const struct attention *call, int own) {
  return (size_t)((2 * WARP + own * OWN_ROWS) * (call->head_width + 1)) * sizeof(float);
}

void cuda_attention(struct device *self, const struct attention *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  if (attention_has_tensor_form(call))
    attention_tensor_forward(cuda, call);
  else if (call->head_width > WIDTH_MAX)
    attention_wide_forward(cuda, call);
  else
    WITH_TYPE(T, call->dtype,
              LAUNCH((attention_forward<T>), attention_blocks(call, call->queries, OWN_ROWS), WARPS * WARP,
                     tile_bytes(call, 1), cuda, *call));
}

static void plain_backward(struct cuda_device *cuda, const struct attention *call, float *mean_of) {
  WITH_TYPE(T, call->dtype, {
    LAUNCH((dot_outputs<T>), blocks_for(call->batch * call->heads * call->queries, WARPS), WARPS * WARP, 0, cuda, *call,
           mean_of);
    if (call->head_width > WIDTH_MAX) {
      attention_wide_backward(cuda, call, mean_of);
    } else {
      LAUNCH((attention_query_gradients<T>), attention_blocks(call, call->queries, OWN_ROWS), WARPS * WARP,
             tile_bytes(call, 2), cuda, *call, mean_of);
      LAUNCH((attention_key_gradients<T>), attention_blocks(call, call->tokens, OWN_ROWS), WARPS * WARP,
             tile_bytes(call, 2), cuda, *call, mean_of);
    }
  });
}

void cuda_attention_backward(struct device *self, const struct attention *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  float *mean_of = (float *)cuda_scratch(cuda, CUDA_SCRATCH_ROWS,
                                         (size_t)(call->batch * call->heads * call->queries) * sizeof *mean_of);
  if (attention_has_tensor_form(call))
    attention_tensor_backward(cuda, call, mean_of);
  else
    plain_backward(cuda, call, mean_of);
}

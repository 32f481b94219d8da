/* Softmax attention for heads wider than the tiles of attention.cu: plain, for any width. A warp owns a query, or a
 * key, and a slice of the columns of its results; every product of rows is a sum over the lanes. attention.cu has the
 * formulas. */
#include "cuda/attention.h"

enum { WARPS = 4, COLUMNS = 4, SLICE = COLUMNS * WARP };

/* Which head, row and slice the warp has; false when none. */
struct place {
  struct head head;
  int64_t row, column; /* of the slice's first element for this lane */
};
DEVICE bool find_place(const struct attention *call, int64_t rows, struct place *place) {
  const int64_t slices = (call->head_width + SLICE - 1) / SLICE, item = warp_of_grid();
  if (item >= call->batch * call->heads * rows * slices)
    return false;
  place->head = head_of(call, item / slices / rows);
  place->row = item / slices % rows;
  place->column = item % slices * SLICE + lane_of_thread();
  return true;
}

template <typename T> DEVICE float dot(const T *a, const T *b, int64_t width) {
  float sum = 0;
  for (int64_t c = lane_of_thread(); c < width; c += WARP)
    sum += to_float(a[c]) * to_float(b[c]);
  return warp_sum(sum);
}

/* sum[n] = sum[n] * shrink + factor * row[column + 32 n] */
template <typename T>
DEVICE void add_row(float *sum, float shrink, float factor, const T *row, int64_t column, int64_t width) {
#pragma unroll
  for (int n = 0; n < COLUMNS; n++)
    if (column + n * WARP < width)
      sum[n] = sum[n] * shrink + factor * to_float(row[column + n * WARP]);
}
template <typename T> DEVICE void put_row(T *row, const float *sum, float factor, int64_t column, int64_t width) {
#pragma unroll
  for (int n = 0; n < COLUMNS; n++)
    if (column + n * WARP < width)
      from_float(row + column + n * WARP, factor * sum[n]);
}

template <typename T> KERNEL void wide_forward(struct attention call) {
  struct place at;
  if (!find_place(&call, call.queries, &at))
    return;
  const int64_t width = call.head_width, seen = visible_keys(&call, at.head.sample, at.row);
  const T *q = (const T *)call.q + at.head.q + at.row * call.q_stride;
  const T *k = (const T *)call.k + at.head.kv, *v = (const T *)call.v + at.head.kv;
  float largest = MASKED, total = 0, out[COLUMNS] = {0};
  for (int64_t key = 0; key < seen; key++) {
    const float score = LOG2_E / sqrtf((float)width) * dot(q, k + key * call.kv_stride, width);
    const float top = fmaxf(largest, score), shrink = exp2f(largest - top), p = exp2f(score - top);
    largest = top;
    total = total * shrink + p;
    add_row(out, shrink, p, v + key * call.kv_stride, at.column, width);
  }
  put_row((T *)call.out + at.head.out + at.row * call.heads * width, out, 1 / total, at.column, width);
  if (call.lse && at.column == 0)
    call.lse[at.head.lse + at.row] = (largest + log2f(total)) * LN_2;
}

/* P and dS / scale of a query and a key. */
template <typename T>
DEVICE void find_terms(const struct attention *call, const struct head *head, int64_t query, int64_t key,
                       const float *mean_of, float *p, float *ds) {
  const int64_t width = call->head_width, kv = head->kv + key * call->kv_stride;
  const T *q = (const T *)call->q + head->q + query * call->q_stride;
  const T *dout = (const T *)call->dout + head->out + query * call->heads * width;
  const float score = dot(q, (const T *)call->k + kv, width) / sqrtf((float)width);
  *p = exp2f(LOG2_E * (score - call->lse[head->lse + query]));
  *ds = *p * (dot(dout, (const T *)call->v + kv, width) - mean_of[head->lse + query]);
}

template <typename T> KERNEL void wide_query_gradients(struct attention call, const float *mean_of) {
  struct place at;
  if (!find_place(&call, call.queries, &at))
    return;
  const int64_t width = call.head_width, seen = visible_keys(&call, at.head.sample, at.row);
  float dq[COLUMNS] = {0}, p, ds;
  for (int64_t key = 0; key < seen; key++) {
    find_terms<T>(&call, &at.head, at.row, key, mean_of, &p, &ds);
    add_row(dq, 1, ds, (const T *)call.k + at.head.kv + key * call.kv_stride, at.column, width);
  }
  put_row((T *)call.dq + at.head.q + at.row * call.q_stride, dq, 1 / sqrtf((float)width), at.column, width);
}

template <typename T> KERNEL void wide_key_gradients(struct attention call, const float *mean_of) {
  struct place at;
  if (!find_place(&call, call.tokens, &at))
    return;
  const int64_t width = call.head_width, kv = at.head.kv + at.row * call.kv_stride;
  float dk[COLUMNS] = {0}, dv[COLUMNS] = {0}, p, ds;
  for (int64_t query = 0; query < call.queries; query++) {
    if (at.row >= visible_keys(&call, at.head.sample, query))
      continue;
    find_terms<T>(&call, &at.head, query, at.row, mean_of, &p, &ds);
    add_row(dk, 1, ds, (const T *)call.q + at.head.q + query * call.q_stride, at.column, width);
    add_row(dv, 1, p, (const T *)call.dout + at.head.out + query * call.heads * width, at.column, width);
  }
  put_row((T *)call.dk + kv, dk, 1 / sqrtf((float)width), at.column, width);
  put_row((T *)call.dv + kv, dv, 1, at.column, width);
}

static unsigned blocks_of(const struct attention *call, int64_t rows) {
  return blocks_for(call->batch * call->heads * rows * ((call->head_width + SLICE - 1) / SLICE), WARPS);
}

void attention_wide_forward(struct cuda_device *cuda, const struct attention *call) {
  WITH_TYPE(T, call->dtype, LAUNCH((wide_forward<T>), blocks_of(call, call->queries), WARPS * WARP, 0, cuda, *call));
}

void attention_wide_backward(struct cuda_device *cuda, const struct attention *call, const float *mean_of) {
  WITH_TYPE(T, call->dtype, {
    LAUNCH((wide_query_gradients<T>), blocks_of(call, call->queries), WARPS * WARP, 0, cuda, *call, mean_of);
    LAUNCH((wide_key_gradients<T>), blocks_of(call, call->tokens), WARPS * WARP, 0, cuda, *call, mean_of);
  });
}

/* Softmax attention by tensor cores: bf16 operands, fp32 accumulation; attention.cu has the formulas.
 *
 * A block of 4 warps owns 64 rows of one head, 16 per warp, and walks the other side in tiles of 64 rows, which arrive
 * in shared memory while the tile before is worked on. Forward: online softmax, scores never leave registers. Backward:
 * one kernel owns queries (dq), one owns keys (dk, dv, from transposed scores), so nothing is added across blocks and
 * the result is the same each time. Rows in shared memory are 16 bytes longer than they need be, which keeps eight of
 * them on different banks. */
#include "cuda/attention.h"
#include "cuda/tile.h"

enum { WARPS = 4, THREADS = WARPS * WARP, TILE = 64, GROUP = 32 };

/* product[n] (16 x 8 each) = 16 rows of `left` . COLUMNS rows of `right` from `first`, over D. */
template <int D, int COLUMNS>
DEVICE void multiply_rows(float product[][4], const bf16 *left, int left_first, const bf16 *right, int first) {
  clear_fragments<COLUMNS / 8>(product);
#pragma unroll
  for (int step = 0; step < D / 16; step++) {
    unsigned a[4], b[4];
    load_left<D>(a, left, left_first, step * 16);
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n += 2) {
      load_rows_as_columns<D>(b, right, first + n * 8, step * 16);
      mma_bf16(product[n], a, b);
      mma_bf16(product[n + 1], a, b + 2);
    }
  }
}

/* sum[D/8] += factor [16, COLUMNS] . COLUMNS rows of `right` from `first`. */
template <int D, int COLUMNS>
DEVICE void add_product(float sum[][4], const float factor[][4], const bf16 *right, int first) {
#pragma unroll
  for (int step = 0; step < COLUMNS / 16; step++) {
    const float *left = factor[2 * step], *next = factor[2 * step + 1];
    const unsigned a[4] = {pack_bf16(left[0], left[1]), pack_bf16(left[2], left[3]), pack_bf16(next[0], next[1]),
                           pack_bf16(next[2], next[3])};
    unsigned b[4];
#pragma unroll
    for (int n = 0; n < D / 8; n += 2) {
      load_rows<D>(b, right, first + step * 16, n * 8);
      mma_bf16(sum[n], a, b);
      mma_bf16(sum[n + 1], a, b + 2);
    }
  }
}

/* Rows row and row + 8 of this warp's 16, times factor[0] and factor[1], where they exist. */
template <int D>
DEVICE void store_rows(bf16 *to, int64_t stride, int64_t row, int64_t rows, int64_t width, const float sum[][4],
                       const float *factor) {
  const int t = lane_of_thread() % 4;
#pragma unroll
  for (int half = 0; half < 2; half++)
    if (row + 8 * half < rows)
#pragma unroll
      for (int n = 0; n < D / 8; n++)
        if (n * 8 < width)
          *(unsigned *)(to + (row + 8 * half) * stride + n * 8 + 2 * t) =
              pack_bf16(sum[n][2 * half] * factor[half], sum[n][2 * half + 1] * factor[half]);
}

/* Over the four lanes that share a row. */
DEVICE float row_max(float x) {
  x = fmaxf(x, shuffle_xor(x, 1));
  return fmaxf(x, shuffle_xor(x, 2));
}
DEVICE float row_sum(float x) {
  x += shuffle_xor(x, 1);
  return x + shuffle_xor(x, 2);
}

DEVICE int64_t tiles_for(int64_t rows) {
  return (rows + TILE - 1) / TILE;
}
/* Keys that some query of the tile at `first` sees. */
DEVICE int64_t keys_seen(const struct attention *call, const struct head *head, int64_t first) {
  const int64_t last = first + TILE < call->queries ? first + TILE : call->queries;
  return visible_keys(call, head->sample, last - 1);
}

/* One tile of scores joins the running softmax of the warp's rows; scores become probabilities relative to `largest`.
 */
template <int D>
DEVICE void join_tile(float score[][4], const int64_t *visible, int64_t key, float factor, float *largest, float *sum,
                      float out[][4]) {
  const int t = lane_of_thread() % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float top = largest[half], total = 0;
#pragma unroll
    for (int n = 0; n < TILE / 8; n++)
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; i++) {
        score[n][i] = key + n * 8 + 2 * t + i % 2 < visible[half] ? score[n][i] * factor : MASKED;
        top = fmaxf(top, score[n][i]);
      }
    top = row_max(top);
    const float shrink = fast_exp2(largest[half] - top);
#pragma unroll
    for (int n = 0; n < TILE / 8; n++)
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; i++) {
        score[n][i] = fast_exp2(score[n][i] - top);
        total += score[n][i];
      }
    largest[half] = top;
    sum[half] = sum[half] * shrink + total;
#pragma unroll
    for (int n = 0; n < D / 8; n++) {
      out[n][2 * half] *= shrink;
      out[n][2 * half + 1] *= shrink;
    }
  }
}

/* Shared memory: queries, then two stages of keys and values. */
template <int D> KERNEL_THREADS(THREADS, D <= 64 ? 3 : 2) void tensor_forward(struct attention call) {
  SHARED_DYNAMIC(bf16, memory);
  constexpr int TILE_ELEMENTS = TILE * (D + PIECE);
  bf16 *queries = memory, *stages = memory + TILE_ELEMENTS;
  const struct head head = head_of(&call, blockIdx.x);
  const int64_t first = (int64_t)blockIdx.y * TILE, width = call.head_width;
  const bf16 *k = (const bf16 *)call.k + head.kv, *v = (const bf16 *)call.v + head.kv;
  const int64_t tiles = tiles_for(keys_seen(&call, &head, first));
  fetch_tile<THREADS, TILE, D>(queries, (const bf16 *)call.q + head.q + first * call.q_stride, call.q_stride,
                               call.queries - first, width);
  fetch_tile<THREADS, TILE, D>(stages, k, call.kv_stride, call.tokens, width);
  fetch_tile<THREADS, TILE, D>(stages + TILE_ELEMENTS, v, call.kv_stride, call.tokens, width);
  copy_commit();
  const int64_t row = first + warp_of_thread() * 16 + lane_of_thread() / 4;
  const int64_t visible[2] = {visible_keys(&call, head.sample, row), visible_keys(&call, head.sample, row + 8)};
  const float factor = LOG2_E / sqrtf((float)width);
  float out[D / 8][4], largest[2] = {MASKED, MASKED}, sum[2] = {0, 0};
  clear_fragments<D / 8>(out);
  for (int64_t tile = 0; tile < tiles; tile++) {
    const int64_t next = (tile + 1) * TILE;
    bf16 *after = stages + (tile + 1) % 2 * 2 * TILE_ELEMENTS;
    if (tile + 1 < tiles) {
      fetch_tile<THREADS, TILE, D>(after, k + next * call.kv_stride, call.kv_stride, call.tokens - next, width);
      fetch_tile<THREADS, TILE, D>(after + TILE_ELEMENTS, v + next * call.kv_stride, call.kv_stride, call.tokens - next,
                                   width);
    }
    copy_commit();
    copy_wait<1>();
    block_barrier();
    const bf16 *keys = stages + tile % 2 * 2 * TILE_ELEMENTS;
    float score[TILE / 8][4];
    multiply_rows<D, TILE>(score, queries, warp_of_thread() * 16, keys, 0);
    join_tile<D>(score, visible, tile * TILE, factor, largest, sum, out);
    add_product<D, TILE>(out, score, keys + TILE_ELEMENTS, 0);
    block_barrier();
  }
  sum[0] = row_sum(sum[0]);
  sum[1] = row_sum(sum[1]);
  const float inverse[2] = {1 / sum[0], 1 / sum[1]};
  store_rows<D>((bf16 *)call.out + head.out, call.heads * width, row, call.queries, width, out, inverse);
  for (int half = 0; half < 2; half++)
    if (call.lse && lane_of_thread() % 4 == 0 && row + 8 * half < call.queries)
      call.lse[head.lse + row + 8 * half] = (largest[half] + log2f(sum[half])) * LN_2;
}

/* D of a query, by the four lanes that share its row. */
DEVICE float dot_output(const struct attention *call, const struct head *head, int64_t query) {
  const int64_t at = head->out + query * call->heads * call->head_width;
  float out[PIECE], dout[PIECE], sum = 0;
  for (int64_t c = lane_of_thread() % 4 * PIECE; query < call->queries && c < call->head_width; c += 4 * PIECE) {
    load<PIECE>((const bf16 *)call->out, at + c, out);
    load<PIECE>((const bf16 *)call->dout, at + c, dout);
#pragma unroll
    for (int n = 0; n < PIECE; n++)
      sum += out[n] * dout[n];
  }
  return row_sum(sum);
}

/* P of a group of keys in place of scores, and dS / scale = P (dP - mean) in place of dP; rows are queries. */
DEVICE void differentiate_rows(float p[][4], float dp[][4], const int64_t *visible, int64_t key, float factor,
                               const float *lse, const float *mean) {
  const int t = lane_of_thread() % 4;
#pragma unroll
  for (int n = 0; n < GROUP / 8; n++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const bool seen = key + n * 8 + 2 * t + i % 2 < visible[i / 2];
      p[n][i] = seen ? fast_exp2(p[n][i] * factor - lse[i / 2]) : 0;
      dp[n][i] = p[n][i] * (dp[n][i] - mean[i / 2]);
    }
}

/* dq, and D of each query for the kernel after it. Shared memory: queries, douts, then two stages of keys and values.
 */
template <int D> KERNEL_THREADS(THREADS, 2) void tensor_query_gradients(struct attention call, float *mean_of) {
  SHARED_DYNAMIC(bf16, memory);
  constexpr int TILE_ELEMENTS = TILE * (D + PIECE);
  bf16 *queries = memory, *douts = memory + TILE_ELEMENTS, *stages = memory + 2 * TILE_ELEMENTS;
  const struct head head = head_of(&call, blockIdx.x);
  const int64_t first = (int64_t)blockIdx.y * TILE, width = call.head_width, out_stride = call.heads * width;
  const bf16 *k = (const bf16 *)call.k + head.kv, *v = (const bf16 *)call.v + head.kv;
  const int64_t tiles = tiles_for(keys_seen(&call, &head, first)), left = call.queries - first;
  fetch_tile<THREADS, TILE, D>(queries, (const bf16 *)call.q + head.q + first * call.q_stride, call.q_stride, left,
                               width);
  fetch_tile<THREADS, TILE, D>(douts, (const bf16 *)call.dout + head.out + first * out_stride, out_stride, left, width);
  fetch_tile<THREADS, TILE, D>(stages, k, call.kv_stride, call.tokens, width);
  fetch_tile<THREADS, TILE, D>(stages + TILE_ELEMENTS, v, call.kv_stride, call.tokens, width);
  copy_commit();
  const int own = warp_of_thread() * 16;
  const int64_t row = first + own + lane_of_thread() / 4;
  const float scale = 1 / sqrtf((float)width), factor = LOG2_E * scale;
  int64_t visible[2];
  float lse[2], mean[2], dq[D / 8][4];
  for (int half = 0; half < 2; half++) {
    const int64_t query = row + 8 * half;
    const bool exists = query < call.queries;
    visible[half] = exists ? visible_keys(&call, head.sample, query) : 0;
    lse[half] = exists ? LOG2_E * call.lse[head.lse + query] : 0;
    mean[half] = dot_output(&call, &head, query);
    if (exists && lane_of_thread() % 4 == 0)
      mean_of[head.lse + query] = mean[half];
  }
  clear_fragments<D / 8>(dq);
  for (int64_t tile = 0; tile < tiles; tile++) {
    const int64_t next = (tile + 1) * TILE;
    bf16 *after = stages + (tile + 1) % 2 * 2 * TILE_ELEMENTS;
    if (tile + 1 < tiles) {
      fetch_tile<THREADS, TILE, D>(after, k + next * call.kv_stride, call.kv_stride, call.tokens - next, width);
      fetch_tile<THREADS, TILE, D>(after + TILE_ELEMENTS, v + next * call.kv_stride, call.kv_stride, call.tokens - next,
                                   width);
    }
    copy_commit();
    copy_wait<1>();
    block_barrier();
    const bf16 *keys = stages + tile % 2 * 2 * TILE_ELEMENTS, *values = keys + TILE_ELEMENTS;
#pragma unroll 1
    for (int group = 0; group < TILE; group += GROUP) {
      float p[GROUP / 8][4], dp[GROUP / 8][4];
      multiply_rows<D, GROUP>(p, queries, own, keys, group);
      multiply_rows<D, GROUP>(dp, douts, own, values, group);
      differentiate_rows(p, dp, visible, tile * TILE + group, factor, lse, mean);
      add_product<D, GROUP>(dq, dp, keys, group);
    }
    block_barrier();
  }
  const float scales[2] = {scale, scale};
  store_rows<D>((bf16 *)call.dq + head.q, call.q_stride, row, call.queries, width, dq, scales);
}

/* The same with keys as rows: visibility, lse and mean go with the columns. `last` is one more than the last query. */
DEVICE void differentiate_columns(const struct attention *call, const struct head *head, float p[][4], float dp[][4],
                                  int64_t key, int64_t query, float factor, const float *mean_of) {
  const int t = lane_of_thread() % 4;
#pragma unroll
  for (int n = 0; n < GROUP / 8; n++)
#pragma unroll
    for (int side = 0; side < 2; side++) {
      const int64_t column = query + n * 8 + 2 * t + side;
      const bool exists = column < call->queries;
      const int64_t visible = exists ? visible_keys(call, head->sample, column) : 0;
      const float lse = exists ? LOG2_E * call->lse[head->lse + column] : 0;
      const float mean = exists ? mean_of[head->lse + column] : 0;
#pragma unroll
      for (int i = side; i < 4; i += 2) {
        p[n][i] = key + i / 2 * 8 < visible ? fast_exp2(p[n][i] * factor - lse) : 0;
        dp[n][i] = p[n][i] * (dp[n][i] - mean);
      }
    }
}

/* dk and dv. Shared memory: keys, values, then two stages of queries and douts. */
template <int D>
KERNEL_THREADS(THREADS, D <= 64 ? 2 : 1)
void tensor_key_gradients(struct attention call, const float *mean_of) {
  SHARED_DYNAMIC(bf16, memory);
  constexpr int TILE_ELEMENTS = TILE * (D + PIECE);
  bf16 *keys = memory, *values = memory + TILE_ELEMENTS, *stages = memory + 2 * TILE_ELEMENTS;
  const struct head head = head_of(&call, blockIdx.x);
  const int64_t first = (int64_t)blockIdx.y * TILE, width = call.head_width, out_stride = call.heads * width;
  const bf16 *q = (const bf16 *)call.q + head.q, *dout = (const bf16 *)call.dout + head.out;
  const int64_t tiles = tiles_for(call.queries), left = call.tokens - first;
  const int64_t begin = call.causal && !call.position ? first / TILE : 0; /* no earlier query sees these keys */
  fetch_tile<THREADS, TILE, D>(keys, (const bf16 *)call.k + head.kv + first * call.kv_stride, call.kv_stride, left,
                               width);
  fetch_tile<THREADS, TILE, D>(values, (const bf16 *)call.v + head.kv + first * call.kv_stride, call.kv_stride, left,
                               width);
  const int64_t start = begin * TILE;
  fetch_tile<THREADS, TILE, D>(stages, q + start * call.q_stride, call.q_stride, call.queries - start, width);
  fetch_tile<THREADS, TILE, D>(stages + TILE_ELEMENTS, dout + start * out_stride, out_stride, call.queries - start,
                               width);
  copy_commit();
  const int own = warp_of_thread() * 16;
  const int64_t row = first + own + lane_of_thread() / 4;
  const float scale = 1 / sqrtf((float)width), factor = LOG2_E * scale;
  float dk[D / 8][4], dv[D / 8][4];
  clear_fragments<D / 8>(dk);
  clear_fragments<D / 8>(dv);
  for (int64_t tile = begin; tile < tiles; tile++) {
    const int64_t next = (tile + 1) * TILE;
    bf16 *after = stages + (tile + 1 - begin) % 2 * 2 * TILE_ELEMENTS;
    if (tile + 1 < tiles) {
      fetch_tile<THREADS, TILE, D>(after, q + next * call.q_stride, call.q_stride, call.queries - next, width);
      fetch_tile<THREADS, TILE, D>(after + TILE_ELEMENTS, dout + next * out_stride, out_stride, call.queries - next,
                                   width);
    }
    copy_commit();
    copy_wait<1>();
    block_barrier();
    const bf16 *queries = stages + (tile - begin) % 2 * 2 * TILE_ELEMENTS, *douts = queries + TILE_ELEMENTS;
#pragma unroll 1
    for (int group = 0; group < TILE; group += GROUP) {
      float p[GROUP / 8][4], dp[GROUP / 8][4];
      multiply_rows<D, GROUP>(p, keys, own, queries, group);
      multiply_rows<D, GROUP>(dp, values, own, douts, group);
      differentiate_columns(&call, &head, p, dp, row, tile * TILE + group, factor, mean_of);
      add_product<D, GROUP>(dv, p, douts, group);
      add_product<D, GROUP>(dk, dp, queries, group);
    }
    block_barrier();
  }
  const float scales[2] = {scale, scale}, ones[2] = {1, 1};
  store_rows<D>((bf16 *)call.dk + head.kv, call.kv_stride, row, call.tokens, width, dk, scales);
  store_rows<D>((bf16 *)call.dv + head.kv, call.kv_stride, row, call.tokens, width, dv, ones);
}

/* ---- host side */

bool attention_has_tensor_form(const struct attention *call) {
  return call->dtype == DTYPE_BF16 && call->head_width % PIECE == 0 && call->head_width <= 128 &&
         call->q_stride % PIECE == 0 && call->kv_stride % PIECE == 0 &&
         aligned((const char *)call->q, (const char *)call->k, (const char *)call->v, (const char *)call->out) &&
         aligned((const char *)call->dout, (const char *)call->dq, (const char *)call->dk, (const char *)call->dv);
}

static dim3 grid_of(const struct attention *call, int64_t rows) {
  return dim3((unsigned)(call->batch * call->heads), blocks_for(rows, TILE));
}
static size_t tile_bytes(int d, int tiles) {
  return (size_t)(tiles * TILE * (d + PIECE)) * sizeof(bf16);
}

/* Runs the statement with D the next width that there is code for. */
#define WITH_WIDTH(width, ...)                                                                                         \
  do {                                                                                                                 \
    if ((width) <= 32) {                                                                                               \
      constexpr int D = 32;                                                                                            \
      __VA_ARGS__;                                                                                                     \
    } else if ((width) <= 64) {                                                                                        \
      constexpr int D = 64;                                                                                            \
      __VA_ARGS__;                                                                                                     \
    } else if ((width) <= 80) {                                                                                        \
      constexpr int D = 80;                                                                                            \
      __VA_ARGS__;                                                                                                     \
    } else {                                                                                                           \
      constexpr int D = 128;                                                                                           \
      __VA_ARGS__;                                                                                                     \
    }                                                                                                                  \
  } while (0)

void attention_tensor_forward(struct cuda_device *cuda, const struct attention *call) {
  WITH_WIDTH(call->head_width,
             LAUNCH((tensor_forward<D>), grid_of(call, call->queries), THREADS, tile_bytes(D, 5), cuda, *call));
}

void attention_tensor_backward(struct cuda_device *cuda, const struct attention *call, float *mean_of) {
  WITH_WIDTH(call->head_width, {
    LAUNCH((tensor_query_gradients<D>), grid_of(call, call->queries), THREADS, tile_bytes(D, 6), cuda, *call, mean_of);
    LAUNCH((tensor_key_gradients<D>), grid_of(call, call->tokens), THREADS, tile_bytes(D, 6), cuda, *call, mean_of);
  });
}

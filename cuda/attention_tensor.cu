/* Softmax attention by tensor cores: bf16 operands, fp32 accumulation; attention.cu has the formulas.
 *
 * A block of 4 warps owns 64 rows of one head, 16 per warp, and walks the other side in tiles of 64 rows, which arrive
 * in shared memory while the tile before is worked on. Forward: online softmax, scores never leave registers. Backward:
 * one kernel owns queries (dq), one owns keys (dk, dv, from transposed scores), so nothing is added across blocks and
 * the result is the same each time. A warp leaves out rows that do not exist and keys, 16 at a time, that none of its
 * rows sees. The blocks of a head are neighbours in the grid, so that what all of them read comes from memory once.
 * Rows in shared memory are 16 bytes longer than they need be, which keeps eight of them on different banks. */
#include "cuda/attention.h"
#include "cuda/tile.h"

enum { WARPS = 4, THREADS = WARPS * WARP, TILE = 64, GROUP = 32 };

/* The left operands of a warp's 16 rows from `first`, over D; held in registers where there is room. */
template <int D, bool HELD> struct left_rows {
  const bf16 *tile;
  int first;
  unsigned held[HELD ? D / 16 : 1][4];
};
template <int D, bool HELD> DEVICE void hold(struct left_rows<D, HELD> *left) {
#pragma unroll
  for (int step = 0; HELD && step < D / 16; step++)
    load_left<D>(left->held[step], left->tile, left->first, step * 16);
}

/* product[n] (16 x 8 each) = 16 rows of `left` . rows of `right` from `first`, over D; of COLUMNS rows those before
 * `limit`, the rest is 0. */
template <int COLUMNS, int D, bool HELD>
DEVICE void multiply_rows(float product[][4], const struct left_rows<D, HELD> *left, const bf16 *right, int first,
                          int limit) {
  clear_fragments<COLUMNS / 8>(product);
#pragma unroll
  for (int step = 0; step < D / 16; step++) {
    unsigned again[4], b[4];
    if constexpr (!HELD)
      load_left<D>(again, left->tile, left->first, step * 16);
    const unsigned *a = HELD ? left->held[HELD ? step : 0] : again;
#pragma unroll
    for (int n = 0; n < COLUMNS / 8; n += 2)
      if (n * 8 < limit) {
        load_rows_as_columns<D>(b, right, first + n * 8, step * 16);
        mma_bf16(product[n], a, b);
        mma_bf16(product[n + 1], a, b + 2);
      }
  }
}

/* sum[D/8] += factor [16, COLUMNS] . rows of `right` from `first`; of COLUMNS rows those before `limit`. */
template <int D, int COLUMNS>
DEVICE void add_product(float sum[][4], const float factor[][4], const bf16 *right, int first, int limit) {
#pragma unroll
  for (int step = 0; step < COLUMNS / 16; step++) {
    if (step * 16 >= limit)
      continue;
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
/* Keys that some query of the `count` from `first` sees. */
DEVICE int keys_seen(const struct attention *call, const struct head *head, int64_t first, int count) {
  const int64_t last = first + count < call->queries ? first + count : call->queries;
  return first < last ? (int)visible_keys(call, head->sample, last - 1) : 0;
}

/* A stage: the same rows of two tensors that go together, keys and values or queries and douts. */
struct stage {
  const bf16 *rows[2];
  int64_t stride[2], count, width;
};
template <int D> DEVICE void fetch_stage(bf16 *tiles, const struct stage *stage, int64_t tile) {
  const int64_t first = tile * TILE;
#pragma unroll
  for (int i = 0; i < 2; i++)
    fetch_tile<THREADS, TILE, D>(tiles + i * TILE * (D + PIECE), stage->rows[i] + first * stage->stride[i],
                                 stage->stride[i], stage->count - first, stage->width);
  copy_commit();
}

/* The stage of a tile, when it is there for all; the next one is on its way where there are two STAGES. The first one
 * was asked for before. */
template <int D, int STAGES>
DEVICE const bf16 *arrive_stage(bf16 *stages, const struct stage *stage, int tile, int begin, int tiles) {
  constexpr int STAGE_ELEMENTS = 2 * TILE * (D + PIECE);
  if (STAGES == 1 && tile > begin)
    fetch_stage<D>(stages, stage, tile);
  if (STAGES == 2 && tile + 1 < tiles)
    fetch_stage<D>(stages + (tile + 1 - begin) % 2 * STAGE_ELEMENTS, stage, tile + 1);
  else if (STAGES == 2)
    copy_commit();
  copy_wait<STAGES - 1>();
  block_barrier();
  return stages + (tile - begin) % STAGES * STAGE_ELEMENTS;
}

/* Scores of keys that their query does not see. */
DEVICE void mask_tile(float score[][4], const int *visible, int key) {
  const int t = lane_of_thread() % 4;
#pragma unroll
  for (int n = 0; n < TILE / 8; n++)
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (key + n * 8 + 2 * t + i % 2 >= visible[i / 2])
        score[n][i] = MASKED;
}

/* One tile of scores joins the running softmax of the warp's rows; scores become probabilities relative to `largest`,
 * which is a score, too: factor > 0 makes units of log2 of them. */
template <int D> DEVICE void join_tile(float score[][4], float factor, float *largest, float *sum, float out[][4]) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float top = largest[half], total = 0;
#pragma unroll
    for (int n = 0; n < TILE / 8; n++)
      top = fmaxf(top, fmaxf(score[n][2 * half], score[n][2 * half + 1]));
    top = row_max(top);
    const float shrink = fast_exp2((largest[half] - top) * factor), offset = top * factor;
#pragma unroll
    for (int n = 0; n < TILE / 8; n++)
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; i++) {
        score[n][i] = fast_exp2(score[n][i] * factor - offset);
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
  bf16 *stages = memory + TILE_ELEMENTS;
  int64_t first;
  const struct head head = head_of_block(&call, call.queries, TILE, &first);
  const struct stage stage = {{(const bf16 *)call.k + head.kv, (const bf16 *)call.v + head.kv},
                              {call.kv_stride, call.kv_stride},
                              call.tokens,
                              call.head_width};
  const int own = warp_of_thread() * 16, tiles = (int)tiles_for(keys_seen(&call, &head, first, TILE));
  fetch_tile<THREADS, TILE, D>(memory, (const bf16 *)call.q + head.q + first * call.q_stride, call.q_stride,
                               call.queries - first, call.head_width);
  fetch_stage<D>(stages, &stage, 0);
  const int64_t row = first + own + lane_of_thread() / 4;
  const int visible[2] = {(int)visible_keys(&call, head.sample, row), (int)visible_keys(&call, head.sample, row + 8)};
  const int seen = keys_seen(&call, &head, first + own, 16), seen_by_all = keys_seen(&call, &head, first + own, 1);
  const float factor = LOG2_E / sqrtf((float)call.head_width);
  struct left_rows<D, true> queries = {
    memory, own, {
    }
  };
  float out[D / 8][4], largest[2] = {MASKED, MASKED}, sum[2] = {0, 0};
  clear_fragments<D / 8>(out);
  for (int tile = 0; tile < tiles; tile++) {
    const bf16 *keys = arrive_stage<D, 2>(stages, &stage, tile, 0, tiles);
    if (tile == 0)
      hold(&queries);
    const int limit = seen - tile * TILE;
    if (limit > 0) {
      float score[TILE / 8][4];
      multiply_rows<TILE>(score, &queries, keys, 0, limit);
      if (seen_by_all < (tile + 1) * TILE)
        mask_tile(score, visible, tile * TILE);
      join_tile<D>(score, factor, largest, sum, out);
      add_product<D, TILE>(out, score, keys + TILE_ELEMENTS, 0, limit);
    }
    block_barrier();
  }
  sum[0] = row_sum(sum[0]);
  sum[1] = row_sum(sum[1]);
  const float inverse[2] = {1 / sum[0], 1 / sum[1]};
  store_rows<D>((bf16 *)call.out + head.out, call.heads * call.head_width, row, call.queries, call.head_width, out,
                inverse);
  for (int half = 0; half < 2; half++)
    if (call.lse && lane_of_thread() % 4 == 0 && row + 8 * half < call.queries)
      call.lse[head.lse + row + 8 * half] = (largest[half] * factor + log2f(sum[half])) * LN_2;
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
DEVICE void differentiate_rows(float p[][4], float dp[][4], const int *visible, int key, float factor, const float *lse,
                               const float *mean) {
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

/* What the rows row and row + 8 of queries have: keys seen, log-sum-exp in units of log2, D, which is kept in mean_of
 * for the kernel after it. */
DEVICE void query_terms(const struct attention *call, const struct head *head, int64_t row, int *visible, float *lse,
                        float *mean, float *mean_of) {
  for (int half = 0; half < 2; half++) {
    const int64_t query = row + 8 * half;
    const bool exists = query < call->queries;
    visible[half] = exists ? (int)visible_keys(call, head->sample, query) : 0;
    lse[half] = exists ? LOG2_E * call->lse[head->lse + query] : 0;
    mean[half] = dot_output(call, head, query);
    if (exists && lane_of_thread() % 4 == 0)
      mean_of[head->lse + query] = mean[half];
  }
}

/* Stages of a backward kernel: what all GPUs have is 99 KiB for a block. */
template <int D> static constexpr int BACKWARD_STAGES = D <= 80 ? 2 : 1;

/* dq, and D of each query. Shared memory: queries, douts, then the stages of keys and values. */
template <int D> KERNEL_THREADS(THREADS, 2) void tensor_query_gradients(struct attention call, float *mean_of) {
  SHARED_DYNAMIC(bf16, memory);
  constexpr int TILE_ELEMENTS = TILE * (D + PIECE);
  bf16 *stages = memory + 2 * TILE_ELEMENTS;
  int64_t first;
  const struct head head = head_of_block(&call, call.queries, TILE, &first);
  const int64_t out_stride = call.heads * call.head_width;
  const struct stage owned = {{(const bf16 *)call.q + head.q, (const bf16 *)call.dout + head.out},
                              {call.q_stride, out_stride},
                              call.queries,
                              call.head_width},
                     stage = {{(const bf16 *)call.k + head.kv, (const bf16 *)call.v + head.kv},
                              {call.kv_stride, call.kv_stride},
                              call.tokens,
                              call.head_width};
  const int own = warp_of_thread() * 16, tiles = (int)tiles_for(keys_seen(&call, &head, first, TILE));
  fetch_stage<D>(memory, &owned, first / TILE);
  fetch_stage<D>(stages, &stage, 0);
  const int64_t row = first + own + lane_of_thread() / 4;
  const int seen = keys_seen(&call, &head, first + own, 16);
  const float scale = 1 / sqrtf((float)call.head_width), factor = LOG2_E * scale;
  int visible[2];
  float lse[2], mean[2], dq[D / 8][4];
  query_terms(&call, &head, row, visible, lse, mean, mean_of);
  struct left_rows<D, D <= 80> queries = {memory, own, {}}, douts = {
    memory + TILE_ELEMENTS, own, {
    }
  };
  clear_fragments<D / 8>(dq);
  for (int tile = 0; tile < tiles; tile++) {
    const bf16 *keys = arrive_stage<D, BACKWARD_STAGES<D>>(stages, &stage, tile, 0, tiles);
    const bf16 *values = keys + TILE_ELEMENTS;
    if (tile == 0) {
      hold(&queries);
      hold(&douts);
    }
#pragma unroll 1
    for (int group = 0; group < TILE && tile * TILE + group < seen; group += GROUP) {
      float p[GROUP / 8][4], dp[GROUP / 8][4];
      const int limit = seen - tile * TILE - group;
      multiply_rows<GROUP>(p, &queries, keys, group, limit);
      multiply_rows<GROUP>(dp, &douts, values, group, limit);
      differentiate_rows(p, dp, visible, tile * TILE + group, factor, lse, mean);
      add_product<D, GROUP>(dq, dp, keys, group, limit);
    }
    block_barrier();
  }
  const float scales[2] = {scale, scale};
  store_rows<D>((bf16 *)call.dq + head.q, call.q_stride, row, call.queries, call.head_width, dq, scales);
}

/* What a group of queries has for its columns: log-sum-exp, D, how many queries there are, and how many keys from the
 * lane's first one on query 0 sees, `more` of them with each further query. */
struct columns {
  const float *lse, *mean;
  int count, visible, more;
};

/* The same with keys as rows. Queries that do not exist see nothing; the last one is read in their place. */
DEVICE void differentiate_columns(const struct columns *columns, float p[][4], float dp[][4], float factor) {
  const int t = lane_of_thread() % 4;
#pragma unroll
  for (int n = 0; n < GROUP / 8; n++)
#pragma unroll
    for (int side = 0; side < 2; side++) {
      const int column = n * 8 + 2 * t + side, at = column < columns->count ? column : columns->count - 1;
      const int visible = column < columns->count ? columns->visible + column * columns->more : 0;
      const float lse = LOG2_E * columns->lse[at], mean = columns->mean[at];
#pragma unroll
      for (int i = side; i < 4; i += 2) {
        p[n][i] = i / 2 * 8 < visible ? fast_exp2(p[n][i] * factor - lse) : 0;
        dp[n][i] = p[n][i] * (dp[n][i] - mean);
      }
    }
}

/* dk and dv. Shared memory: keys, values, then the stages of queries and douts. */
template <int D>
KERNEL_THREADS(THREADS, D <= 64 ? 2 : 1)
void tensor_key_gradients(struct attention call, const float *mean_of) {
  SHARED_DYNAMIC(bf16, memory);
  constexpr int TILE_ELEMENTS = TILE * (D + PIECE);
  bf16 *stages = memory + 2 * TILE_ELEMENTS;
  int64_t first;
  const struct head head = head_of_block(&call, call.tokens, TILE, &first);
  const int64_t out_stride = call.heads * call.head_width;
  const struct stage owned = {{(const bf16 *)call.k + head.kv, (const bf16 *)call.v + head.kv},
                              {call.kv_stride, call.kv_stride},
                              call.tokens,
                              call.head_width},
                     stage = {{(const bf16 *)call.q + head.q, (const bf16 *)call.dout + head.out},
                              {call.q_stride, out_stride},
                              call.queries,
                              call.head_width};
  const int own = warp_of_thread() * 16;
  const bool exists = first + own < call.tokens, square = call.causal && !call.position;
  const int begin = square ? (int)(first / TILE) : 0, tiles = (int)tiles_for(call.queries); /* where any is seen */
  fetch_stage<D>(memory, &owned, first / TILE);
  fetch_stage<D>(stages, &stage, begin);
  const int64_t row = first + own + lane_of_thread() / 4, visible = visible_keys(&call, head.sample, 0) - row;
  const float scale = 1 / sqrtf((float)call.head_width), factor = LOG2_E * scale;
  struct left_rows<D, D <= 64> keys = {memory, own, {}}, values = {
    memory + TILE_ELEMENTS, own, {
    }
  };
  float dk[D / 8][4], dv[D / 8][4];
  clear_fragments<D / 8>(dk);
  clear_fragments<D / 8>(dv);
  for (int tile = begin; tile < tiles; tile++) {
    const bf16 *queries = arrive_stage<D, BACKWARD_STAGES<D>>(stages, &stage, tile, begin, tiles);
    const bf16 *douts = queries + TILE_ELEMENTS;
    if (tile == begin) {
      hold(&keys);
      hold(&values);
    }
#pragma unroll 1
    for (int group = 0; exists && group < TILE; group += GROUP) {
      const int query = tile * TILE + group, limit = (int)call.queries - query;
      if (limit <= 0 || (square && query + GROUP <= first + own))
        continue;
      const struct columns columns = {call.lse + head.lse + query, mean_of + head.lse + query, limit,
                                      (int)visible + (square ? query : 0), square};
      float p[GROUP / 8][4], dp[GROUP / 8][4];
      multiply_rows<GROUP>(p, &keys, queries, group, limit);
      multiply_rows<GROUP>(dp, &values, douts, group, limit);
      differentiate_columns(&columns, p, dp, factor);
      add_product<D, GROUP>(dv, p, douts, group, limit);
      add_product<D, GROUP>(dk, dp, queries, group, limit);
    }
    block_barrier();
  }
  const float scales[2] = {scale, scale}, ones[2] = {1, 1};
  store_rows<D>((bf16 *)call.dk + head.kv, call.kv_stride, row, call.tokens, call.head_width, dk, scales);
  store_rows<D>((bf16 *)call.dv + head.kv, call.kv_stride, row, call.tokens, call.head_width, dv, ones);
}

/* ---- host side */

bool attention_has_tensor_form(const struct attention *call) {
  return call->dtype == DTYPE_BF16 && call->head_width % PIECE == 0 && call->head_width <= 128 &&
         call->q_stride % PIECE == 0 && call->kv_stride % PIECE == 0 &&
         aligned((const char *)call->q, (const char *)call->k, (const char *)call->v, (const char *)call->out) &&
         aligned((const char *)call->dout, (const char *)call->dq, (const char *)call->dk, (const char *)call->dv);
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
  WITH_WIDTH(call->head_width, LAUNCH((tensor_forward<D>), attention_blocks(call, call->queries, TILE), THREADS,
                                      tile_bytes(D, 5), cuda, *call));
}

void attention_tensor_backward(struct cuda_device *cuda, const struct attention *call, float *mean_of) {
  WITH_WIDTH(call->head_width, {
    LAUNCH((tensor_query_gradients<D>), attention_blocks(call, call->queries, TILE), THREADS,
           tile_bytes(D, 2 + 2 * BACKWARD_STAGES<D>), cuda, *call, mean_of);
    LAUNCH((tensor_key_gradients<D>), attention_blocks(call, call->tokens, TILE), THREADS,
           tile_bytes(D, 2 + 2 * BACKWARD_STAGES<D>), cuda, *call, mean_of);
  });
}

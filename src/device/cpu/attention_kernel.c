/* One head of softmax attention, forward and backward.
 *
 * Query rows go by blocks of TILE_ROWS; the last block is filled up with zero rows. A block's scores stay in the
 * first-level cache from the product with the keys to the product with the values. Where the processor multiplies bf16,
 * operands are pairs (tile.h): keys transposed for the scores, values interleaved by rows for the output, probabilities
 * rounded to bf16. */
#include "device/cpu/attention.h"
#include "device/cpu/kernels.h"
#include "device/cpu/tile.h"
#include "device/cpu/vexp.h"
#include <math.h>

_Static_assert((int)ATTENTION_BLOCK == (int)TILE_ROWS, "the layout of attention.h is made for this tile");

/* Finite, so that a masked score minus a largest score is a number; its exponential is 0. */
#define MASKED_SCORE (-1e30f)

/* One (sample, head): what is visible and where its rows begin, in elements. */
struct head {
  const struct attention *call;
  struct attention_layout layout;
  int64_t sample, number;
  int64_t q_start, kv_start, out_start;
  float scale;
};

TILE_INLINE struct head head_of(const struct attention *call, int64_t sample, int64_t number) {
  int64_t d = call->head_width;
  return (struct head){.call = call,
                       .layout = attention_layout(call),
                       .sample = sample,
                       .number = number,
                       .q_start = sample * call->queries * call->q_stride + number * d,
                       .kv_start = sample * call->tokens * call->kv_stride + number * d,
                       .out_start = (sample * call->queries * call->heads + number) * d,
                       .scale = 1.0f / sqrtf((float)d)};
}

TILE_INLINE struct tile_source rows_of(const struct head *head, const void *x, int64_t start, int64_t stride,
                                       int64_t rows) {
  return (struct tile_source){head->call->dtype, x, start, stride, rows, head->call->head_width};
}

/* Keys that the query sees; none for a row that only fills a block up. */
TILE_INLINE int64_t visible_keys(const struct head *head, int64_t query) {
  const struct attention *call = head->call;
  if (query >= call->queries)
    return 0;
  if (!call->causal)
    return call->tokens;
  return (call->position ? call->position[head->sample] : (int32_t)query) + 1;
}

/* Keys that any query of the block at `first` can see. */
TILE_INLINE int64_t block_keys(const struct head *head, int64_t first) {
  const struct attention *call = head->call;
  bool square = call->causal && !call->position;
  return square && first + TILE_ROWS < call->tokens ? first + TILE_ROWS : call->tokens;
}

TILE_INLINE int64_t vectors_for(int64_t count) {
  return (count + LANES - 1) / LANES;
}

/* Scores of keys that are not visible, up to a whole number of vectors. */
TILE_INLINE void mask_scores(float *score, int64_t visible, int64_t vectors) {
  for (int64_t n = visible / LANES; n < vectors; n++) {
    vint seen = TILE_LANE < (int32_t)(visible - n * LANES);
    vint kept = (vint)v_load(score + n * LANES) & seen, masked = (vint)v_set(MASKED_SCORE) & ~seen;
    v_store(score + n * LANES, (vfloat)(kept | masked));
  }
}

/* Words from one packed row of d elements to the next. */
TILE_INLINE int64_t packed_row(bool pairs, const struct head *head) {
  return tile_round_up(tile_words(pairs, head->call->head_width), LANES);
}

/* result[r][t] = left[r] right[:,t] over d, for a block of rows and transposed keys or values. */
TILE_INLINE void block_product(bool pairs, const struct head *head, const float *left, const float *right,
                               int64_t vectors, float *result, int64_t result_row) {
  int64_t words = tile_words(pairs, head->call->head_width), row = packed_row(pairs, head);
  tile_multiply_row(pairs, false, vectors,
                    (struct tile_product){.steps = words,
                                          .a_row = row,
                                          .a_step = 1,
                                          .b_step = head->layout.tokens,
                                          .c_row = result_row,
                                          .a = left,
                                          .b = right,
                                          .c = result});
}

TILE_INLINE vfloat largest_lanes(const float *score, int64_t vectors) {
  vfloat top[2] = {v_load(score), v_load(score)};
  int64_t n = 1;
  for (; n + 1 < vectors; n += 2) {
    top[0] = v_max(top[0], v_load(score + n * LANES));
    top[1] = v_max(top[1], v_load(score + (n + 1) * LANES));
  }
  if (n < vectors)
    top[0] = v_max(top[0], v_load(score + n * LANES));
  return v_max(top[0], top[1]);
}

/* exp2(factor score - offset) of `vectors` vectors of a row as words into `p`; returns its sum by lanes. */
TILE_INLINE vfloat exponentials(bool pairs, const float *score, int64_t vectors, float factor, float offset, float *p) {
  vfloat sum[2] = {{0}, {0}}, by = v_set(factor), less = v_set(offset);
  int64_t n = 0;
  for (; n + 1 < vectors; n += 2) {
    vfloat first = v_exp2(v_load(score + n * LANES) * by - less),
           second = v_exp2(v_load(score + (n + 1) * LANES) * by - less);
    sum[0] += first;
    sum[1] += second;
    v_store(p + n / (pairs ? 2 : 1) * LANES, pairs ? tile_join(first, second) : first);
    if (!pairs)
      v_store(p + (n + 1) * LANES, second);
  }
  if (n < vectors) {
    vfloat first = v_exp2(v_load(score + n * LANES) * by - less);
    sum[0] += first;
    v_store(p + n / (pairs ? 2 : 1) * LANES, pairs ? tile_join(first, (vfloat){0}) : first);
  }
  return sum[0] + sum[1];
}

/* Softmax of a block, not normalised: p as words; largest[r] in units of the raw score. Step by step for all rows, so
 * that the reductions over the lanes of one row overlap with another's. */
TILE_INLINE void softmax_block(bool pairs, const struct head *head, int64_t first, int64_t vectors, float *score,
                               float *p, float *sum, float *largest) {
  int64_t tokens = head->layout.tokens;
  float factor = head->scale * VEXP_LOG2E;
  vfloat lanes[TILE_ROWS];
#pragma GCC unroll 6
  for (int r = 0; r < TILE_ROWS; r++) {
    mask_scores(score + r * tokens, visible_keys(head, first + r), vectors);
    lanes[r] = largest_lanes(score + r * tokens, vectors);
  }
#pragma GCC unroll 6
  for (int r = 0; r < TILE_ROWS; r++)
    largest[r] = tile_largest(lanes[r]);
#pragma GCC unroll 6
  for (int r = 0; r < TILE_ROWS; r++)
    lanes[r] = exponentials(pairs, score + r * tokens, vectors, factor, largest[r] * factor, p + r * tokens);
#pragma GCC unroll 6
  for (int r = 0; r < TILE_ROWS; r++)
    sum[r] = tile_sum(lanes[r]);
}

/* The rows that the next head of this thread will read, while this one computes: they lie far apart, and each would be
 * a miss. */
TILE_INLINE void prefetch_rows(const struct head *head, const void *x, int64_t start, int64_t stride, int64_t first,
                               int64_t total) {
  const struct attention *call = head->call;
  bool last = head->number + 1 == call->heads;
  int64_t element = call->dtype == DTYPE_F32 ? 4 : 2,
          step = last ? total * stride - head->number * call->head_width : call->head_width;
  if (last && head->sample + 1 == call->batch)
    return;
  for (int64_t row = first; row < first + TILE_ROWS && row < total; row++) {
    const char *from = (const char *)x + (start + step + row * stride) * element;
    for (int64_t byte = 0; byte < call->head_width * element; byte += 64)
      __builtin_prefetch(from + byte);
  }
}

/* The forward of a block: scores, softmax, output rows and their log-sum-exp. */
TILE_INLINE void forward_block(bool pairs, const struct head *head, int64_t first, const float *keys,
                               const float *values, float *work) {
  const struct attention *call = head->call;
  int64_t tokens = head->layout.tokens, width = head->layout.width, keys_seen = block_keys(head, first),
          vectors = vectors_for(keys_seen);
  float *q = work, *score = q + TILE_ROWS * width, *p = score + TILE_ROWS * tokens, *out = p + TILE_ROWS * tokens;
  struct tile_source rows =
      rows_of(head, call->q, head->q_start + first * call->q_stride, call->q_stride, call->queries - first);
  float sum[TILE_ROWS], largest[TILE_ROWS];
  prefetch_rows(head, call->q, head->q_start, call->q_stride, first, call->queries);
  prefetch_rows(head, call->k, head->kv_start, call->kv_stride, first, call->tokens);
  prefetch_rows(head, call->v, head->kv_start, call->kv_stride, first, call->tokens);
  tile_pack_rows(pairs, &rows, q, TILE_ROWS, packed_row(pairs, head));
  block_product(pairs, head, q, keys, vectors, score, tokens);
  softmax_block(pairs, head, first, vectors, score, p, sum, largest);
  int64_t columns = vectors_for(call->head_width);
  tile_multiply_row(pairs, false, columns,
                    (struct tile_product){.steps = tile_words(pairs, keys_seen),
                                          .a_row = tokens,
                                          .a_step = 1,
                                          .b_step = width,
                                          .c_row = width,
                                          .a = p,
                                          .b = values,
                                          .c = out});
  for (int r = 0; r < TILE_ROWS && first + r < call->queries; r++) {
    vfloat factor = v_set(1.0f / sum[r]);
    int64_t start = head->out_start + (first + r) * call->heads * call->head_width;
    for (int64_t c = 0; c < call->head_width; c += LANES)
      tile_store(call->dtype, call->out, start + c, v_load(out + r * width + c) * factor, call->head_width - c);
    if (call->lse)
      call->lse[(head->sample * call->heads + head->number) * call->queries + first + r] =
          largest[r] * head->scale + logf(sum[r]);
  }
}

TILE_INLINE void head_forward(bool pairs, const struct attention *call, int64_t sample, int64_t number, float *work) {
  struct head head = head_of(call, sample, number);
  int64_t tokens = head.layout.tokens, width = head.layout.width;
  float *keys = work, *values = keys + tokens * width;
  struct tile_source k = rows_of(&head, call->k, head.kv_start, call->kv_stride, call->tokens);
  struct tile_source v = rows_of(&head, call->v, head.kv_start, call->kv_stride, call->tokens);
  tile_pack_transposed(pairs, &k, keys, tokens);
  tile_pack_interleaved(pairs, &v, values, pairs ? tokens / 2 : tokens, width);
  for (int64_t first = 0; first < call->queries; first += TILE_ROWS)
    forward_block(pairs, &head, first, keys, values, values + tokens * width);
}

void CPU_KERNEL(cpu_kernel_attention)(const struct attention *call, int64_t sample, int64_t head, float *work) {
  if (TILE_MULTIPLIES_BF16 && call->dtype == DTYPE_BF16)
    head_forward(true, call, sample, head, work);
  else
    head_forward(false, call, sample, head, work);
}

/* Everything the backward of one head works on. With P = exp(scale q k - lse) and dP = dout v:
 *   dS = scale P (dP - sum P dP),  dq = dS k,  dk = dS' q,  dv = P' dout.
 * P and dS of up to layout.rows queries are held as words [query or pair of queries][key], the left operands of the
 * last two. */
struct backward {
  float *keys, *values, *key_rows;  /* transposed keys and values; keys interleaved by rows */
  float *q, *dout;                  /* [row][words of d], left operands of the scores and of dP */
  float *q_rows, *dout_rows;        /* interleaved by rows */
  float *p, *ds;                    /* [word of row][key] */
  float *score, *dscore, *ds_words; /* of one block: fp32, fp32, and dS as words along the keys */
  float *dq, *dk, *dv;              /* fp32 */
};

TILE_INLINE struct backward backward_of(const struct attention_layout *l, float *work) {
  struct backward b;
  int64_t rows = l->rows + 2 * TILE_ROWS;
  b.keys = work;
  b.values = b.keys + l->tokens * l->width;
  b.key_rows = b.values + l->tokens * l->width;
  b.dk = b.key_rows + l->tokens * l->width;
  b.dv = b.dk + (l->tokens + TILE_ROWS) * l->width;
  b.q = b.dv + (l->tokens + TILE_ROWS) * l->width;
  b.dout = b.q + rows * l->width;
  b.q_rows = b.dout + rows * l->width;
  b.dout_rows = b.q_rows + rows * l->width;
  b.p = b.dout_rows + rows * l->width;
  b.ds = b.p + rows * l->tokens;
  b.score = b.ds + rows * l->tokens;
  b.dscore = b.score + TILE_ROWS * l->tokens;
  b.ds_words = b.dscore + TILE_ROWS * l->tokens;
  b.dq = b.ds_words + TILE_ROWS * l->tokens;
  return b;
}

/* p = exp2(score factor - offset) in place, returns sum p dp. */
TILE_INLINE float probabilities(float *score, const float *dscore, int64_t vectors, float factor, float offset) {
  vfloat mean = {0}, by = v_set(factor), less = v_set(offset);
  for (int64_t n = 0; n < vectors; n++) {
    vfloat p = v_exp2(v_load(score + n * LANES) * by - less);
    mean += p * v_load(dscore + n * LANES);
    v_store(score + n * LANES, p);
  }
  return tile_sum(mean);
}

/* dS = scale P (dP - mean) in place of dP, and as words along the keys. */
TILE_INLINE void score_gradients(bool pairs, const float *p, float *dscore, int64_t vectors, float scale, float mean,
                                 float *words) {
  for (int64_t n = 0; n < vectors; n += 2) {
    vfloat ds[2] = {{0}, {0}};
    for (int half = 0; half < 2 && n + half < vectors; half++) {
      int64_t t = (n + half) * LANES;
      ds[half] = v_load(p + t) * (v_load(dscore + t) - v_set(mean)) * v_set(scale);
      v_store(dscore + t, ds[half]);
    }
    if (pairs)
      v_store(words + n / 2 * LANES, tile_join(ds[0], ds[1]));
  }
}

/* Rows 2i and 2i+1 of a block as words [i][key]. */
TILE_INLINE void interleave_rows(const float *rows, int64_t row_floats, int64_t vectors, float *words) {
  for (int r = 0; r < TILE_ROWS; r += 2)
    for (int64_t n = 0; n < vectors; n++) {
      const float *even = rows + r * row_floats + n * LANES;
      v_store(words + r / 2 * row_floats + n * LANES, tile_pair(v_load(even), v_load(even + row_floats)));
    }
}

/* A block of queries: P and dS for later, dq at once. `row` is its first row among those held. */
TILE_INLINE void backward_block(bool pairs, const struct head *head, const struct backward *b, int64_t first,
                                int64_t row) {
  const struct attention *call = head->call;
  int64_t tokens = head->layout.tokens, width = head->layout.width, keys_seen = block_keys(head, first),
          vectors = vectors_for(keys_seen);
  float *p = pairs ? b->p + row / 2 * tokens : b->p + row * tokens,
        *ds = pairs ? b->ds + row / 2 * tokens : b->ds + row * tokens;
  float *score = pairs ? b->score : p, *dscore = pairs ? b->dscore : ds; /* plain words are the fp32 rows themselves */
  block_product(pairs, head, b->q + row * packed_row(pairs, head), b->keys, vectors, score, tokens);
  block_product(pairs, head, b->dout + row * packed_row(pairs, head), b->values, vectors, dscore, tokens);
  for (int r = 0; r < TILE_ROWS; r++) {
    int64_t query = first + r;
    float lse =
        query < call->queries ? call->lse[(head->sample * call->heads + head->number) * call->queries + query] : 0;
    mask_scores(score + r * tokens, visible_keys(head, query), vectors);
    float mean =
        probabilities(score + r * tokens, dscore + r * tokens, vectors, head->scale * VEXP_LOG2E, lse * VEXP_LOG2E);
    score_gradients(pairs, score + r * tokens, dscore + r * tokens, vectors, head->scale, mean,
                    b->ds_words + r * tokens);
  }
  if (pairs) {
    interleave_rows(score, tokens, vectors, p);
    interleave_rows(dscore, tokens, vectors, ds);
  }
  tile_multiply_row(pairs, false, vectors_for(call->head_width),
                    (struct tile_product){.steps = tile_words(pairs, keys_seen),
                                          .a_row = tokens,
                                          .a_step = 1,
                                          .b_step = width,
                                          .c_row = width,
                                          .a = pairs ? b->ds_words : ds,
                                          .b = b->key_rows,
                                          .c = b->dq});
  for (int r = 0; r < TILE_ROWS && first + r < call->queries; r++)
    for (int64_t c = 0; c < call->head_width; c += LANES)
      tile_store(call->dtype, call->dq, head->q_start + (first + r) * call->q_stride + c, v_load(b->dq + r * width + c),
                 call->head_width - c);
}

/* dk and dv get what the `rows` held queries from `first` give them. A causal query gives nothing to later keys. */
TILE_INLINE void add_key_gradients(bool pairs, const struct head *head, const struct backward *b, int64_t first,
                                   int64_t rows) {
  const struct attention *call = head->call;
  int64_t tokens = head->layout.tokens, width = head->layout.width, each = pairs ? 2 : 1;
  bool square = call->causal && !call->position;
  for (int64_t t = 0; t < call->tokens; t += TILE_ROWS) {
    int64_t skipped = square && t > first ? (t - first < rows ? t - first : rows) : 0;
    struct tile_product product = {.steps = (rows - skipped) / each,
                                   .a_row = 1,
                                   .a_step = tokens,
                                   .b_step = pairs ? width : packed_row(false, head),
                                   .c_row = width};
    product.a = b->ds + skipped / each * tokens + t;
    product.b = b->q_rows + skipped / each * product.b_step;
    product.c = b->dk + t * width;
    tile_multiply_row(pairs, true, vectors_for(call->head_width), product);
    product.a = b->p + skipped / each * tokens + t;
    product.b = b->dout_rows + skipped / each * product.b_step;
    product.c = b->dv + t * width;
    tile_multiply_row(pairs, true, vectors_for(call->head_width), product);
  }
}

/* The queries from `first` on, as many as are held at once. */
TILE_INLINE void backward_rows(bool pairs, const struct head *head, const struct backward *b, int64_t first) {
  const struct attention *call = head->call;
  int64_t left = call->queries - first, rows = tile_round_up(left, TILE_ROWS), width = head->layout.width,
          out_stride = call->heads * call->head_width;
  if (rows > head->layout.rows)
    rows = head->layout.rows;
  struct tile_source q = rows_of(head, call->q, head->q_start + first * call->q_stride, call->q_stride, left);
  struct tile_source dout = rows_of(head, call->dout, head->out_start + first * out_stride, out_stride, left);
  tile_pack_rows(pairs, &q, b->q, rows, packed_row(pairs, head));
  tile_pack_rows(pairs, &dout, b->dout, rows, packed_row(pairs, head));
  if (pairs) {
    tile_pack_interleaved(true, &q, b->q_rows, rows / 2, width);
    tile_pack_interleaved(true, &dout, b->dout_rows, rows / 2, width);
  }
  for (int64_t row = 0; row < rows; row += TILE_ROWS)
    backward_block(pairs, head, b, first + row, row);
  add_key_gradients(pairs, head, b, first, rows);
}

TILE_INLINE void head_backward(bool pairs, const struct attention *call, int64_t sample, int64_t number, float *work) {
  struct head head = head_of(call, sample, number);
  struct backward b = backward_of(&head.layout, work);
  int64_t tokens = head.layout.tokens, width = head.layout.width;
  struct tile_source k = rows_of(&head, call->k, head.kv_start, call->kv_stride, call->tokens);
  struct tile_source v = rows_of(&head, call->v, head.kv_start, call->kv_stride, call->tokens);
  if (!pairs) { /* rows of plain words serve as both operands */
    b.q_rows = b.q;
    b.dout_rows = b.dout;
  }
  tile_pack_transposed(pairs, &k, b.keys, tokens);
  tile_pack_transposed(pairs, &v, b.values, tokens);
  tile_pack_interleaved(pairs, &k, b.key_rows, pairs ? tokens / 2 : tokens, width);
  memset(b.dk, 0, (size_t)((tokens + TILE_ROWS) * width) * sizeof *b.dk);
  memset(b.dv, 0, (size_t)((tokens + TILE_ROWS) * width) * sizeof *b.dv);
  for (int64_t first = 0; first < call->queries; first += head.layout.rows)
    backward_rows(pairs, &head, &b, first);
  for (int64_t t = 0; t < call->tokens; t++)
    for (int64_t c = 0; c < call->head_width; c += LANES) {
      int64_t at = head.kv_start + t * call->kv_stride + c;
      tile_store(call->dtype, call->dk, at, v_load(b.dk + t * width + c), call->head_width - c);
      tile_store(call->dtype, call->dv, at, v_load(b.dv + t * width + c), call->head_width - c);
    }
}

void CPU_KERNEL(cpu_kernel_attention_backward)(const struct attention *call, int64_t sample, int64_t head,
                                               float *work) {
  if (TILE_MULTIPLIES_BF16 && call->dtype == DTYPE_BF16)
    head_backward(true, call, sample, head, work);
  else
    head_backward(false, call, sample, head, work);
}

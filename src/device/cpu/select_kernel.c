/* Product-key selection of one block of rows and one head.
 *
 * Scores of each half are a small product with the packed keys. The best of few keys are found for LANES rows at once,
 * one row per lane; the best of many, row by row, in a sorted list in registers that only scores above its last one
 * enter. Equal scores keep the order in which they are offered: by key, then by candidate number. */
#include "device/cpu/bag.h"
#include "device/cpu/kernels.h"
#include "device/cpu/tile.h"
#include "device/cpu/vexp.h"
#include "device/cpu/vmath.h"
#include <math.h>

enum { LANE_KEYS = 64, LANE_KNN = 8, LIST_VECTORS = MEMORY_KNN_MAX / LANES };

_Static_assert(SELECT_ROWS % TILE_ROWS == 0 && SELECT_ROWS % LANES == 0,
               "blocks of rows are whole tiles and whole vectors");

TILE_INLINE bool multiplies_pairs(const struct memory_select *call) {
  return TILE_MULTIPLIES_BF16 && call->dtype == DTYPE_BF16;
}

/* Panels of SELECT_PANEL keys, each [word of half][key], one after the other. */
void CPU_KERNEL(cpu_kernel_memory_pack_keys)(const struct memory_select *call, int64_t half, float *packed) {
  int64_t words = tile_words(multiplies_pairs(call), call->half);
  for (int64_t key = 0; key < call->n_keys; key += SELECT_PANEL, packed += words * SELECT_PANEL) {
    struct tile_source source = {call->dtype, call->keys,         (half * call->n_keys + key) * call->half,
                                 call->half,  call->n_keys - key, call->half};
    if (multiplies_pairs(call))
      tile_pack_transposed(true, &source, packed, SELECT_PANEL);
    else
      tile_pack_transposed(false, &source, packed, SELECT_PANEL);
  }
}

/* score[row][key] for SELECT_ROWS rows of one half; `keys` floats from row to row. */
TILE_INLINE void half_scores(bool pairs, const struct memory_select *call, int64_t first, int64_t half,
                             const float *packed, float *queries, float *score, int64_t keys) {
  int64_t words = tile_words(pairs, call->half), row_words = tile_round_up(words, LANES),
          stride = 2 * call->heads * call->half;
  struct tile_source source = {call->dtype, call->queries,      first * stride + half * call->half,
                               stride,      call->rows - first, call->half};
  tile_pack_rows(pairs, &source, queries, SELECT_ROWS, row_words);
  for (int64_t key = 0; key < call->n_keys; key += SELECT_PANEL) {
    int64_t count = call->n_keys - key < SELECT_PANEL ? call->n_keys - key : SELECT_PANEL,
            vectors = (count + LANES - 1) / LANES;
    struct tile_product product = {
        .steps = words, .a_row = row_words, .a_step = 1, .b_step = SELECT_PANEL, .c_row = keys};
    product.b = packed + key * words;
    for (int64_t r = 0; r < SELECT_ROWS; r += TILE_ROWS) {
      product.a = queries + r * row_words;
      product.c = score + r * keys + key;
      tile_multiply_row(pairs, false, vectors, product);
    }
  }
}

/* ---- few keys: one row per lane */

struct lanes {
  vfloat score[LANE_KNN];
  vint index[LANE_KNN];
};

/* Puts a score in its place in each lane's list; what follows moves down by one. */
TILE_INLINE void lanes_offer(struct lanes *best, const int knn, vfloat score, vint index) {
  vint moving = {0};
#pragma GCC unroll 8
  for (int t = 0; t < knn; t++) {
    vfloat old = best->score[t];
    vint old_index = best->index[t];
    moving |= score > old;
    best->score[t] = v_select(moving, score, old);
    best->index[t] = (index & moving) | (old_index & ~moving);
    score = v_select(moving, old, score);
    index = (old_index & moving) | (index & ~moving);
  }
}

TILE_INLINE struct lanes lanes_empty(const int knn) {
  struct lanes best;
#pragma GCC unroll 8
  for (int t = 0; t < knn; t++) {
    best.score[t] = v_set(-INFINITY);
    best.index[t] = (vint){0};
  }
  return best;
}

/* The best keys of LANES rows, of scores [row][key]. */
TILE_INLINE struct lanes lanes_of_half(const int knn, const float *score, int64_t row_floats, int64_t keys) {
  struct lanes best = lanes_empty(knn);
  for (int64_t key = 0; key < keys; key += LANES) {
    vfloat block[LANES];
#pragma GCC unroll 16
    for (int r = 0; r < LANES; r++)
      block[r] = v_load(score + r * row_floats + key);
    tile_transpose(block);
    int count = keys - key < LANES ? (int)(keys - key) : LANES;
    for (int i = 0; i < count; i++)
      lanes_offer(&best, knn, block[i], (vint){0} + (int32_t)(key + i));
  }
  return best;
}

/* Of the sums of two descending lists only the pairs with (u+1)(v+1) <= knn can be among the knn best: every other one
 * has knn candidates before it that are not smaller. Offered in order of the candidate number u*knn+v. */
TILE_INLINE struct lanes lanes_of_pairs(const int knn, const struct lanes side[2], int32_t keys) {
  struct lanes best = lanes_empty(knn);
#pragma GCC unroll 8
  for (int u = 0; u < knn; u++)
#pragma GCC unroll 8
    for (int v = 0; v < knn; v++)
      if ((u + 1) * (v + 1) <= knn)
        lanes_offer(&best, knn, side[0].score[u] + side[1].score[v], side[0].index[u] * keys + side[1].index[v]);
  return best;
}

TILE_INLINE void lanes_finish(const int knn, const struct memory_select *call, int64_t first, int64_t head,
                              const struct lanes *best) {
  float weight[LANE_KNN][LANES];
  int32_t index[LANE_KNN][LANES];
  vfloat part[LANE_KNN], sum = {0};
  for (int t = 0; t < knn; t++)
    sum += part[t] = v_exp2((best->score[t] - best->score[0]) * VEXP_LOG2E);
  for (int t = 0; t < knn; t++) {
    v_store(weight[t], part[t] / sum);
    memcpy(index[t], &best->index[t], sizeof index[t]);
  }
  for (int64_t r = 0; r < LANES && first + r < call->rows; r++)
    for (int t = 0; t < knn; t++) {
      int64_t at = ((first + r) * call->heads + head) * knn + t;
      call->weight[at] = weight[t][r];
      call->index[at] = index[t][r];
    }
}

TILE_INLINE void select_lanes(const int knn, const struct memory_select *call, int64_t first, int64_t head,
                              const float *score, int64_t keys) {
  for (int64_t r = 0; r < SELECT_ROWS && first + r < call->rows; r += LANES) {
    struct lanes side[2];
    side[0] = lanes_of_half(knn, score + r * keys, keys, call->n_keys);
    side[1] = lanes_of_half(knn, score + (SELECT_ROWS + r) * keys, keys, call->n_keys);
    struct lanes best = lanes_of_pairs(knn, side, (int32_t)call->n_keys);
    lanes_finish(knn, call, first + r, head, &best);
  }
}

/* ---- many keys: one row at a time */

/* Descending; `last` is the score of number knn-1, which a newcomer must exceed. */
struct list {
  vfloat score[LIST_VECTORS];
  vint index[LIST_VECTORS];
  float last;
};

TILE_INLINE void list_clear(struct list *list, const int vectors) {
  for (int n = 0; n < vectors; n++) {
    list->score[n] = v_set(-INFINITY);
    list->index[n] = (vint){0};
  }
  list->last = -INFINITY;
}

/* Elements not smaller than the newcomer stay, the first smaller one makes room for it, the others move up by a lane.
 */
TILE_INLINE void list_insert(struct list *list, const int vectors, int64_t knn, float score, int32_t index) {
  vint from = TILE_LANE + (LANES - 1); /* lane - 1 of the second, or the last of the first */
  vfloat before = v_set(INFINITY), value = v_set(score);
  vint before_index = {0};
#pragma GCC unroll 4
  for (int n = 0; n < vectors; n++) {
    vfloat now = list->score[n], shifted = __builtin_shuffle(before, now, from);
    vint now_index = list->index[n], shifted_index = __builtin_shuffle(before_index, now_index, from);
    vint stay = now >= value, place = shifted >= value;
    list->score[n] = v_select(stay, now, v_select(place, value, shifted));
    list->index[n] = (now_index & stay) | (((((vint){0} + index) & place) | (shifted_index & ~place)) & ~stay);
    before = now;
    before_index = now_index;
  }
  float lane[LANES];
  v_store(lane, list->score[(knn - 1) / LANES]);
  list->last = lane[(knn - 1) % LANES];
}

/* Bit per lane. */
TILE_INLINE uint32_t lanes_above(vfloat v, float bound) {
#if defined __AVX512F__
  return _mm512_cmp_ps_mask((__m512)v, _mm512_set1_ps(bound), _CMP_GT_OQ);
#elif defined __AVX2__
  return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps((__m256)v, _mm256_set1_ps(bound), _CMP_GT_OQ));
#else
  uint32_t bits = 0;
  for (int i = 0; i < LANES; i++)
    bits |= (uint32_t)(v[i] > bound) << i;
  return bits;
#endif
}

TILE_INLINE void list_of_half(struct list *list, const int vectors, int64_t knn, const float *score, int64_t keys) {
  list_clear(list, vectors);
  for (int64_t key = 0; key < keys; key += LANES) {
    uint32_t above = lanes_above(v_load(score + key), list->last);
    if (keys - key < LANES)
      above &= (1u << (keys - key)) - 1;
    for (; above; above &= above - 1) {
      int64_t i = key + __builtin_ctz(above);
      if (score[i] > list->last)
        list_insert(list, vectors, knn, score[i], (int32_t)i);
    }
  }
}

TILE_INLINE void list_store(const struct list *list, int64_t knn, float *score, int32_t *index) {
  for (int64_t t = 0; t < knn; t += LANES) {
    size_t bytes = (size_t)(knn - t < LANES ? knn - t : LANES) * sizeof *score;
    memcpy(score + t, &list->score[t / LANES], bytes);
    memcpy(index + t, &list->index[t / LANES], bytes);
  }
}

/* exp(score - largest) / sum; score[0] is the largest. */
TILE_INLINE void softmax_list(const float *score, int64_t knn, float *weight) {
  float sum = 0;
  for (int64_t t = 0; t < knn; t++)
    sum += weight[t] = expf(score[t] - score[0]);
  for (int64_t t = 0; t < knn; t++)
    weight[t] /= sum;
}

TILE_INLINE void select_row(const int vectors, const struct memory_select *call, int64_t row, int64_t head,
                            const float *score[2], float *work) {
  int64_t knn = call->knn;
  float *value[2] = {work, work + knn};
  int32_t *index[2] = {(int32_t *)(work + 2 * knn), (int32_t *)(work + 3 * knn)};
  struct list list;
  for (int side = 0; side < 2; side++) {
    list_of_half(&list, vectors, knn, score[side], call->n_keys);
    list_store(&list, knn, value[side], index[side]);
  }
  list_clear(&list, vectors);
  for (int64_t u = 0; u < knn; u++)
    for (int64_t v = 0; (u + 1) * (v + 1) <= knn; v++)
      if (value[0][u] + value[1][v] > list.last)
        list_insert(&list, vectors, knn, value[0][u] + value[1][v], index[0][u] * (int32_t)call->n_keys + index[1][v]);
  int64_t at = (row * call->heads + head) * knn;
  list_store(&list, knn, value[0], call->index + at);
  softmax_list(value[0], knn, call->weight + at);
}

TILE_INLINE void select_rows(const int vectors, const struct memory_select *call, int64_t first, int64_t head,
                             const float *score, int64_t keys, float *work) {
  for (int64_t r = 0; r < SELECT_ROWS && first + r < call->rows; r++)
    select_row(vectors, call, first + r, head, (const float *[]){score + r * keys, score + (SELECT_ROWS + r) * keys},
               work);
}

static void select_best(const struct memory_select *call, int64_t first, int64_t head, const float *score, int64_t keys,
                        float *work) {
  if (call->n_keys <= LANE_KEYS && call->knn == 4)
    select_lanes(4, call, first, head, score, keys);
  else if (call->n_keys <= LANE_KEYS && call->knn <= LANE_KNN)
    select_lanes((int)call->knn, call, first, head, score, keys);
  else if (call->knn <= LANES)
    select_rows(1, call, first, head, score, keys, work);
  else if (call->knn <= 2 * LANES)
    select_rows(2, call, first, head, score, keys, work);
  else
    select_rows((int)((call->knn + LANES - 1) / LANES), call, first, head, score, keys, work);
}

void CPU_KERNEL(cpu_kernel_memory_select)(const struct memory_select *call, int64_t head, int64_t first,
                                          const float *packed, float *work) {
  int64_t keys = tile_round_up(call->n_keys, SELECT_PANEL);
  float *score = work + SELECT_ROWS * tile_round_up(call->half, 32), *lists = score + 2 * SELECT_ROWS * keys;
  for (int64_t side = 0; side < 2; side++) {
    int64_t half = 2 * head + side;
    const float *panel = packed + half * select_key_floats(call);
    if (multiplies_pairs(call))
      half_scores(true, call, first, half, panel, work, score + side * SELECT_ROWS * keys, keys);
    else
      half_scores(false, call, first, half, panel, work, score + side * SELECT_ROWS * keys, keys);
  }
  select_best(call, first, head, score, keys, lists);
}

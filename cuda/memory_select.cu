/* Product-key selection: the knn best of K*K slots per row and head, through the knn best of each half.
 *
 * Scores of a piece of the rows come from batched products, in fp32. A warp then has one row and head; where keys are
 * few, a thread has. A score and its
 * number make one key (order_key): all keys differ, and the larger one is chosen first, so ties fall as the rule says.
 * Of the knn*knn sums only candidates (u, v) with (u+1)(v+1) <= knn can be chosen: any other has knn rivals that are
 * not smaller and earlier in number. */
#include "cuda/bag.h"
#include "cuda/gemm.h"
#include "cuda/kernel.h"

enum { WARPS = 4, SCORE_BYTES_MAX = 256 << 20 };

typedef unsigned long long order_key;

/* Order of the value (NaN somewhere, but always in the same place), then the lower number; never 0. */
DEVICE order_key make_key(float value, int number) {
  const unsigned bits = float_bits(value + 0.0f); /* -0 is 0 */
  const unsigned ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return (order_key)ordered << 32 | (unsigned)~number;
}
DEVICE int key_number(order_key key) {
  return (int)~(unsigned)key;
}
DEVICE float key_value(order_key key) {
  const unsigned ordered = (unsigned)(key >> 32);
  return float_of_bits(ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered);
}
DEVICE order_key larger_key(order_key a, order_key b) {
  return a > b ? a : b;
}

/* ---- lists of at most 32: one element per lane, best first, 0 for none */

/* Puts the lanes' keys in descending order (`descending`: of each run of `length`). */
DEVICE order_key exchange(order_key key, int distance, bool keep_larger) {
  const order_key other = shuffle_xor(key, distance);
  return (key > other) == keep_larger ? key : other;
}
DEVICE order_key sort_lanes(order_key key) {
  const int lane = lane_of_thread();
#pragma unroll
  for (int length = 2; length <= WARP; length *= 2)
#pragma unroll
    for (int distance = length / 2; distance > 0; distance /= 2)
      key = exchange(key, distance, ((lane & distance) == 0) == ((lane & length) == 0 || length == WARP));
  return key;
}
/* The 32 best of a sorted list and 32 more keys, sorted. */
DEVICE order_key merge_lanes(order_key best, order_key more) {
  const int lane = lane_of_thread();
  best = larger_key(best, shuffle(sort_lanes(more), WARP - 1 - lane));
#pragma unroll
  for (int distance = WARP / 2; distance > 0; distance /= 2)
    best = exchange(best, distance, (lane & distance) == 0);
  return best;
}

/* Keys that may be among the best wait here, by warp, until 32 are together. */
struct waiting {
  order_key *keys; /* [64] of this warp */
  int count;
};
DEVICE order_key offer(order_key best, order_key key, order_key least, struct waiting *waiting) {
  const int lane = lane_of_thread();
  const bool candidate = key > least;
  const unsigned candidates = warp_ballot(candidate);
  if (candidate)
    waiting->keys[waiting->count + count_bits(candidates & ((1u << lane) - 1))] = key;
  waiting->count += count_bits(candidates);
  warp_barrier();
  if (waiting->count >= WARP) {
    waiting->count -= WARP;
    best = merge_lanes(best, waiting->keys[waiting->count + lane]);
    warp_barrier();
  }
  return best;
}
DEVICE order_key finish(order_key best, struct waiting *waiting) {
  const int lane = lane_of_thread();
  if (waiting->count)
    best = merge_lanes(best, lane < waiting->count ? waiting->keys[lane] : 0);
  waiting->count = 0;
  warp_barrier();
  return best;
}

/* The 32 best of score[count]. Each lane's largest is one of 32 keys, so the least of them bounds the 32nd best. */
DEVICE order_key best_of_scores(const float *score, int count, struct waiting *waiting) {
  order_key least = 0, best = 0;
  for (int i = lane_of_thread(); i < count; i += WARP)
    least = larger_key(least, make_key(score[i], i));
  for (int distance = WARP / 2; distance > 0; distance /= 2) {
    const order_key other = shuffle_xor(least, distance);
    least = other < least ? other : least;
  }
  least = least ? least - 1 : 0;
  for (int first = 0; first < count; first += WARP) {
    const int i = first + lane_of_thread();
    best = offer(best, i < count ? make_key(score[i], i) : 0, least, waiting);
  }
  return finish(best, waiting);
}

/* Best pairs of two sorted halves whose values are side[0..1][knn]. Row u of the candidates has knn / (u+1) of them. */
DEVICE order_key best_of_pairs(const float *side, int knn, struct waiting *waiting) {
  order_key best = 0;
  for (int u = 0; u < knn; u++) {
    const int columns = knn / (u + 1), v = lane_of_thread();
    best = offer(best, v < columns ? make_key(side[u] + side[WARP + v], u * knn + v) : 0, 0, waiting);
  }
  return finish(best, waiting);
}

DEVICE void write_selection(const struct memory_select *call, int64_t item, int t, int64_t slot, float value,
                            float largest, float sum) {
  call->index[item * call->knn + t] = (int32_t)slot;
  call->weight[item * call->knn + t] = expf(value - largest) / sum;
}

/* knn <= 32. score[row, head, side, K] of rows first .. first+rows-1 */
KERNEL void select_short(struct memory_select call, const float *score, int64_t first, int64_t rows) {
  SHARED(order_key, waiting_keys, WARPS * 2 * WARP);
  SHARED(float, side_values, WARPS * 2 * WARP);
  SHARED(int, side_numbers, WARPS * 2 * WARP);
  const int64_t local = warp_of_grid(), item = first * call.heads + local;
  const int lane = lane_of_thread(), knn = (int)call.knn, n_keys = (int)call.n_keys;
  if (local >= rows * call.heads)
    return;
  struct waiting waiting = {waiting_keys + warp_of_thread() * 2 * WARP, 0};
  float *value = side_values + warp_of_thread() * 2 * WARP;
  int *number = side_numbers + warp_of_thread() * 2 * WARP;
  for (int side = 0; side < 2; side++) {
    const order_key best = best_of_scores(score + (local * 2 + side) * n_keys, n_keys, &waiting);
    value[side * WARP + lane] = key_value(best);
    number[side * WARP + lane] = key_number(best);
  }
  warp_barrier();
  const order_key best = best_of_pairs(value, knn, &waiting);
  const int pair = lane < knn ? key_number(best) : 0;
  const float sum = key_value(best), largest = shuffle(sum, 0);
  const float total = warp_sum(lane < knn ? expf(sum - largest) : 0);
  if (lane < knn)
    write_selection(&call, item, lane, (int64_t)number[pair / knn] * n_keys + number[WARP + pair % knn], sum, largest,
                    total);
}

/* ---- few keys: a thread per row and head, lists in its registers */

enum { FEW_KEYS = 16, FEW_PICKS = 8, FEW_THREADS = 128 };

/* Puts the key in its place of the best COUNT, descending. */
template <int COUNT> DEVICE void insert(order_key *best, order_key key) {
#pragma unroll
  for (int t = 0; t < COUNT; t++) {
    const order_key here = best[t];
    best[t] = larger_key(here, key);
    key = here > key ? key : here;
  }
}
/* The number of element `at`, without an index that is known at run time only: that would move the list to local
 * memory. */
template <int COUNT> DEVICE int number_at(const order_key *best, int at) {
  int number = 0;
#pragma unroll
  for (int t = 0; t < COUNT; t++)
    number = t == at ? key_number(best[t]) : number;
  return number;
}

/* knn <= PICKS. As select_short. */
template <int PICKS>
KERNEL void select_few(struct memory_select call, const float *score, int64_t first, int64_t rows) {
  const int64_t local = thread_of_grid(), item = first * call.heads + local;
  const int knn = (int)call.knn, n_keys = (int)call.n_keys;
  if (local >= rows * call.heads)
    return;
  order_key side[2][PICKS] = {{0}}, chosen[PICKS] = {0};
#pragma unroll
  for (int n = 0; n < 2; n++)
    for (int i = 0; i < n_keys; i++)
      insert<PICKS>(side[n], make_key(score[(local * 2 + n) * n_keys + i], i));
#pragma unroll
  for (int u = 0; u < PICKS; u++)
#pragma unroll
    for (int v = 0; v < PICKS / (u + 1); v++)
      if ((u + 1) * (v + 1) <= knn)
        insert<PICKS>(chosen, make_key(key_value(side[0][u]) + key_value(side[1][v]), u * knn + v));
  const float largest = key_value(chosen[0]);
  float total = 0;
#pragma unroll
  for (int t = 0; t < PICKS; t++)
    total += t < knn ? expf(key_value(chosen[t]) - largest) : 0;
#pragma unroll
  for (int t = 0; t < PICKS; t++)
    if (t < knn) {
      const int pair = key_number(chosen[t]);
      const int64_t i = number_at<PICKS>(side[0], pair / knn), j = number_at<PICKS>(side[1], pair % knn);
      write_selection(&call, item, t, i * n_keys + j, key_value(chosen[t]), largest, total);
    }
}

/* ---- any knn: the next best is the largest key below the last one */

DEVICE order_key warp_largest(order_key key) {
  for (int distance = WARP / 2; distance > 0; distance /= 2)
    key = larger_key(key, shuffle_xor(key, distance));
  return key;
}

/* side: [2][knn] keys of the halves' best, then the knn chosen pairs. */
KERNEL void select_long(struct memory_select call, const float *score, int64_t first, int64_t rows) {
  SHARED_DYNAMIC(order_key, memory);
  const int64_t local = warp_of_grid(), item = first * call.heads + local;
  const int lane = lane_of_thread(), knn = (int)call.knn, n_keys = (int)call.n_keys;
  if (local >= rows * call.heads)
    return;
  order_key *side = memory + warp_of_thread() * 3 * knn, *chosen = side + 2 * knn;
  for (int n = 0; n < 2 * knn; n++) {
    const float *scores = score + (local * 2 + n / knn) * n_keys;
    const order_key last = n % knn ? side[n - 1] : ~0ull;
    order_key best = 0;
    for (int i = lane; i < n_keys; i += WARP) {
      const order_key key = make_key(scores[i], i);
      best = key < last ? larger_key(best, key) : best;
    }
    best = warp_largest(best);
    if (lane == 0)
      side[n] = best;
    warp_barrier();
  }
  float total = 0;
  for (int t = 0; t < knn; t++) {
    const order_key last = t ? chosen[t - 1] : ~0ull;
    order_key best = 0;
    for (int u = lane; u < knn; u += WARP)
      for (int v = 0; v < knn / (u + 1); v++) {
        const order_key key = make_key(key_value(side[u]) + key_value(side[knn + v]), u * knn + v);
        best = key < last ? larger_key(best, key) : best;
      }
    best = warp_largest(best);
    if (lane == 0)
      chosen[t] = best;
    warp_barrier();
    total += expf(key_value(best) - key_value(chosen[0]));
  }
  for (int t = lane; t < knn; t += WARP) {
    const int pair = key_number(chosen[t]);
    write_selection(&call, item, t, (int64_t)key_number(side[pair / knn]) * n_keys + key_number(side[knn + pair % knn]),
                    key_value(chosen[t]), key_value(chosen[0]), total);
  }
}

/* ---- host side */

/* score[rows, 2H, K] = queries keys': one product per head and side */
static void multiply_keys(struct cuda_device *cuda, const struct memory_select *call, int64_t first, int64_t rows,
                          float *score) {
  const int64_t halves = 2 * call->heads, element = call->dtype == DTYPE_BF16 ? 2 : 4;
  struct gemm gemm = {};
  gemm.m = rows;
  gemm.n = call->n_keys;
  gemm.k = call->half;
  gemm.batch = halves;
  gemm.a_stride = halves * call->half;
  gemm.a_batch = call->half;
  gemm.b_batch = call->n_keys * call->half;
  gemm.c_stride = halves * call->n_keys;
  gemm.c_batch = call->n_keys;
  gemm.dtype = call->dtype;
  gemm.c_dtype = DTYPE_F32;
  gemm.b_transposed = true;
  gemm.a = (const char *)call->queries + first * halves * call->half * element;
  gemm.b = call->keys;
  gemm.c = score;
  gemm_multiply(cuda, &gemm);
}

void cuda_memory_select(struct device *self, const struct memory_select *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  if (call->knn > call->n_keys || call->knn < 1 || call->knn > MEMORY_KNN_MAX)
    fatal("memory_select: knn is %lld; it must be 1 to %d and at most n_keys, %lld", (long long)call->knn,
          MEMORY_KNN_MAX, (long long)call->n_keys);
  const int64_t row_bytes = 2 * call->heads * call->n_keys * (int64_t)sizeof(float);
  const int64_t at_once = row_bytes < SCORE_BYTES_MAX ? SCORE_BYTES_MAX / row_bytes : 1;
  const int64_t most = at_once < call->rows ? at_once : call->rows;
  float *score = (float *)cuda_scratch(cuda, CUDA_SCRATCH_SCORES, (size_t)(most * row_bytes));
  for (int64_t first = 0; first < call->rows; first += at_once) {
    const int64_t rows = call->rows - first < at_once ? call->rows - first : at_once;
    multiply_keys(cuda, call, first, rows, score);
    const int64_t items = rows * call->heads;
    if (call->n_keys <= FEW_KEYS && call->knn <= FEW_PICKS / 2)
      LAUNCH((select_few<FEW_PICKS / 2>), blocks_for(items, FEW_THREADS), FEW_THREADS, 0, cuda, *call, score, first,
             rows);
    else if (call->n_keys <= FEW_KEYS && call->knn <= FEW_PICKS)
      LAUNCH((select_few<FEW_PICKS>), blocks_for(items, FEW_THREADS), FEW_THREADS, 0, cuda, *call, score, first, rows);
    else if (call->knn <= WARP)
      LAUNCH(select_short, blocks_for(items, WARPS), WARPS * WARP, 0, cuda, *call, score, first, rows);
    else
      LAUNCH(select_long, blocks_for(items, WARPS), WARPS * WARP, (size_t)(WARPS * 3 * call->knn) * sizeof(order_key),
             cuda, *call, score, first, rows);
  }
}

/* The softmax's gradient of one row and head: dscore_t = weight_t (dweight_t - sum weight dweight), given to both of
 * the slot's keys. key and factor are [item][2][knn]: what bags of keys make the gradients of the query's halves. */
KERNEL void score_gradients(struct memory_select call, int32_t *key, float *factor) {
  const int64_t item = warp_of_grid(), knn = call.knn, head = item % call.heads;
  if (item >= call.rows * call.heads)
    return;
  const float *weight = call.weight + item * knn, *dweight = call.dweight + item * knn;
  float mean = 0;
  for (int64_t t = lane_of_thread(); t < knn; t += WARP)
    mean += weight[t] * dweight[t];
  mean = warp_sum(mean);
  for (int64_t t = lane_of_thread(); t < knn; t += WARP) {
    const int64_t slot = call.index[item * knn + t], at = item * 2 * knn + t;
    key[at] = (int32_t)(2 * head * call.n_keys + slot / call.n_keys);
    key[at + knn] = (int32_t)((2 * head + 1) * call.n_keys + slot % call.n_keys);
    factor[at] = factor[at + knn] = weight[t] * (dweight[t] - mean);
  }
}

void cuda_memory_select_backward(struct device *self, const struct memory_select *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  const int64_t items = call->rows * call->heads, picks = 2 * call->knn;
  float *factor = (float *)cuda_scratch(cuda, CUDA_SCRATCH_SCORES, (size_t)(2 * items * picks) * sizeof *factor);
  int32_t *key = (int32_t *)(factor + items * picks);
  LAUNCH(score_gradients, blocks_for(items, WARPS), WARPS * WARP, 0, cuda, *call, key, factor);
  struct bag bag = {};
  bag.count = 2 * items;
  bag.entries = call->knn;
  bag.slots = 2 * call->heads * call->n_keys;
  bag.width = call->half;
  bag.dtype = call->dtype;
  bag.index = key;
  bag.weight = factor;
  bag.table = call->keys;
  bag.rows = call->queries;
  bag.out = call->dqueries;
  bag.dtable = call->dkeys;
  if (bag.out)
    cuda_bag_sum(cuda, &bag);
  if (bag.dtable)
    cuda_bag_scatter(cuda, &bag);
}

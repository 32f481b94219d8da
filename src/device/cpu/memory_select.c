/* Product-key selection: the knn best of K*K slots per row and head, through the knn best of each half. */
#include "device/cpu/cpu.h"
#include <math.h>
#include <omp.h>
#include <string.h>

/* The best entries seen so far, best first; equal scores keep their order of arrival, so that lower indices win. */
struct best {
  int64_t capacity, count;
  float *score;
  int32_t *index;
};

static void best_offer(struct best *best, float score, int32_t index) {
  int64_t at = best->count;
  if (at == best->capacity) {
    if (!(score > best->score[at - 1]))
      return;
    at--;
  } else {
    best->count++;
  }
  for (; at > 0 && score > best->score[at - 1]; at--) {
    best->score[at] = best->score[at - 1];
    best->index[at] = best->index[at - 1];
  }
  best->score[at] = score;
  best->index[at] = index;
}

static float dot(enum dtype dtype, const void *x, int64_t x_offset, const void *y, int64_t y_offset, int64_t count) {
  float sum = 0;
  if (dtype == DTYPE_F32) {
    const float *a = (const float *)x + x_offset, *b = (const float *)y + y_offset;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < count; c++)
      sum += a[c] * b[c];
  } else {
    const bf16 *a = (const bf16 *)x + x_offset, *b = (const bf16 *)y + y_offset;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < count; c++)
      sum += bf16_to_float(a[c]) * bf16_to_float(b[c]);
  }
  return sum;
}

/* Of the sums of two descending lists only the pairs with (u+1)(v+1) <= knn can be among the knn best: every other one has
 * knn candidates before it that are not smaller. Offered in order of the candidate number u*knn+v. */
static void best_pairs(const struct best side[2], struct best *pairs) {
  int64_t knn = pairs->capacity;
  for (int64_t u = 0; u < knn; u++)
    for (int64_t v = 0; (u + 1) * (v + 1) <= knn; v++)
      best_offer(pairs, side[0].score[u] + side[1].score[v], (int32_t)(u * knn + v));
}

static void softmax(const float *score, int64_t count, float *weight) {
  float sum = 0;
  for (int64_t t = 0; t < count; t++)
    sum += weight[t] = expf(score[t] - score[0]);
  for (int64_t t = 0; t < count; t++)
    weight[t] /= sum;
}

/* One row and head; `work` holds 3*knn scores, `numbers` 3*knn indices. */
static void select_one(const struct memory_select *call, int64_t row, int64_t head, float *work, int32_t *numbers) {
  int64_t knn = call->knn, half = call->half, keys = call->n_keys;
  struct best best[3];
  for (int64_t side = 0; side < 3; side++)
    best[side] = (struct best){.capacity = knn, .score = work + side * knn, .index = numbers + side * knn};
  for (int64_t side = 0; side < 2; side++)
    for (int64_t i = 0; i < keys; i++)
      best_offer(&best[side],
                 dot(call->dtype, call->queries, ((row * call->heads + head) * 2 + side) * half, call->keys,
                     ((2 * head + side) * keys + i) * half, half),
                 (int32_t)i);
  best_pairs(best, &best[2]);
  int64_t out = (row * call->heads + head) * knn;
  for (int64_t t = 0; t < knn; t++) {
    int32_t u = best[2].index[t] / (int32_t)knn, v = best[2].index[t] % (int32_t)knn;
    call->index[out + t] = best[0].index[u] * (int32_t)keys + best[1].index[v];
  }
  softmax(best[2].score, knn, call->weight + out);
}

void cpu_memory_select(struct device *self, const struct memory_select *call) {
  if (call->knn > call->n_keys || call->knn < 1)
    fatal("memory_select: knn %lld of %lld keys", (long long)call->knn, (long long)call->n_keys);
  size_t each = (size_t)(3 * call->knn) * 2;
  float *scratch = cpu_scratch(cpu_from_device(self), CPU_SCRATCH_THREADS, each * sizeof *scratch * (size_t)self->threads);
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t item = 0; item < call->rows * call->heads; item++) {
    float *work = scratch + each * (size_t)omp_get_thread_num();
    select_one(call, item / call->heads, item % call->heads, work, (int32_t *)(work + 3 * call->knn));
  }
}

/* dscore = weight (dweight - sum weight dweight), over the knn of one row and head. */
static float softmax_mean(const float *weight, const float *dweight, int64_t count) {
  float mean = 0;
  for (int64_t t = 0; t < count; t++)
    mean += weight[t] * dweight[t];
  return mean;
}

/* dscores[side,K] of one row and head. */
static void scatter_scores(const struct memory_select *call, int64_t item, float *dscores) {
  const float *weight = call->weight + item * call->knn, *dweight = call->dweight + item * call->knn;
  const int32_t *index = call->index + item * call->knn;
  float mean = softmax_mean(weight, dweight, call->knn);
  memset(dscores, 0, (size_t)(2 * call->n_keys) * sizeof *dscores);
  for (int64_t t = 0; t < call->knn; t++) {
    float dscore = weight[t] * (dweight[t] - mean);
    dscores[index[t] / call->n_keys] += dscore;
    dscores[call->n_keys + index[t] % call->n_keys] += dscore;
  }
}

/* dqueries[row,head,side,:] = sum_i dscores[i] key_i, over the keys that were selected. */
static void query_gradient(const struct memory_select *call, int64_t item, const float *dscores, float *sum) {
  int64_t half = call->half, head = item % call->heads;
  for (int64_t side = 0; side < 2; side++) {
    memset(sum, 0, (size_t)half * sizeof *sum);
    for (int64_t i = 0; i < call->n_keys; i++) {
      float factor = dscores[side * call->n_keys + i];
      for (int64_t c = 0; factor != 0 && c < half; c++)
        sum[c] += factor * cpu_load(call->dtype, call->keys, ((2 * head + side) * call->n_keys + i) * half + c);
    }
    for (int64_t c = 0; c < half; c++)
      cpu_store(call->dtype, call->dqueries, (item * 2 + side) * half + c, sum[c]);
  }
}

/* dkeys[(2 head + side) K + i,:] += sum over rows of dscores query, one (head, side, i) at a time: rows are added in order. */
static void key_gradient(const struct memory_select *call, int64_t key, const float *dscores, float *sum) {
  int64_t half = call->half, i = key % call->n_keys, side = key / call->n_keys % 2, head = key / call->n_keys / 2;
  memset(sum, 0, (size_t)half * sizeof *sum);
  for (int64_t row = 0; row < call->rows; row++) {
    int64_t item = row * call->heads + head;
    float factor = dscores[(item * 2 + side) * call->n_keys + i];
    for (int64_t c = 0; factor != 0 && c < half; c++)
      sum[c] += factor * cpu_load(call->dtype, call->queries, (item * 2 + side) * half + c);
  }
  for (int64_t c = 0; c < half; c++)
    call->dkeys[key * half + c] += sum[c];
}

void cpu_memory_select_backward(struct device *self, const struct memory_select *call) {
  int64_t items = call->rows * call->heads, each = 2 * call->n_keys, keys = call->dkeys ? call->heads * each : 0;
  float *scratch =
      cpu_scratch(cpu_from_device(self), CPU_SCRATCH_THREADS, (size_t)(items * each + call->half * self->threads) * sizeof *scratch);
  float *dscores = scratch + call->half * self->threads;
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t item = 0; item < items; item++) {
    scatter_scores(call, item, dscores + item * each);
    query_gradient(call, item, dscores + item * each, scratch + call->half * omp_get_thread_num());
  }
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t key = 0; key < keys; key++)
    key_gradient(call, key, dscores, scratch + call->half * omp_get_thread_num());
}

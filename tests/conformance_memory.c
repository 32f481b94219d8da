/* Product-key selection and the reading of values, forward and backward. */
#include "conformance.h"
#include <math.h>

struct select_shape {
  int64_t rows, heads, n_keys, knn, half;
};
static const struct select_shape fixed_selects[] = {
    {37, 2, 8, 4, 128},   {5, 4, 64, 32, 20}, {3, 2, 7, 7, 5},     {50, 1, 1, 1, 3},
    {4, 2, 1024, 32, 16}, {9, 3, 10, 9, 8},   {21, 2, 16, 16, 32}, {2, 2, 300, 5, 64},
};

/* Relative error of a weight as an operand: tensor cores take it as the sum of two bf16. */
static double weight_rounding(enum dtype dtype) {
  return dtype == DTYPE_BF16 ? 0x1p-16 : 0;
}

/* Scores of one row and head in double: score[2][K], and the sum of absolute terms of the largest. */
static double half_scores(const struct select_shape *s, const double *queries, const double *keys, int64_t item,
                          double *score) {
  double largest = 0;
  for (int64_t n = 0; n < 2 * s->n_keys; n++) {
    int64_t side = n / s->n_keys, head = item % s->heads;
    const double *q = queries + (item * 2 + side) * s->half, *k = keys + (head * 2 * s->n_keys + n) * s->half;
    double size = score[n] = 0;
    for (int64_t c = 0; c < s->half; c++) {
      score[n] += q[c] * k[c];
      size += fabs(q[c] * k[c]);
    }
    largest = fmax(largest, size);
  }
  return largest;
}

/* The knn best of count scores by plain search: larger first, then the lower number. */
static void best_of(const double *score, int64_t count, int64_t knn, int64_t *best) {
  for (int64_t t = 0; t < knn; t++) {
    best[t] = -1;
    for (int64_t i = 0; i < count; i++) {
      bool taken = false;
      for (int64_t u = 0; u < t; u++)
        taken = taken || best[u] == i;
      if (!taken && (best[t] < 0 || score[i] > score[best[t]]))
        best[t] = i;
    }
  }
}

/* The slots of one row and head in the order of the rule. */
static void expected_slots(const struct select_shape *s, const double *score, int64_t *slot) {
  double sum[32 * 32];
  int64_t side[2][32], pair[32];
  best_of(score, s->n_keys, s->knn, side[0]);
  best_of(score + s->n_keys, s->n_keys, s->knn, side[1]);
  for (int64_t n = 0; n < s->knn * s->knn; n++)
    sum[n] = score[side[0][n / s->knn]] + score[s->n_keys + side[1][n % s->knn]];
  best_of(sum, s->knn * s->knn, s->knn, pair);
  for (int64_t t = 0; t < s->knn; t++)
    slot[t] = side[0][pair[t] / s->knn] * s->n_keys + side[1][pair[t] % s->knn];
}

/* index[t] against the rule: the same slots where scores are exact; else slots whose sums are the best within `noise`.
 */
static bool slots_right(const struct select_shape *s, const double *score, const double *index, bool exact,
                        double noise) {
  int64_t slot[32];
  expected_slots(s, score, slot);
  for (int64_t t = 0; t < s->knn; t++) {
    int64_t actual = (int64_t)index[t];
    if (exact && actual != slot[t])
      return false;
    if (actual < 0 || actual >= s->n_keys * s->n_keys)
      return false;
    double is = score[actual / s->n_keys] + score[s->n_keys + actual % s->n_keys];
    double should = score[slot[t] / s->n_keys] + score[s->n_keys + slot[t] % s->n_keys];
    if (!(fabs(is - should) <= noise))
      return false;
    for (int64_t u = 0; u < t; u++)
      if (index[u] == index[t])
        return false;
  }
  return true;
}

/* Softmax over the selected sums. */
static void selected_weights(const struct select_shape *s, const double *score, const double *index, double *weight) {
  double largest = -INFINITY, sum = 0;
  for (int64_t t = 0; t < s->knn; t++) {
    int64_t slot = (int64_t)index[t];
    weight[t] = score[slot / s->n_keys] + score[s->n_keys + slot % s->n_keys];
    largest = fmax(largest, weight[t]);
  }
  for (int64_t t = 0; t < s->knn; t++)
    sum += weight[t] = exp(weight[t] - largest);
  for (int64_t t = 0; t < s->knn; t++)
    weight[t] /= sum;
}

struct select_reference {
  const struct select_shape *shape;
  double *queries, *keys;
  const double *index, *dweight;
  double rounding; /* weight_rounding */
  double *score;   /* [2][K] of one item */
  double *dqueries, *dkeys, *dqueries_bound, *dkeys_bound;
};

/* sum(weight dweight) with the selection held */
static double select_loss(void *context) {
  const struct select_reference *r = context;
  const struct select_shape *s = r->shape;
  double loss = 0, weight[32];
  for (int64_t item = 0; item < s->rows * s->heads; item++) {
    half_scores(s, r->queries, r->keys, item, r->score);
    selected_weights(s, r->score, r->index + item * s->knn, weight);
    for (int64_t t = 0; t < s->knn; t++)
      loss += weight[t] * r->dweight[item * s->knn + t];
  }
  return loss;
}

/* Gradients of select_loss, from the weights that the device kept. */
static void select_gradients(const struct select_reference *r, const double *weight) {
  const struct select_shape *s = r->shape;
  for (int64_t item = 0; item < s->rows * s->heads; item++) {
    const double *p = weight + item * s->knn, *dp = r->dweight + item * s->knn;
    double mean = 0, size = 0;
    for (int64_t t = 0; t < s->knn; t++) {
      mean += p[t] * dp[t];
      size += fabs(p[t] * dp[t]);
    }
    for (int64_t t = 0; t < s->knn; t++)
      for (int64_t side = 0; side < 2; side++) {
        int64_t slot = (int64_t)r->index[item * s->knn + t], i = side ? slot % s->n_keys : slot / s->n_keys;
        int64_t q0 = (item * 2 + side) * s->half, k0 = ((item % s->heads * 2 + side) * s->n_keys + i) * s->half;
        double ds = p[t] * (dp[t] - mean),
               ds_error =
                   (double)(s->rows + s->knn + 8) * 0x1p-24 * p[t] * (fabs(dp[t]) + size) + r->rounding * fabs(ds);
        for (int64_t c = 0; c < s->half; c++) {
          r->dqueries[q0 + c] += ds * r->keys[k0 + c];
          r->dkeys[k0 + c] += ds * r->queries[q0 + c];
          r->dqueries_bound[q0 + c] += ds_error * fabs(r->keys[k0 + c]);
          r->dkeys_bound[k0 + c] += ds_error * fabs(r->queries[q0 + c]);
        }
      }
  }
}

/* Small whole numbers: their products add up exactly, and ties are frequent. */
static struct tensor *tensor_whole(struct conformance *c, enum dtype dtype, int64_t count) {
  double *values = conformance_doubles(c, count);
  for (int64_t i = 0; i < count; i++)
    values[i] = floor(5 * conformance_uniform(c)) - 2;
  return tensor_from(c, dtype, count, values);
}

static void check_forward(struct conformance *c, const struct select_reference *r, bool exact, const double *weight) {
  const struct select_shape *s = r->shape;
  for (int64_t item = 0; item < s->rows * s->heads; item++) {
    double size = half_scores(s, r->queries, r->keys, item, r->score), expected[32];
    double noise = exact ? 0 : conformance_sum_bound(s->half, 4 * size);
    const double *index = r->index + item * s->knn;
    bool right = slots_right(s, r->score, index, exact, noise);
    conformance_require(c, right, exact ? "the slots of the rule, ties included" : "the slots of the rule");
    if (!right)
      return;
    selected_weights(s, r->score, index, expected);
    for (int64_t t = 0; t < s->knn; t++) { /* the exponential of x in fp32 is off by a rounding of x */
      const double rounding = 0x1p-23 * fabs(log(fmax(expected[t], 1e-30)));
      conformance_require(c,
                          conformance_within(weight[item * s->knn + t], expected[t],
                                             (2 * noise + 2e-6 + rounding) * expected[t] + 1e-30),
                          "weights are the softmax of the selected sums");
    }
  }
}

static void check_select(struct conformance *c, enum dtype dtype, const struct select_shape *s, bool exact) {
  conformance_note(c, "rows %d heads %d K %d knn %d half %d exact %d", (int)s->rows, (int)s->heads, (int)s->n_keys,
                   (int)s->knn, (int)s->half, exact);
  int64_t query_count = s->rows * s->heads * 2 * s->half, key_count = 2 * s->heads * s->n_keys * s->half;
  int64_t picks = s->rows * s->heads * s->knn;
  struct tensor *queries = exact ? tensor_whole(c, dtype, query_count) : tensor_random(c, dtype, query_count, 1);
  struct tensor *keys = exact ? tensor_whole(c, dtype, key_count) : tensor_random(c, dtype, key_count, 0.4);
  struct tensor *index = tensor_result(c, DTYPE_I32, picks), *weight = tensor_result(c, DTYPE_F32, picks);
  struct tensor *dweight = tensor_random(c, DTYPE_F32, picks, 1), *dqueries = tensor_result(c, dtype, query_count);
  struct tensor *dkeys = tensor_random(c, DTYPE_F32, key_count, 1);
  struct memory_select call = {.rows = s->rows,
                               .heads = s->heads,
                               .n_keys = s->n_keys,
                               .knn = s->knn,
                               .half = s->half,
                               .dtype = dtype,
                               .queries = queries->data,
                               .keys = keys->data,
                               .index = index->data,
                               .weight = weight->data,
                               .dweight = dweight->data,
                               .dqueries = dqueries->data,
                               .dkeys = dkeys->data};
  c->device->op->memory_select(c->device, &call);
  c->device->op->memory_select_backward(c->device, &call);
  struct select_reference r = {.shape = s,
                               .queries = queries->value,
                               .keys = keys->value,
                               .index = tensor_read(c, index),
                               .dweight = dweight->value,
                               .rounding = weight_rounding(dtype),
                               .score = conformance_doubles(c, 2 * s->n_keys),
                               .dqueries = conformance_doubles(c, query_count),
                               .dqueries_bound = conformance_doubles(c, query_count),
                               .dkeys = conformance_doubles(c, key_count),
                               .dkeys_bound = conformance_doubles(c, key_count)};
  check_forward(c, &r, exact, tensor_read(c, weight));
  if (c->failures)
    return;
  select_gradients(&r, weight->value);
  if (s->rows * s->n_keys < 100 && !exact) {
    conformance_check_gradient(c, "dqueries of the reference", select_loss, &r, r.queries, r.dqueries, query_count);
    conformance_check_gradient(c, "dkeys of the reference", select_loss, &r, r.keys, r.dkeys, key_count);
  }
  for (int64_t i = 0; i < key_count; i++) {
    r.dkeys[i] += dkeys->value[i];
    r.dkeys_bound[i] += 1e-6 * fabs(dkeys->value[i]);
  }
  conformance_check(c, "dqueries", dqueries, r.dqueries, r.dqueries_bound);
  conformance_check(c, "dkeys", dkeys, r.dkeys, r.dkeys_bound);
}

static void test_select(struct conformance *c, enum dtype dtype) {
  struct select_shape random = {.rows = conformance_size(c, 30),
                                .heads = conformance_size(c, 4),
                                .n_keys = conformance_size(c, 30),
                                .half = conformance_size(c, 40)};
  int64_t limit = random.n_keys < 32 ? random.n_keys : 32;
  random.knn = conformance_size(c, limit);
  random.knn = random.knn > limit ? limit : random.knn;
  const struct select_shape *fixed = &fixed_selects[c->seed % (sizeof fixed_selects / sizeof *fixed_selects)];
  for (int exact = 0; exact < 2; exact++) {
    check_select(c, dtype, &random, exact);
    check_select(c, dtype, fixed, exact);
  }
}

/* A training that has diverged must not read beyond the table. */
static void test_select_nan(struct conformance *c, enum dtype dtype) {
  enum { ROWS = 5, HEADS = 2, HALF = 6 };
  static const int64_t sizes[][2] = {{8, 4}, {100, 20}}; /* K, knn: few keys, many keys */
  for (int i = 0; i < 2; i++) {
    int64_t n_keys = sizes[i][0], knn = sizes[i][1], picks = ROWS * HEADS * knn;
    struct tensor *queries = tensor_result(c, dtype, ROWS * HEADS * 2 * HALF),
                  *index = tensor_result(c, DTYPE_I32, picks);
    struct tensor *keys = tensor_random(c, dtype, 2 * HEADS * n_keys * HALF, 1),
                  *weight = tensor_result(c, DTYPE_F32, picks);
    struct memory_select call = {ROWS,       HEADS,       n_keys,       knn,  HALF, dtype, queries->data,
                                 keys->data, index->data, weight->data, NULL, NULL, NULL};
    c->device->op->memory_select(c->device, &call);
    const double *slot = tensor_read(c, index);
    for (int64_t t = 0; t < picks; t++)
      conformance_require(c, slot[t] >= 0 && slot[t] < (double)(n_keys * n_keys), "queries of NaN still select slots");
  }
}

struct read_shape {
  int64_t rows, entries, slots, width;
};
static const struct read_shape fixed_reads[] = {
    {197, 8, 64, 256}, {9, 128, 5000, 96}, {300, 4, 1, 17},    {3, 2, 1 << 20, 8},
    {64, 7, 9, 768},   {1, 1, 1, 1},       {30, 16, 100, 304}, {400, 8, 3, 64},
};

static void read_reference(const struct read_shape *s, enum dtype dtype, const double *index, const double *weight,
                           const double *values, const double *dout, double *result[6]) {
  const double rounding = weight_rounding(dtype);
  enum { OUT, OUT_BOUND, DWEIGHT, DWEIGHT_BOUND, DVALUES, DVALUES_BOUND };
  for (int64_t j = 0; j < s->rows * s->entries; j++) {
    int64_t row = j / s->entries * s->width, slot = (int64_t)index[j] * s->width;
    for (int64_t c = 0; c < s->width; c++) {
      double product = weight[j] * values[slot + c], gradient = dout[row + c] * values[slot + c],
             value = weight[j] * dout[row + c];
      result[OUT][row + c] += product;
      result[OUT_BOUND][row + c] += fabs(conformance_sum_bound(s->entries, product)) + rounding * fabs(product);
      result[DWEIGHT][j] += gradient;
      result[DWEIGHT_BOUND][j] += fabs(conformance_sum_bound(s->width, gradient));
      result[DVALUES][slot + c] += value;
      result[DVALUES_BOUND][slot + c] +=
          fabs(conformance_sum_bound(s->rows * s->entries, value)) + rounding * fabs(value);
    }
  }
}

static void check_read(struct conformance *c, enum dtype dtype, const struct read_shape *s) {
  conformance_note(c, "rows %d entries %d slots %d V %d", (int)s->rows, (int)s->entries, (int)s->slots, (int)s->width);
  int64_t count = s->rows * s->entries, out_count = s->rows * s->width, value_count = s->slots * s->width;
  struct tensor *index = tensor_indices(c, count, s->slots), *weight = tensor_random(c, DTYPE_F32, count, 1);
  struct tensor *values = tensor_random(c, dtype, value_count, 1), *out = tensor_result(c, dtype, out_count);
  struct tensor *dout = tensor_random(c, dtype, out_count, 1), *dweight = tensor_result(c, DTYPE_F32, count);
  struct tensor *dvalues = tensor_random(c, DTYPE_F32, value_count, 1);
  double *result[6] = {conformance_doubles(c, out_count),   conformance_doubles(c, out_count),
                       conformance_doubles(c, count),       conformance_doubles(c, count),
                       conformance_doubles(c, value_count), conformance_doubles(c, value_count)};
  for (int64_t i = 0; i < value_count; i++) {
    result[4][i] = dvalues->value[i];
    result[5][i] = 1e-6 * fabs(dvalues->value[i]);
  }
  read_reference(s, dtype, index->value, weight->value, values->value, dout->value, result);
  struct memory_read call = {.rows = s->rows,
                             .entries = s->entries,
                             .slots = s->slots,
                             .width = s->width,
                             .dtype = dtype,
                             .index = index->data,
                             .weight = weight->data,
                             .values = values->data,
                             .out = out->data,
                             .dout = dout->data,
                             .dweight = dweight->data,
                             .dvalues = dvalues->data};
  c->device->op->memory_read(c->device, &call);
  c->device->op->memory_read_backward(c->device, &call);
  conformance_check(c, "out", out, result[0], result[1]);
  conformance_check(c, "dweight", dweight, result[2], result[3]);
  conformance_check(c, "dvalues", dvalues, result[4], result[5]);
}

static void test_read(struct conformance *c, enum dtype dtype) {
  struct read_shape random = {.rows = conformance_size(c, 60),
                              .entries = conformance_size(c, 20),
                              .slots = conformance_size(c, 100),
                              .width = conformance_size(c, 200)};
  check_read(c, dtype, &random);
  check_read(c, dtype, &fixed_reads[c->seed % (sizeof fixed_reads / sizeof *fixed_reads)]);
}

/* Select and read, with their gradients, to the bit for another number of threads. */
static void test_memory_repeats(struct conformance *c, enum dtype dtype) {
  enum { ROWS = 300, HEADS = 2, KEYS = 8, KNN = 4, HALF = 24, WIDTH = 40, ENTRIES = HEADS * KNN, SLOTS = KEYS * KEYS };
  struct tensor *queries = tensor_random(c, dtype, ROWS * HEADS * 2 * HALF, 1),
                *keys = tensor_random(c, dtype, 2 * HEADS * KEYS * HALF, 1);
  struct tensor *values = tensor_random(c, dtype, SLOTS * WIDTH, 1), *dout = tensor_random(c, dtype, ROWS * WIDTH, 1);
  struct tensor *result[2][6];
  int threads = c->device->threads;
  for (int pass = 0; pass < 2; pass++) {
    struct tensor **r = result[pass];
    r[0] = tensor_result(c, dtype, ROWS * WIDTH);
    r[1] = tensor_result(c, DTYPE_F32, ROWS * ENTRIES);
    r[2] = tensor_result(c, dtype, queries->count);
    r[3] = tensor_from(c, DTYPE_F32, keys->count, conformance_doubles(c, keys->count));
    r[4] = tensor_from(c, DTYPE_F32, values->count, conformance_doubles(c, values->count));
    r[5] = tensor_result(c, DTYPE_F32, ROWS * ENTRIES);
    struct tensor *index = tensor_result(c, DTYPE_I32, ROWS * ENTRIES);
    c->device->threads = pass ? 1 : threads;
    struct memory_select select = {ROWS,       HEADS,         KEYS,       KNN,         HALF,
                                   dtype,      queries->data, keys->data, index->data, r[1]->data,
                                   r[5]->data, r[2]->data,    r[3]->data};
    struct memory_read read = {ROWS,       ENTRIES,      SLOTS,      WIDTH,      dtype,      index->data,
                               r[1]->data, values->data, r[0]->data, dout->data, r[5]->data, r[4]->data};
    c->device->op->memory_select(c->device, &select);
    c->device->op->memory_read(c->device, &read);
    c->device->op->memory_read_backward(c->device, &read);
    c->device->op->memory_select_backward(c->device, &select);
  }
  c->device->threads = threads;
  bool same = true;
  for (int i = 0; i < 6; i++) {
    const double *a = tensor_read(c, result[0][i]), *b = tensor_read(c, result[1][i]);
    for (int64_t n = 0; n < result[0][i]->count; n++)
      same = same && a[n] == b[n];
  }
  conformance_require(c, same, "another number of threads gives the same numbers");
}

const struct conformance_case conformance_memory[] = {{"memory_select", test_select},
                                                      {"memory_select NaN", test_select_nan},
                                                      {"memory_read", test_read},
                                                      {"memory repeats", test_memory_repeats},
                                                      {0}};

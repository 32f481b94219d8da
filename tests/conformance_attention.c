/* Softmax attention, forward and backward. */
#include "conformance.h"
#include <math.h>

struct attention_shape {
  int64_t batch, tokens, queries, heads, head_width;
  bool causal, position, packed; /* packed: q, k and v are thirds of one row */
};

/* One of them each round, beside a random one. */
static const struct attention_shape fixed_shapes[] = {
    {1, 197, 197, 1, 64, false, false, true}, {2, 77, 77, 2, 64, true, false, true},
    {3, 33, 1, 2, 64, false, false, false},   {4, 77, 1, 2, 64, true, true, false},
    {1, 270, 270, 1, 24, true, false, true},  {1, 530, 530, 1, 5, false, false, true},
    {2, 12, 12, 2, 80, true, false, false},   {1, 257, 257, 1, 64, false, false, true},
    {1, 70, 70, 2, 80, false, false, true},   {2, 130, 130, 1, 128, true, false, true},
    {2, 11, 11, 2, 136, false, false, true},  {1, 17, 17, 1, 300, true, false, false},
    {2, 9, 1, 2, 256, true, true, false},
};

/* The operands in double, the results, and bounds on their errors. Gradients are those of sum(out dout). */
struct attention_reference {
  const struct attention_shape *shape;
  int64_t q_stride, kv_stride;
  const int32_t *position;
  double rounding; /* relative error of a probability as an operand */
  double *q, *k, *v, *dout;
  double *out, *lse, *dq, *dk, *dv, *out_bound, *lse_bound, *dq_bound, *dk_bound, *dv_bound;
};

/* The scores of one query: s (scaled), its probabilities p, dp = dout v, and sums of absolute values for the bounds. */
struct query_work {
  double *s, *p, *dp, *dp_size;
  double largest_size; /* of a scaled score's terms */
  double lse, mean;
  double mean_size; /* of the terms of <dout, out>, which is the mean: a device may take it from the rounded out */
};

static void query_scores(const struct attention_reference *r, int64_t b, int64_t h, int64_t i, int64_t visible,
                         struct query_work *w) {
  const struct attention_shape *s = r->shape;
  int64_t d = s->head_width;
  const double *q = r->q + (b * s->queries + i) * r->q_stride + h * d;
  double scale = 1 / sqrt((double)d), largest = -INFINITY, sum = 0;
  w->largest_size = 0;
  for (int64_t t = 0; t < visible; t++) {
    const double *k = r->k + (b * s->tokens + t) * r->kv_stride + h * d;
    double size = w->s[t] = 0;
    for (int64_t c = 0; c < d; c++) {
      w->s[t] += scale * q[c] * k[c];
      size += fabs(scale * q[c] * k[c]);
    }
    largest = fmax(largest, w->s[t]);
    w->largest_size = fmax(w->largest_size, size);
  }
  for (int64_t t = 0; t < visible; t++)
    sum += exp(w->s[t] - largest);
  w->lse = largest + log(sum);
  for (int64_t t = 0; t < visible; t++)
    w->p[t] = exp(w->s[t] - w->lse);
}

static void query_output(const struct attention_reference *r, int64_t b, int64_t h, int64_t i, int64_t visible,
                         struct query_work *w) {
  const struct attention_shape *s = r->shape;
  int64_t d = s->head_width, at = ((b * s->queries + i) * s->heads + h) * d;
  w->mean = 0;
  for (int64_t t = 0; t < visible; t++) {
    const double *v = r->v + (b * s->tokens + t) * r->kv_stride + h * d;
    w->dp[t] = w->dp_size[t] = 0;
    for (int64_t c = 0; c < d; c++) {
      r->out[at + c] += w->p[t] * v[c];
      r->out_bound[at + c] += fabs(w->p[t] * v[c]);
      w->dp[t] += r->dout[at + c] * v[c];
      w->dp_size[t] += fabs(r->dout[at + c] * v[c]);
    }
    w->mean += w->p[t] * w->dp[t];
  }
  w->mean_size = 0;
  for (int64_t c = 0; c < d; c++)
    w->mean_size += fabs(r->dout[at + c] * r->out[at + c]);
}

static void query_gradients(const struct attention_reference *r, int64_t b, int64_t h, int64_t i, int64_t visible,
                            double noise, const struct query_work *w) {
  const struct attention_shape *s = r->shape;
  int64_t d = s->head_width, q0 = (b * s->queries + i) * r->q_stride + h * d,
          out0 = ((b * s->queries + i) * s->heads + h) * d;
  double scale = 1 / sqrt((double)d), mean_size = 0;
  for (int64_t t = 0; t < visible; t++)
    mean_size += w->p[t] * w->dp_size[t];
  for (int64_t t = 0; t < visible; t++) {
    int64_t k0 = (b * s->tokens + t) * r->kv_stride + h * d;
    double ds = scale * w->p[t] * (w->dp[t] - w->mean);
    double ds_error = r->rounding * (fabs(ds) + 0.5 * scale * w->p[t] * w->mean_size) +
                      noise * scale * w->p[t] * (w->dp_size[t] + mean_size);
    for (int64_t c = 0; c < d; c++) {
      r->dq[q0 + c] += ds * r->k[k0 + c];
      r->dk[k0 + c] += ds * r->q[q0 + c];
      r->dv[k0 + c] += w->p[t] * r->dout[out0 + c];
      r->dq_bound[q0 + c] += ds_error * fabs(r->k[k0 + c]);
      r->dk_bound[k0 + c] += ds_error * fabs(r->q[q0 + c]);
      r->dv_bound[k0 + c] += (r->rounding + noise) * w->p[t] * fabs(r->dout[out0 + c]);
    }
  }
}

/* The loss sum(out dout); with `gradients`, everything else too. */
static double attention_compute(const struct attention_reference *r, bool gradients) {
  const struct attention_shape *s = r->shape;
  double work[4][530], loss = 0;
  struct query_work w = {.s = work[0], .p = work[1], .dp = work[2], .dp_size = work[3]};
  for (int64_t item = 0; item < s->batch * s->heads * s->queries; item++) {
    int64_t i = item % s->queries, h = item / s->queries % s->heads, b = item / s->queries / s->heads;
    int64_t visible = !s->causal ? s->tokens : s->position ? r->position[b] + 1 : i + 1;
    query_scores(r, b, h, i, visible, &w);
    double noise = (double)(s->head_width + s->tokens + 8) * 0x1p-24 * (1 + w.largest_size);
    query_output(r, b, h, i, visible, &w);
    loss += w.mean;
    if (!gradients)
      continue;
    for (int64_t c = 0; c < s->head_width; c++)
      r->out_bound[((b * s->queries + i) * s->heads + h) * s->head_width + c] *= r->rounding + noise;
    r->lse[(b * s->heads + h) * s->queries + i] = w.lse;
    r->lse_bound[(b * s->heads + h) * s->queries + i] = noise + 1e-6;
    query_gradients(r, b, h, i, visible, noise, &w);
  }
  return loss;
}

static double attention_loss(void *context) {
  return attention_compute(context, false);
}

/* A tensor of q, or of k and v side by side, with some unused elements between the rows. */
struct attention_tensors {
  struct tensor *q, *kv, *out, *lse, *dout, *dq, *dkv;
};

/* What a strided gradient does not own must stay as it was: expected there is NaN's replacement, 3, which the test put.
 */
static struct tensor *marked(struct conformance *c, enum dtype dtype, int64_t count) {
  double *values = conformance_doubles(c, count);
  for (int64_t i = 0; i < count; i++)
    values[i] = 3;
  return tensor_from(c, dtype, count, values);
}

static void mark_gaps(double *expected, int64_t rows, int64_t stride, int64_t width) {
  for (int64_t i = 0; i < rows * stride; i++)
    if (i % stride >= width)
      expected[i] = 3;
}

/* Device pointers to parts of rows. */
static void *part(const struct tensor *tensor, int64_t offset) {
  return (char *)tensor->data + (size_t)offset * dtype_size(tensor->dtype);
}

static struct attention attention_call(const struct attention_shape *s, const struct attention_reference *r,
                                       const struct attention_tensors *t, const struct tensor *position) {
  int64_t width = s->heads * s->head_width, k = s->packed ? width : 0, v = k + width;
  return (struct attention){.batch = s->batch,
                            .tokens = s->tokens,
                            .queries = s->queries,
                            .heads = s->heads,
                            .head_width = s->head_width,
                            .q_stride = r->q_stride,
                            .kv_stride = r->kv_stride,
                            .dtype = t->q->dtype,
                            .causal = s->causal,
                            .position = tensor_data(position),
                            .q = t->q->data,
                            .k = part(t->kv, k),
                            .v = part(t->kv, v),
                            .out = t->out->data,
                            .lse = t->lse->data,
                            .dout = t->dout->data,
                            .dq = t->dq->data,
                            .dk = part(t->dkv, k),
                            .dv = part(t->dkv, v)};
}

static double *zeros(struct conformance *c, int64_t count) {
  return conformance_doubles(c, count);
}

/* In a packed call dq, dk and dv are one tensor, and so are their references: their offsets keep them apart. */
static void make_reference(struct conformance *c, struct attention_reference *r, const struct attention_tensors *t) {
  const struct attention_shape *s = r->shape;
  int64_t width = s->heads * s->head_width, k = s->packed ? width : 0;
  r->q = t->q->value;
  r->k = t->kv->value + k;
  r->v = r->k + width;
  r->dout = t->dout->value;
  r->out = zeros(c, t->out->count);
  r->out_bound = zeros(c, t->out->count);
  r->lse = zeros(c, t->lse->count);
  r->lse_bound = zeros(c, t->lse->count);
  r->dq = zeros(c, t->q->count);
  r->dq_bound = zeros(c, t->q->count);
  r->dk = s->packed ? r->dq + width : zeros(c, t->kv->count);
  r->dk_bound = s->packed ? r->dq_bound + width : zeros(c, t->kv->count);
  r->dv = r->dk + width;
  r->dv_bound = r->dk_bound + width;
}

static void check_shape(struct conformance *c, enum dtype dtype, const struct attention_shape *s) {
  int64_t width = s->heads * s->head_width;
  struct attention_reference r = {.shape = s, .rounding = dtype == DTYPE_BF16 ? 2.1 * conformance_unit(dtype) : 0};
  const bool even = conformance_flag(c); /* unused elements that leave rows aligned, or not */
  r.q_stride = s->packed ? 3 * width : width + (even ? 8 : 3);
  r.kv_stride = s->packed ? 3 * width : 2 * width + (even ? 16 : 5);
  conformance_note(c, "B %d T %d queries %d H %d d %d causal %d position %d packed %d", (int)s->batch, (int)s->tokens,
                   (int)s->queries, (int)s->heads, (int)s->head_width, s->causal, s->position, s->packed);
  int64_t q_count = s->batch * s->queries * r.q_stride, kv_count = s->batch * s->tokens * r.kv_stride,
          out_count = s->batch * s->queries * width;
  struct attention_tensors t = {.q = tensor_random(c, dtype, q_count, 1.3), .dq = marked(c, dtype, q_count)};
  t.kv = s->packed ? t.q : tensor_random(c, dtype, kv_count, 1.3);
  t.dkv = s->packed ? t.dq : marked(c, dtype, kv_count);
  t.out = tensor_result(c, dtype, out_count);
  t.dout = tensor_random(c, dtype, out_count, 1);
  t.lse = tensor_result(c, DTYPE_F32, s->batch * s->heads * s->queries);
  struct tensor *position = s->position ? tensor_indices(c, s->batch, s->tokens) : NULL;
  int32_t positions[8];
  for (int64_t b = 0; b < s->batch; b++)
    positions[b] = position ? (int32_t)position->value[b] : 0;
  r.position = positions;
  make_reference(c, &r, &t);
  attention_compute(&r, true);
  struct attention call = attention_call(s, &r, &t, position);
  c->device->op->attention(c->device, &call);
  c->device->op->attention_backward(c->device, &call);
  conformance_check(c, "out", t.out, r.out, r.out_bound);
  conformance_check(c, "lse", t.lse, r.lse, r.lse_bound);
  if (!s->packed) {
    mark_gaps(r.dq, s->batch * s->queries, r.q_stride, width);
    mark_gaps(r.dk, s->batch * s->tokens, r.kv_stride, 2 * width);
    conformance_check(c, "dk, dv", t.dkv, r.dk, r.dk_bound);
  }
  conformance_check(c, s->packed ? "dq, dk, dv" : "dq", t.dq, r.dq, r.dq_bound);
  if (s->batch * s->tokens * s->queries * s->heads * s->head_width > 40000)
    return;
  conformance_check_gradient(c, "dq of the reference", attention_loss, &r, r.q, r.dq, s->head_width);
  conformance_check_gradient(c, "dk of the reference", attention_loss, &r, r.k, r.dk, s->head_width);
  conformance_check_gradient(c, "dv of the reference", attention_loss, &r, r.v, r.dv, s->head_width);
}

static void test_attention(struct conformance *c, enum dtype dtype) {
  struct attention_shape random = {.batch = conformance_size(c, 4),
                                   .tokens = conformance_size(c, 60),
                                   .heads = conformance_size(c, 3),
                                   .head_width = conformance_size(c, 70),
                                   .causal = conformance_flag(c)};
  random.queries = conformance_flag(c) ? random.tokens : 1;
  random.position = random.causal && random.queries == 1;
  random.packed = random.queries == random.tokens && conformance_flag(c);
  check_shape(c, dtype, &random);
  enum { SHAPES = sizeof fixed_shapes / sizeof *fixed_shapes, ROUNDS = 8 };
  for (uint64_t i = c->seed % ROUNDS; i < SHAPES; i += ROUNDS)
    check_shape(c, dtype, &fixed_shapes[i]);
}

/* No log-sum-exp asked for, and the same numbers for another number of threads. */
static void test_attention_repeats(struct conformance *c, enum dtype dtype) {
  const struct attention_shape s = {2, 50, 50, 2, 32, conformance_flag(c), false, true};
  struct attention_reference r = {.shape = &s, .q_stride = 192, .kv_stride = 192};
  conformance_note(c, "causal %d", s.causal);
  struct attention_tensors t = {.q = tensor_random(c, dtype, 100 * 192, 1)}, again;
  t.kv = t.q;
  t.dout = tensor_random(c, dtype, 100 * 64, 1);
  t.lse = tensor_result(c, DTYPE_F32, 200);
  again = t;
  int threads = c->device->threads;
  for (int pass = 0; pass < 2; pass++) {
    struct attention_tensors *now = pass ? &again : &t;
    now->out = tensor_result(c, dtype, 100 * 64);
    now->dq = now->dkv = tensor_result(c, dtype, 100 * 192);
    struct attention call = attention_call(&s, &r, now, NULL);
    c->device->threads = pass ? 1 : threads;
    call.lse = pass ? NULL : call.lse;
    c->device->op->attention(c->device, &call);
    call.lse = t.lse->data;
    c->device->op->attention_backward(c->device, &call);
  }
  c->device->threads = threads;
  const double *out = tensor_read(c, t.out), *dq = tensor_read(c, t.dq);
  const double *out_again = tensor_read(c, again.out), *dq_again = tensor_read(c, again.dq);
  bool same = true;
  for (int64_t i = 0; i < t.out->count; i++)
    same = same && out[i] == out_again[i];
  for (int64_t i = 0; i < t.dq->count; i++)
    same = same && dq[i] == dq_again[i];
  conformance_require(c, same, "another number of threads gives the same numbers");
}

const struct conformance_case conformance_attention[] = {
    {"attention", test_attention}, {"attention repeats", test_attention_repeats}, {0}};

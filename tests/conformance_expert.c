/* Experts of one neuron (PEER) and dropout. */
#include "base/random.h"
#include "conformance.h"
#include <math.h>

struct expert_shape {
  int64_t rows, entries, slots, width;
};
static const struct expert_shape fixed_experts[] = {
    {33, 10, 49, 14}, {197, 8, 64, 96}, {1, 1, 1, 1}, {40, 6, 3, 33}, {5, 64, 4096, 40}, {300, 2, 1, 7},
};

static double gelu(double x) {
  return 0.5 * x * erfc(-x / sqrt(2));
}
static double gelu_slope(double x) {
  return 0.5 * erfc(-x / sqrt(2)) + x * exp(-0.5 * x * x) / sqrt(2 * acos(-1));
}

/* A result and the error that it may have. */
struct expected {
  double *value, *bound;
};
struct expert_reference {
  const struct expert_shape *shape;
  const double *index, *dout;
  double *weight, *x, *down, *up;
  struct expected z, out, dweight, dx, ddown, dup;
};

static double dot(const double *a, const double *b, int64_t count, double *size) {
  double sum = *size = 0;
  for (int64_t c = 0; c < count; c++) {
    sum += a[c] * b[c];
    *size += fabs(a[c] * b[c]);
  }
  return sum;
}

/* sum(dout out), of everything that has a gradient */
static double expert_loss(void *context) {
  const struct expert_reference *r = context;
  const int64_t width = r->shape->width;
  double loss = 0, size;
  for (int64_t j = 0; j < r->shape->rows * r->shape->entries; j++) {
    const int64_t row = j / r->shape->entries * width, slot = (int64_t)r->index[j] * width;
    loss += r->weight[j] * gelu(dot(r->x + row, r->down + slot, width, &size)) *
            dot(r->dout + row, r->up + slot, width, &size);
  }
  return loss;
}

/* to[c] += factor from[c], where factor is off by up to `error` and the sum has `length` terms. */
static void add_scaled(struct expected to, int64_t at, double factor, double error, const double *from, int64_t width,
                       int64_t length) {
  for (int64_t c = 0; c < width; c++) {
    to.value[at + c] += factor * from[c];
    to.bound[at + c] += error * fabs(from[c]) + conformance_sum_bound(length, fabs(factor * from[c]));
  }
}

/* Slopes of gelu and of gelu' are at most 1.13 and 0.8. */
static void expert_compute(struct expert_reference *r) {
  const struct expert_shape *s = r->shape;
  for (int64_t j = 0; j < s->rows * s->entries; j++) {
    const int64_t row = j / s->entries * s->width, slot = (int64_t)r->index[j] * s->width;
    const double w = r->weight[j];
    double z_size, c_size;
    const double z = dot(r->x + row, r->down + slot, s->width, &z_size),
                 c = dot(r->dout + row, r->up + slot, s->width, &c_size);
    const double z_error = conformance_sum_bound(s->width, z_size), c_error = conformance_sum_bound(s->width, c_size);
    const double g = gelu(z), g_error = 1.13 * z_error + 0x1p-20 * fabs(g), slope = gelu_slope(z),
                 slope_error = 0.8 * z_error + 0x1p-19, dz = w * slope * c,
                 dz_error = fabs(w) * (fabs(slope) * c_error + fabs(c) * slope_error);
    r->z.value[j] = z;
    r->z.bound[j] = z_error;
    r->dweight.value[j] = g * c;
    r->dweight.bound[j] = fabs(g) * c_error + fabs(c) * g_error;
    add_scaled(r->out, row, w * g, fabs(w) * g_error, r->up + slot, s->width, s->entries);
    add_scaled(r->dx, row, dz, dz_error, r->down + slot, s->width, s->entries);
    add_scaled(r->dup, slot, w * g, fabs(w) * g_error, r->dout + row, s->width, s->rows * s->entries);
    add_scaled(r->ddown, slot, dz, dz_error, r->x + row, s->width, s->rows * s->entries);
  }
}

static struct expected expected_of(struct conformance *c, int64_t count) {
  return (struct expected){conformance_doubles(c, count), conformance_doubles(c, count)};
}

/* What is added to starts with what was there. */
static struct expected expected_on(struct conformance *c, const struct tensor *start) {
  struct expected expected = expected_of(c, start->count);
  for (int64_t i = 0; i < start->count; i++) {
    expected.value[i] = start->value[i];
    expected.bound[i] = 1e-6 * fabs(start->value[i]);
  }
  return expected;
}

static void check_slopes(struct conformance *c, struct expert_reference *r) {
  const struct expert_shape *s = r->shape;
  const int64_t picks = s->rows * s->entries, rows = s->rows * s->width, table = s->slots * s->width;
  struct expert_reference fresh = *r;
  fresh.z = expected_of(c, picks), fresh.dweight = expected_of(c, picks);
  fresh.out = expected_of(c, rows), fresh.dx = expected_of(c, rows);
  fresh.ddown = expected_of(c, table), fresh.dup = expected_of(c, table);
  expert_compute(&fresh);
  conformance_check_gradient(c, "dweight of the reference", expert_loss, r, r->weight, fresh.dweight.value, picks);
  conformance_check_gradient(c, "dx of the reference", expert_loss, r, r->x, fresh.dx.value, rows);
  conformance_check_gradient(c, "ddown of the reference", expert_loss, r, r->down, fresh.ddown.value, table);
  conformance_check_gradient(c, "dup of the reference", expert_loss, r, r->up, fresh.dup.value, table);
}

static void check_experts(struct conformance *c, enum dtype dtype, const struct expert_shape *s, bool wanted) {
  conformance_note(c, "rows %d entries %d slots %d C %d gradients %d", (int)s->rows, (int)s->entries, (int)s->slots,
                   (int)s->width, wanted);
  const int64_t picks = s->rows * s->entries, rows = s->rows * s->width, table = s->slots * s->width;
  struct tensor *index = tensor_indices(c, picks, s->slots), *weight = tensor_random(c, DTYPE_F32, picks, 1),
                *x = tensor_random(c, dtype, rows, 1), *down = tensor_random(c, dtype, table, 0.4),
                *up = tensor_random(c, dtype, table, 1), *dout = tensor_random(c, dtype, rows, 1),
                *z = tensor_result(c, DTYPE_F32, picks), *out = tensor_result(c, dtype, rows),
                *dweight = tensor_result(c, DTYPE_F32, picks), *dx = wanted ? tensor_random(c, dtype, rows, 1) : NULL,
                *ddown = wanted ? tensor_random(c, DTYPE_F32, table, 1) : NULL,
                *dup = wanted ? tensor_random(c, DTYPE_F32, table, 1) : NULL;
  struct expert_reference r = {.shape = s,
                               .index = index->value,
                               .dout = dout->value,
                               .weight = weight->value,
                               .x = x->value,
                               .down = down->value,
                               .up = up->value,
                               .z = expected_of(c, picks),
                               .out = expected_of(c, rows),
                               .dweight = expected_of(c, picks),
                               .dx = wanted ? expected_on(c, dx) : expected_of(c, rows),
                               .ddown = wanted ? expected_on(c, ddown) : expected_of(c, table),
                               .dup = wanted ? expected_on(c, dup) : expected_of(c, table)};
  struct expert_read call = {.rows = s->rows,
                             .entries = s->entries,
                             .slots = s->slots,
                             .width = s->width,
                             .dtype = dtype,
                             .index = index->data,
                             .weight = weight->data,
                             .x = x->data,
                             .down = down->data,
                             .up = up->data,
                             .z = z->data,
                             .out = out->data,
                             .dout = dout->data,
                             .dweight = dweight->data,
                             .dx = tensor_data(dx),
                             .ddown = tensor_data(ddown),
                             .dup = tensor_data(dup)};
  expert_compute(&r);
  if (picks < 400)
    check_slopes(c, &r);
  c->device->op->expert_read(c->device, &call);
  conformance_check(c, "z", z, r.z.value, r.z.bound);
  conformance_check(c, "out", out, r.out.value, r.out.bound);
  c->device->op->expert_read_backward(c->device, &call);
  conformance_check(c, "dweight", dweight, r.dweight.value, r.dweight.bound);
  if (!wanted)
    return;
  conformance_check(c, "dx", dx, r.dx.value, r.dx.bound);
  conformance_check(c, "ddown", ddown, r.ddown.value, r.ddown.bound);
  conformance_check(c, "dup", dup, r.dup.value, r.dup.bound);
}

static void test_experts(struct conformance *c, enum dtype dtype) {
  const struct expert_shape random = {conformance_size(c, 40), conformance_size(c, 12), conformance_size(c, 60),
                                      conformance_size(c, 80)};
  check_experts(c, dtype, &random, conformance_flag(c));
  check_experts(c, dtype, &fixed_experts[c->seed % (sizeof fixed_experts / sizeof *fixed_experts)], true);
}

/* Large addresses and steps count, a dropped element is 0 whatever it was, and one row alone has the mask that it has
 * among all. */
static void test_dropout(struct conformance *c, enum dtype dtype) {
  const int64_t batch = conformance_size(c, 5), tokens = conformance_size(c, 9), width = conformance_size(c, 70),
                count = batch * tokens * width;
  const double probability = conformance_uniform(c);
  const struct random_key key = {.seed = c->seed, .use = RANDOM_DROPOUT, .layer = (uint32_t)conformance_size(c, 90)};
  const bool in_place = conformance_flag(c);
  conformance_note(c, "batch %d tokens %d width %d in place %d p %g", (int)batch, (int)tokens, (int)width, in_place,
                   probability);
  double *samples = conformance_doubles(c, batch), *positions = conformance_doubles(c, batch),
         *expected = conformance_doubles(c, count), *pooled = conformance_doubles(c, batch * width);
  for (int64_t b = 0; b < batch; b++) {
    samples[b] = (double)conformance_size(c, INT64_C(1) << 40);
    positions[b] = (double)(conformance_size(c, tokens) - 1);
  }
  struct tensor *x = tensor_random(c, dtype, count, 1), *y = in_place ? x : tensor_result(c, dtype, count),
                *sample = tensor_from(c, DTYPE_I64, batch, samples),
                *position = tensor_from(c, DTYPE_I32, batch, positions),
                *row = tensor_random(c, dtype, batch * width, 1),
                *step = tensor_from(c, DTYPE_I64, 1, (double[]){(double)conformance_size(c, INT64_C(1) << 35)});
  struct dropout call = {.batch = batch,
                         .tokens = tokens,
                         .tokens_max = tokens + conformance_size(c, 8),
                         .width = width,
                         .dtype = dtype,
                         .probability = probability,
                         .key = random_philox_key(&key),
                         .step = step->data,
                         .sample = sample->data,
                         .x = x->data,
                         .y = y->data};
  const uint32_t threshold = (uint32_t)floor(probability * 0x1p32);
  for (int64_t i = 0; i < count; i++) {
    const int64_t b = i / (tokens * width), t = i / width % tokens;
    const uint64_t element =
        (uint64_t)((sample->value[b] * (double)call.tokens_max + (double)t)) * (uint64_t)width + (uint64_t)(i % width);
    uint32_t words[4];
    random_philox(call.key, (uint64_t)step->value[0], element / 4, words);
    const bool kept = words[element % 4] >= threshold;
    expected[i] = kept ? x->value[i] / (1 - probability) : 0;
    if (t == (int64_t)positions[b])
      pooled[b * width + i % width] = kept ? row->value[b * width + i % width] / (1 - probability) : 0;
  }
  c->device->op->dropout(c->device, &call);
  conformance_check_all(c, "y", y, expected, 1e-6 / (1 - probability));
  call.tokens = 1;
  call.position = position->data;
  call.x = call.y = row->data;
  c->device->op->dropout(c->device, &call);
  conformance_check_all(c, "y of one token", row, pooled, 1e-6 / (1 - probability));
}

const struct conformance_case conformance_expert[] = {{"expert_read", test_experts}, {"dropout", test_dropout}, {0}};

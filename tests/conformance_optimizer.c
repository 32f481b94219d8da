/* AdamW and sums of squares. */
#include "base/memory.h"
#include "conformance.h"
#include "device/adamw.h"
#include <math.h>

enum { GROUPS = 5 };
static const struct setting {
  double lr, decay, clip_norm;
  int squares, clip_first, clip_count;
} settings[GROUPS] = {
    {1e-2, 0.2, 2, 0, 0, 2}, {1e-2, 0, 2, 0, 0, 1}, {3e-3, 0.1, 1.5, 1, 1, 1},
    {1e-2, 0.2, 0, 1, 0, 2}, {0, 0, 9, 0, 0, 2},
};

struct adamw_tensors {
  struct tensor *parameter, *gradient, *first, *second, *compute, *groups, *group_of, *squares;
  int *group; /* of each block, on the host */
  int group_count;
};

static struct tensor *blank(struct conformance *c, size_t bytes) {
  return tensor_result(c, DTYPE_F64, (int64_t)((bytes + sizeof(double) - 1) / sizeof(double)));
}

/* Blocks of up to five groups, a few neighbours of each. */
static struct adamw_tensors make_tensors(struct conformance *c, enum dtype dtype, int64_t blocks) {
  const int64_t count = blocks * ADAMW_BLOCK;
  struct adamw_tensors t = {.parameter = tensor_random(c, DTYPE_F32, count, 1),
                            .gradient = tensor_random(c, DTYPE_F32, count, 1),
                            .first = tensor_random(c, DTYPE_F32, count, 0),
                            .second = tensor_random(c, DTYPE_F32, count, 0),
                            .compute = dtype == DTYPE_BF16 ? tensor_result(c, DTYPE_BF16, count) : NULL,
                            .groups = blank(c, GROUPS * sizeof(struct adamw_group)),
                            .group_of = blank(c, (size_t)blocks * sizeof(uint16_t)),
                            .squares = tensor_result(c, DTYPE_F64, ADAMW_SQUARES),
                            .group = memory_allocate((size_t)blocks * sizeof(int), "groups"),
                            .group_count = (int)conformance_size(c, GROUPS)};
  uint16_t *group_of = memory_allocate((size_t)blocks * sizeof *group_of, "groups");
  for (int64_t b = 0; b < blocks; b++) {
    t.group[b] = b % 3 ? t.group[b - 1] : (int)conformance_size(c, t.group_count) - 1;
    group_of[b] = (uint16_t)t.group[b];
  }
  c->device->op->copy_in(c->device, t.group_of->data, group_of, (size_t)blocks * sizeof *group_of);
  memory_release(group_of);
  return t;
}

static struct adamw call_of(const struct adamw_tensors *t, double eps) {
  return (struct adamw){.count = t->parameter->count,
                        .group_of = t->group_of->data,
                        .groups = t->groups->data,
                        .group_count = t->group_count,
                        .parameter = t->parameter->data,
                        .gradient = t->gradient->data,
                        .first_moment = t->first->data,
                        .second_moment = t->second->data,
                        .compute = tensor_data(t->compute),
                        .beta1 = 0.9,
                        .beta2 = 0.98,
                        .eps = eps,
                        .squares = t->squares->data};
}

static void put_groups(struct conformance *c, const struct adamw_tensors *t, const struct adamw *call, int64_t step) {
  struct adamw_group groups[GROUPS];
  for (int i = 0; i < GROUPS; i++) {
    groups[i] = adamw_group_at(step, settings[i].lr, settings[i].decay, call->beta1, call->beta2);
    groups[i].squares = settings[i].squares;
    groups[i].clip_first = settings[i].clip_first;
    groups[i].clip_count = settings[i].clip_count;
    groups[i].clip_norm = settings[i].clip_norm;
  }
  c->device->op->copy_in(c->device, t->groups->data, groups, sizeof groups);
}

static void test_adamw_squares(struct conformance *c, enum dtype dtype) {
  const int64_t blocks = conformance_size(c, 1200);
  conformance_note(c, "blocks %d", (int)blocks);
  struct adamw_tensors t = make_tensors(c, dtype, blocks);
  const struct adamw call = call_of(&t, 1e-6);
  double expected[ADAMW_SQUARES] = {0};
  put_groups(c, &t, &call, 1);
  for (int64_t i = 0; i < call.count; i++)
    expected[settings[t.group[i / ADAMW_BLOCK]].squares] += t.gradient->value[i] * t.gradient->value[i];
  c->device->op->adamw_squares(c->device, &call);
  conformance_check_all(c, "squares", t.squares, expected, 1e-12 * (expected[0] + expected[1]));
  memory_release(t.group);
}

/* Several steps in double beside the device's; errors of a step are carried on by the moments. The gradients stay, or
 * are those of the first step only. */
static void test_adamw(struct conformance *c, enum dtype dtype) {
  enum { STEPS = 3 };
  const double squares[ADAMW_SQUARES] = {9, 2.25};
  struct adamw_tensors t = make_tensors(c, dtype, conformance_size(c, 150));
  struct adamw call = call_of(&t, 1e-6);
  const int64_t count = call.count;
  call.zero_gradient = conformance_flag(c);
  conformance_note(c, "count %d groups %d zero_gradient %d", (int)count, t.group_count, call.zero_gradient);
  c->device->op->copy_in(c->device, t.squares->data, squares, sizeof squares);
  double *p = conformance_doubles(c, count), *g = conformance_doubles(c, count), *m = conformance_doubles(c, count),
         *v = conformance_doubles(c, count), *bound = conformance_doubles(c, count);
  for (int64_t i = 0; i < count; i++) {
    p[i] = t.parameter->value[i];
    g[i] = t.gradient->value[i];
  }
  for (int step = 1; step <= STEPS; step++) {
    put_groups(c, &t, &call, step);
    c->device->op->adamw(c->device, &call);
    for (int64_t i = 0; i < count; i++) {
      const struct setting *s = &settings[t.group[i / ADAMW_BLOCK]];
      const double norm = sqrt(s->clip_count == 2 ? squares[0] + squares[1] : squares[s->clip_first]);
      const double scaled = g[i] * (s->clip_norm > 0 ? fmin(1, s->clip_norm / (norm + 1e-6)) : 1);
      m[i] = call.beta1 * m[i] + (1 - call.beta1) * scaled;
      v[i] = call.beta2 * v[i] + (1 - call.beta2) * scaled * scaled;
      p[i] = p[i] * (1 - s->lr * s->decay) -
             s->lr / (1 - pow(call.beta1, step)) * m[i] / (sqrt(v[i]) / sqrt(1 - pow(call.beta2, step)) + call.eps);
      bound[i] += conformance_sum_bound(8, fabs(p[i]) + 4 * s->lr);
      g[i] = call.zero_gradient ? 0 : g[i];
    }
  }
  conformance_check(c, "parameter", t.parameter, p, bound);
  conformance_check_all(c, "gradient", t.gradient, g, 0);
  conformance_check_all(c, "first moment", t.first, m, conformance_sum_bound(8, 2));
  conformance_check_all(c, "second moment", t.second, v, conformance_sum_bound(8, 2));
  if (t.compute)
    conformance_check(c, "compute copy", t.compute, p, bound);
  memory_release(t.group);
}

/* One step of a table without a master: everything that is kept is a bf16 number, the nearest to what fp32 would keep,
 * and steps below half a unit in the last place are lost (methods 1.8). */
static void test_adamw_bf16_state(struct conformance *c, enum dtype dtype) {
  struct adamw_tensors t = make_tensors(c, dtype, conformance_size(c, 24));
  struct adamw call = call_of(&t, 1e-12);
  const int64_t count = call.count;
  conformance_note(c, "count %d", (int)count);
  struct tensor *p = tensor_from(c, DTYPE_F32, count, tensor_random(c, DTYPE_BF16, count, 1)->value), *g = t.gradient,
                *m = t.first, *v = t.second, *compute = t.compute;
  struct adamw_group groups[GROUPS];
  call.parameter = p->data;
  for (int i = 0; i < GROUPS; i++) {
    groups[i] = adamw_group_at(1, 5e-4, 0.1, call.beta1, call.beta2);
    groups[i].bf16_state = true;
  }
  c->device->op->copy_in(c->device, t.groups->data, groups, sizeof groups);
  double *expected[3] = {conformance_doubles(c, count), conformance_doubles(c, count), conformance_doubles(c, count)};
  double *bound[3] = {conformance_doubles(c, count), conformance_doubles(c, count), conformance_doubles(c, count)};
  for (int64_t i = 0; i < count; i++) {
    expected[0][i] = 0.1 * g->value[i];
    expected[1][i] = 0.02 * g->value[i] * g->value[i];
    expected[2][i] = p->value[i] * (1 - 5e-4 * 0.1) - (g->value[i] > 0 ? 5e-4 : -5e-4);
    for (int n = 0; n < 3; n++) /* rounded inputs, then a rounded result */
      bound[n][i] =
          3 * 0x1p-8 * (n == 2 ? 5e-4 : fabs(expected[n][i])) + (n == 2 ? 1.01 * 0x1p-8 * fabs(p->value[i]) : 0);
  }
  c->device->op->adamw(c->device, &call);
  double *before = conformance_doubles(c, count);
  for (int64_t i = 0; i < count; i++)
    before[i] = p->value[i];
  conformance_check(c, "first moment", m, expected[0], bound[0]);
  conformance_check(c, "second moment", v, expected[1], bound[1]);
  conformance_check(c, "parameter", p, expected[2], bound[2]);
  for (int64_t i = 0; i < count; i++) {
    conformance_require(c,
                        (double)bf16_to_float(bf16_from_float((float)p->value[i])) == p->value[i] &&
                            (double)bf16_to_float(bf16_from_float((float)m->value[i])) == m->value[i] &&
                            (double)bf16_to_float(bf16_from_float((float)v->value[i])) == v->value[i],
                        "what is kept is bf16");
    conformance_require(c, fabs(before[i]) < 0.3 || p->value[i] == before[i], "small steps of large values are lost");
  }
  if (compute)
    conformance_check_all(c, "compute copy", compute, p->value, 0);
  memory_release(t.group);
}

const struct conformance_case conformance_optimizer[] = {{"adamw_squares", test_adamw_squares},
                                                         {"adamw", test_adamw},
                                                         {"adamw of a bf16 table", test_adamw_bf16_state},
                                                         {0}};

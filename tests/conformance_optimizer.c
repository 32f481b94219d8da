/* AdamW and sums of squares. */
#include "conformance.h"
#include <math.h>

static void test_sum_of_squares(struct conformance *c, enum dtype dtype) {
  (void)dtype;
  int64_t count = conformance_size(c, 150000);
  conformance_note(c, "count %d", (int)count);
  struct tensor *x = tensor_random(c, DTYPE_F32, count, 1), *result = tensor_from(c, DTYPE_F64, 1, (double[]){2.5});
  double expected = 2.5;
  for (int64_t i = 0; i < count; i++)
    expected += x->value[i] * x->value[i];
  c->device->op->sum_of_squares(c->device, x->data, count, result->data);
  conformance_check_all(c, "sum", result, &expected, 1e-12 * expected);
}

struct adamw_tensors {
  struct tensor *parameter, *gradient, *first, *second, *compute;
};

/* Several steps in double beside the device's; errors of a step are carried on by the moments. */
static void test_adamw(struct conformance *c, enum dtype dtype) {
  enum { STEPS = 3 };
  int64_t count = conformance_size(c, 20000);
  bool zero = conformance_flag(c);
  const int clipped =
      (int)conformance_size(c, 4) - 1; /* 0: off; else by how many sums of squares, the last run apart */
  const double squares[] = {9, 16, 2.25}, norms[] = {0, 3, 5, sqrt(27.25)};
  conformance_note(c, "count %d zero_gradient %d clipped %d", (int)count, zero, clipped);
  struct adamw_tensors t = {tensor_random(c, DTYPE_F32, count, 1), tensor_random(c, DTYPE_F32, count, 1),
                            tensor_random(c, DTYPE_F32, count, 0), tensor_random(c, DTYPE_F32, count, 0),
                            dtype == DTYPE_BF16 ? tensor_result(c, DTYPE_BF16, count) : NULL};
  struct adamw call = {.count = count,
                       .parameter = t.parameter->data,
                       .gradient = t.gradient->data,
                       .first_moment = t.first->data,
                       .second_moment = t.second->data,
                       .compute = tensor_data(t.compute),
                       .lr = 1e-2,
                       .beta1 = 0.9,
                       .beta2 = 0.98,
                       .eps = 1e-6,
                       .decay = 0.2,
                       .clip_norm = clipped ? 2 : 0,
                       .squares = clipped ? tensor_from(c, DTYPE_F64, 3, squares)->data : NULL,
                       .squares_count = clipped,
                       .zero_gradient = zero};
  const double gradient_scale = clipped ? fmin(1, 2 / (norms[clipped] + 1e-6)) : 1;
  double *p = conformance_doubles(c, count), *g = conformance_doubles(c, count), *m = conformance_doubles(c, count),
         *v = conformance_doubles(c, count), *bound = conformance_doubles(c, count);
  for (int64_t i = 0; i < count; i++) {
    p[i] = t.parameter->value[i];
    g[i] = t.gradient->value[i];
  }
  for (call.step = 1; call.step <= STEPS; call.step++) {
    c->device->op->adamw(c->device, &call);
    for (int64_t i = 0; i < count; i++) {
      double scaled = g[i] * gradient_scale;
      m[i] = call.beta1 * m[i] + (1 - call.beta1) * scaled;
      v[i] = call.beta2 * v[i] + (1 - call.beta2) * scaled * scaled;
      p[i] = p[i] * (1 - call.lr * call.decay) -
             call.lr / (1 - pow(call.beta1, (double)call.step)) * m[i] /
                 (sqrt(v[i]) / sqrt(1 - pow(call.beta2, (double)call.step)) + call.eps);
      bound[i] += conformance_sum_bound(8, fabs(p[i]) + 4 * call.lr);
      g[i] = zero ? 0 : g[i];
    }
  }
  conformance_check(c, "parameter", t.parameter, p, bound);
  conformance_check_all(c, "gradient", t.gradient, g, 0);
  conformance_check_all(c, "first moment", t.first, m, conformance_sum_bound(8, 2));
  conformance_check_all(c, "second moment", t.second, v, conformance_sum_bound(8, 2));
  if (t.compute)
    conformance_check(c, "compute copy", t.compute, p, bound);
}

/* One step of a table without a master: everything that is kept is a bf16 number, the nearest to what fp32 would keep,
 * and steps below half a unit in the last place are lost (methods 1.8). */
static void test_adamw_bf16_state(struct conformance *c, enum dtype dtype) {
  int64_t count = conformance_size(c, 3000);
  conformance_note(c, "count %d", (int)count);
  struct tensor *p = tensor_from(c, DTYPE_F32, count, tensor_random(c, DTYPE_BF16, count, 1)->value),
                *g = tensor_random(c, DTYPE_F32, count, 1), *m = tensor_random(c, DTYPE_F32, count, 0),
                *v = tensor_random(c, DTYPE_F32, count, 0),
                *compute = dtype == DTYPE_BF16 ? tensor_result(c, DTYPE_BF16, count) : NULL;
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
  c->device->op->adamw(c->device, &(struct adamw){.count = count,
                                                  .step = 1,
                                                  .parameter = p->data,
                                                  .gradient = g->data,
                                                  .first_moment = m->data,
                                                  .second_moment = v->data,
                                                  .compute = tensor_data(compute),
                                                  .lr = 5e-4,
                                                  .beta1 = 0.9,
                                                  .beta2 = 0.98,
                                                  .eps = 1e-12,
                                                  .decay = 0.1,
                                                  .zero_gradient = true,
                                                  .bf16_state = true});
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
}

const struct conformance_case conformance_optimizer[] = {{"sum_of_squares", test_sum_of_squares},
                                                         {"adamw", test_adamw},
                                                         {"adamw of a bf16 table", test_adamw_bf16_state},
                                                         {0}};

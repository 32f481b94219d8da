/* Activations, casts, additions, fills and copies. */
#include "conformance.h"
#include <math.h>

struct activation_reference {
  int64_t count;
  enum activation kind;
  double *x;
  const double *dy;
};

static double activate(enum activation kind, double x) {
  return kind == ACTIVATION_GELU ? 0.5 * x * erfc(-x / sqrt(2)) : x / (1 + exp(-1.702 * x));
}
static double activate_slope(enum activation kind, double x) {
  if (kind == ACTIVATION_GELU)
    return 0.5 * erfc(-x / sqrt(2)) + x * exp(-0.5 * x * x) / sqrt(2 * acos(-1));
  double s = 1 / (1 + exp(-1.702 * x));
  return s + 1.702 * x * s * (1 - s);
}
static double activation_loss(void *context) {
  const struct activation_reference *r = context;
  double sum = 0;
  for (int64_t i = 0; i < r->count; i++)
    sum += r->dy[i] * activate(r->kind, r->x[i]);
  return sum;
}

/* Relative errors of a few units also in the tails: this is why bounds are relative to the value itself. */
static void test_activation(struct conformance *c, enum dtype dtype) {
  int64_t rows = conformance_size(c, 60), columns = conformance_size(c, 90), count = rows * columns;
  enum activation kind = conformance_flag(c) ? ACTIVATION_GELU : ACTIVATION_QUICKGELU;
  conformance_note(c, "rows %d columns %d kind %d", (int)rows, (int)columns, kind);
  struct tensor *x = tensor_random(c, dtype, count, 3), *y = tensor_result(c, dtype, count);
  double *expected = conformance_doubles(c, count), *bound = conformance_doubles(c, count);
  for (int64_t i = 0; i < count; i++) {
    expected[i] = activate(kind, x->value[i]);
    bound[i] = 0x1p-20 * fabs(expected[i]) * (kind == ACTIVATION_QUICKGELU ? 1 + fabs(x->value[i]) : 1) + 0x1p-126;
  }
  struct activation_call call = {
      .rows = rows, .columns = columns, .dtype = dtype, .kind = kind, .x = x->data, .y = y->data};
  c->device->op->activation(c->device, &call);
  conformance_check(c, "y", y, expected, bound);
}

static void test_activation_backward(struct conformance *c, enum dtype dtype) {
  int64_t rows = conformance_size(c, 90), columns = conformance_size(c, 90), count = rows * columns;
  bool in_place = conformance_flag(c), with_bias = conformance_flag(c);
  enum activation kind = conformance_flag(c) ? ACTIVATION_GELU : ACTIVATION_QUICKGELU;
  conformance_note(c, "rows %d columns %d kind %d in place %d dbias %d", (int)rows, (int)columns, kind, in_place,
                   with_bias);
  struct tensor *x = tensor_random(c, dtype, count, 3), *dy = tensor_random(c, dtype, count, 1);
  struct tensor *dx = in_place ? dy : tensor_result(c, dtype, count),
                *dbias = with_bias ? tensor_random(c, DTYPE_F32, columns, 1) : NULL;
  double *expected = conformance_doubles(c, count), *bound = conformance_doubles(c, count);
  double *bias_expected = conformance_doubles(c, columns), *bias_bound = conformance_doubles(c, columns);
  for (int64_t j = 0; dbias && j < columns; j++)
    bias_expected[j] = dbias->value[j];
  for (int64_t i = 0; i < count; i++) {
    expected[i] = activate_slope(kind, x->value[i]) * dy->value[i];
    bound[i] = 0x1p-20 * fabs(dy->value[i]);
    bias_expected[i % columns] += expected[i];
    bias_bound[i % columns] +=
        conformance_sum_bound(rows, fabs(expected[i]) + 1) + bound[i] + conformance_unit(dtype) * fabs(expected[i]);
  }
  struct activation_reference reference = {count, kind, conformance_doubles(c, count), conformance_doubles(c, count)};
  for (int64_t i = 0; i < count; i++) {
    reference.x[i] = x->value[i];
    ((double *)reference.dy)[i] = dy->value[i];
  }
  conformance_check_gradient(c, "reference", activation_loss, &reference, reference.x, expected, count);
  struct activation_call call = {.rows = rows,
                                 .columns = columns,
                                 .dtype = dtype,
                                 .kind = kind,
                                 .x = x->data,
                                 .dy = dy->data,
                                 .dx = dx->data,
                                 .dbias = tensor_data(dbias)};
  c->device->op->activation_backward(c->device, &call);
  conformance_check(c, "dx", dx, expected, bound);
  if (dbias)
    conformance_check(c, "dbias", dbias, bias_expected, bias_bound);
}

static void test_cast(struct conformance *c, enum dtype dtype) {
  int64_t count = conformance_size(c, 40000);
  enum dtype to_dtype = conformance_flag(c) ? DTYPE_F32 : DTYPE_BF16;
  conformance_note(c, "count %d to %s", (int)count, dtype_name(to_dtype));
  struct tensor *from = tensor_random(c, dtype, count, 1), *to = tensor_result(c, to_dtype, count);
  struct tensor *rounded = tensor_from(c, to_dtype, count, from->value);
  c->device->op->cast(c->device, to->data, to_dtype, from->data, dtype, count);
  tensor_read(c, to);
  bool equal = true;
  for (int64_t i = 0; i < count; i++)
    equal = equal && to->value[i] == rounded->value[i];
  conformance_require(c, equal, "a cast rounds to nearest, ties to even");
  struct tensor *nan = tensor_result(c, dtype, 1), *still = tensor_from(c, to_dtype, 1, (double[]){1});
  c->device->op->cast(c->device, still->data, to_dtype, nan->data, dtype, 1);
  conformance_require(c, isnan(*tensor_read(c, still)), "NaN stays NaN");
}

static void test_add(struct conformance *c, enum dtype dtype) {
  (void)dtype;
  int64_t count = conformance_size(c, 40000);
  double scale = conformance_normal(c), *expected = conformance_doubles(c, count),
         *bound = conformance_doubles(c, count);
  conformance_note(c, "count %d", (int)count);
  struct tensor *x = tensor_random(c, DTYPE_F32, count, 1), *y = tensor_random(c, DTYPE_F32, count, 1);
  for (int64_t i = 0; i < count; i++) {
    expected[i] = y->value[i] + scale * x->value[i];
    bound[i] = conformance_sum_bound(1, fabs(y->value[i]) + fabs(scale * x->value[i]));
  }
  c->device->op->add(c->device, y->data, x->data, scale, count);
  conformance_check(c, "y", y, expected, bound);
}

static void test_clamp(struct conformance *c, enum dtype dtype) {
  (void)dtype;
  int64_t count = conformance_size(c, 5000);
  double *expected = conformance_doubles(c, count);
  conformance_note(c, "count %d", (int)count);
  struct tensor *x = tensor_random(c, DTYPE_F32, count, 1);
  for (int64_t i = 0; i < count; i++)
    expected[i] = fmin(fmax(x->value[i], -0.5), 1.25);
  c->device->op->clamp(c->device, x->data, count, -0.5f, 1.25f);
  conformance_check_all(c, "x", x, expected, 0);
  struct tensor *nan = tensor_from(c, DTYPE_F32, 1, (double[]){NAN});
  c->device->op->clamp(c->device, nan->data, 1, 0, 1);
  conformance_require(c, isnan(*tensor_read(c, nan)), "NaN stays NaN");
}

static void test_copies(struct conformance *c, enum dtype dtype) {
  int64_t count = conformance_size(c, 5000), element = (int64_t)dtype_size(dtype);
  conformance_note(c, "count %d", (int)count);
  struct tensor *x = tensor_random(c, dtype, count, 1), *y = tensor_result(c, dtype, count),
                *filled = tensor_result(c, DTYPE_F32, count);
  double *expected = conformance_doubles(c, count);
  c->device->op->copy(c->device, y->data, x->data, (size_t)(count * element));
  conformance_check_all(c, "copy", y, x->value, 0);
  c->device->op->zero(c->device, y->data, (size_t)(count * element));
  conformance_check_all(c, "zero", y, expected, 0);
  for (int64_t i = 0; i < count; i++)
    expected[i] = 0.75;
  c->device->op->fill(c->device, filled->data, count, 0.75f);
  conformance_check_all(c, "fill", filled, expected, 0);
}

const struct conformance_case conformance_pointwise[] = {{"activation", test_activation},
                                                         {"activation_backward", test_activation_backward},
                                                         {"cast", test_cast},
                                                         {"add", test_add},
                                                         {"clamp", test_clamp},
                                                         {"copy, zero, fill", test_copies},
                                                         {0}};

/* Linear layers: forward, data gradient, weight gradient. */
#include "conformance.h"
#include "device/adamw.h"
#include <math.h>

/* Element [row, column] of W' (y = x W'), of a weight [out, in] or, transposed, [in, out]. */
static int64_t weight_at(int64_t in, int64_t out, bool transposed, int64_t i, int64_t o) {
  return transposed ? i * out + o : o * in + i;
}

static void test_linear(struct conformance *c, enum dtype dtype) {
  int64_t rows = conformance_size(c, 70), in = conformance_size(c, 90), out = conformance_size(c, 80);
  bool transposed = conformance_flag(c), frozen = conformance_flag(c), with_bias = conformance_flag(c);
  enum dtype y_dtype = conformance_flag(c) ? dtype : DTYPE_F32;
  conformance_note(c, "rows %d in %d out %d transposed %d frozen %d bias %d y %s", (int)rows, (int)in, (int)out,
                   transposed, frozen, with_bias, dtype_name(y_dtype));
  struct tensor *x = tensor_random(c, dtype, rows * in, 1), *weight = tensor_random(c, dtype, in * out, 0.3);
  struct tensor *bias = with_bias ? tensor_random(c, DTYPE_F32, out, 1) : NULL,
                *y = tensor_result(c, y_dtype, rows * out);
  double *expected = conformance_doubles(c, rows * out), *bound = conformance_doubles(c, rows * out);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t o = 0; o < out; o++) {
      double sum = bias ? bias->value[o] : 0, magnitude = fabs(sum);
      for (int64_t i = 0; i < in; i++) {
        double term = x->value[r * in + i] * weight->value[weight_at(in, out, transposed, i, o)];
        sum += term;
        magnitude += fabs(term);
      }
      expected[r * out + o] = sum;
      bound[r * out + o] =
          conformance_sum_bound(in, magnitude) + (bias ? conformance_unit(y_dtype) * fabs(bias->value[o]) : 0);
    }
  struct linear call = {.rows = rows,
                        .in = in,
                        .out = out,
                        .dtype = dtype,
                        .y_dtype = y_dtype,
                        .transposed = transposed,
                        .frozen = frozen,
                        .x = x->data,
                        .weight = weight->data,
                        .bias = tensor_data(bias),
                        .y = y->data};
  if (bias && out % 2 == 0)
    call.rounded_bias = tensor_from(c, dtype, out, bias->value)->data;
  c->device->op->linear(c->device, &call);
  conformance_check(c, "y", y, expected, bound);
  c->device->op->linear(c->device, &call); /* from what was kept at the first call */
  conformance_check(c, "y again", y, expected, bound);
  c->device->op->forget_weights(c->device);
}

static void test_linear_data_gradient(struct conformance *c, enum dtype dtype) {
  int64_t rows = conformance_size(c, 70), in = conformance_size(c, 90), out = conformance_size(c, 80);
  bool transposed = conformance_flag(c), frozen = conformance_flag(c), accumulate = conformance_flag(c);
  enum dtype dx_dtype = conformance_flag(c) ? dtype : DTYPE_F32;
  conformance_note(c, "rows %d in %d out %d transposed %d frozen %d accumulate %d dx %s", (int)rows, (int)in, (int)out,
                   transposed, frozen, accumulate, dtype_name(dx_dtype));
  struct tensor *dy = tensor_random(c, dtype, rows * out, 1), *weight = tensor_random(c, dtype, in * out, 0.3);
  struct tensor *dx = accumulate ? tensor_random(c, dx_dtype, rows * in, 1) : tensor_result(c, dx_dtype, rows * in);
  double *expected = conformance_doubles(c, rows * in), *bound = conformance_doubles(c, rows * in);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < in; i++) {
      double sum = accumulate ? dx->value[r * in + i] : 0, magnitude = fabs(sum);
      for (int64_t o = 0; o < out; o++) {
        double term = dy->value[r * out + o] * weight->value[weight_at(in, out, transposed, i, o)];
        sum += term;
        magnitude += fabs(term);
      }
      expected[r * in + i] = sum;
      bound[r * in + i] = conformance_sum_bound(out, magnitude);
    }
  c->device->op->linear_data_gradient(c->device, &(struct linear_data_gradient){.rows = rows,
                                                                                .in = in,
                                                                                .out = out,
                                                                                .dtype = dtype,
                                                                                .dx_dtype = dx_dtype,
                                                                                .transposed = transposed,
                                                                                .frozen = frozen,
                                                                                .accumulate = accumulate,
                                                                                .dy = dy->data,
                                                                                .weight = weight->data,
                                                                                .dx = dx->data});
  conformance_check(c, "dx", dx, expected, bound);
  c->device->op->forget_weights(c->device);
}

static void test_linear_weight_gradient(struct conformance *c, enum dtype dtype) {
  int64_t rows = conformance_size(c, 90), in = conformance_size(c, 70), out = conformance_size(c, 80);
  bool transposed = conformance_flag(c), with_bias = conformance_flag(c);
  conformance_note(c, "rows %d in %d out %d transposed %d dbias %d", (int)rows, (int)in, (int)out, transposed,
                   with_bias);
  struct tensor *x = tensor_random(c, dtype, rows * in, 1), *dy = tensor_random(c, dtype, rows * out, 1);
  struct tensor *dweight = tensor_random(c, DTYPE_F32, in * out, 1),
                *dbias = with_bias ? tensor_random(c, DTYPE_F32, out, 1) : NULL;
  double *expected = conformance_doubles(c, in * out), *bound = conformance_doubles(c, in * out);
  double *bias_expected = conformance_doubles(c, out), *bias_bound = conformance_doubles(c, out);
  for (int64_t o = 0; o < out; o++) {
    double magnitude = bias_expected[o] = dbias ? dbias->value[o] : 0;
    for (int64_t r = 0; r < rows; r++) {
      bias_expected[o] += dy->value[r * out + o];
      magnitude = fabs(magnitude) + fabs(dy->value[r * out + o]);
    }
    bias_bound[o] = conformance_sum_bound(rows, magnitude);
    for (int64_t i = 0; i < in; i++) {
      int64_t at = weight_at(in, out, transposed, i, o);
      expected[at] = dweight->value[at];
      bound[at] = fabs(expected[at]);
      for (int64_t r = 0; r < rows; r++) {
        double term = dy->value[r * out + o] * x->value[r * in + i];
        expected[at] += term;
        bound[at] += fabs(term);
      }
      bound[at] = conformance_sum_bound(rows, bound[at]);
    }
  }
  c->device->op->linear_weight_gradient(c->device, &(struct linear_weight_gradient){.rows = rows,
                                                                                    .in = in,
                                                                                    .out = out,
                                                                                    .dtype = dtype,
                                                                                    .transposed = transposed,
                                                                                    .x = x->data,
                                                                                    .dy = dy->data,
                                                                                    .dweight = dweight->data,
                                                                                    .dbias = tensor_data(dbias)});
  conformance_check(c, "dweight", dweight, expected, bound);
  if (dbias)
    conformance_check(c, "dbias", dbias, bias_expected, bias_bound);
}

/* A frozen square weight read both ways: packed copies of it must not be mixed up. */
static void test_linear_square(struct conformance *c, enum dtype dtype) {
  int64_t rows = conformance_size(c, 40), width = conformance_size(c, 100);
  bool transposed = conformance_flag(c);
  conformance_note(c, "rows %d width %d transposed %d", (int)rows, (int)width, transposed);
  struct tensor *x = tensor_random(c, dtype, rows * width, 1), *weight = tensor_random(c, dtype, width * width, 1);
  struct tensor *y = tensor_result(c, DTYPE_F32, rows * width), *dx = tensor_result(c, DTYPE_F32, rows * width);
  struct linear forward = {.rows = rows,
                           .in = width,
                           .out = width,
                           .dtype = dtype,
                           .y_dtype = DTYPE_F32,
                           .transposed = transposed,
                           .frozen = true,
                           .x = x->data,
                           .weight = weight->data,
                           .y = y->data};
  struct linear_data_gradient backward = {.rows = rows,
                                          .in = width,
                                          .out = width,
                                          .dtype = dtype,
                                          .dx_dtype = DTYPE_F32,
                                          .transposed = transposed,
                                          .frozen = true,
                                          .dy = x->data,
                                          .weight = weight->data,
                                          .dx = dx->data};
  c->device->op->linear(c->device, &forward);
  c->device->op->linear_data_gradient(c->device, &backward);
  double *forwards = conformance_doubles(c, rows * width), *backwards = conformance_doubles(c, rows * width);
  for (int64_t n = 0; n < rows * width; n++)
    for (int64_t i = 0; i < width; i++) {
      double value = x->value[n / width * width + i];
      forwards[n] += value * weight->value[weight_at(width, width, transposed, i, n % width)];
      backwards[n] += value * weight->value[weight_at(width, width, transposed, n % width, i)];
    }
  conformance_check_all(c, "y", y, forwards, conformance_sum_bound(width, 10 * (double)width));
  conformance_check_all(c, "dx", dx, backwards, conformance_sum_bound(width, 10 * (double)width));
  c->device->op->forget_weights(c->device);
}

struct written {
  int64_t rows, in, out;
  struct tensor *x, *dy, *weight, *y, *dx;
};

static void check_products(struct conformance *c, enum dtype dtype, struct written *w, const char *what) {
  const int64_t rows = w->rows, in = w->in, out = w->out;
  c->device->op->linear(c->device, &(struct linear){.rows = rows,
                                                    .in = in,
                                                    .out = out,
                                                    .dtype = dtype,
                                                    .y_dtype = DTYPE_F32,
                                                    .x = w->x->data,
                                                    .weight = w->weight->data,
                                                    .y = w->y->data});
  c->device->op->linear_data_gradient(c->device, &(struct linear_data_gradient){.rows = rows,
                                                                                .in = in,
                                                                                .out = out,
                                                                                .dtype = dtype,
                                                                                .dx_dtype = DTYPE_F32,
                                                                                .dy = w->dy->data,
                                                                                .weight = w->weight->data,
                                                                                .dx = w->dx->data});
  const double *weight = tensor_read(c, w->weight);
  double *y = conformance_doubles(c, rows * out), *dx = conformance_doubles(c, rows * in);
  for (int64_t n = 0; n < rows * out; n++)
    for (int64_t i = 0; i < in; i++)
      y[n] += w->x->value[n / out * in + i] * weight[n % out * in + i];
  for (int64_t n = 0; n < rows * in; n++)
    for (int64_t o = 0; o < out; o++)
      dx[n] += w->dy->value[n / in * out + o] * weight[o * in + n % in];
  conformance_check_all(c, what, w->y, y, conformance_sum_bound(in, 30 * (double)in));
  conformance_check_all(c, what, w->dx, dx, conformance_sum_bound(out, 30 * (double)out));
}

/* The first step of AdamW for all of count elements, a multiple of ADAMW_BLOCK. */
static void step_adamw(struct conformance *c, int64_t count, float *parameter, bf16 *compute) {
  const struct adamw_group group = adamw_group_at(1, 0.1, 0, 0.9, 0.98);
  const double *zeros = conformance_doubles(c, count);
  struct tensor *groups = tensor_result(c, DTYPE_F64, (int64_t)(sizeof group / sizeof(double)));
  c->device->op->copy_in(c->device, groups->data, &group, sizeof group);
  c->device->op->adamw(c->device,
                       &(struct adamw){.count = count,
                                       .group_of = tensor_from(c, DTYPE_I32, count / ADAMW_BLOCK, zeros)->data,
                                       .groups = groups->data,
                                       .group_count = 1,
                                       .parameter = parameter,
                                       .gradient = tensor_random(c, DTYPE_F32, count, 1)->data,
                                       .first_moment = tensor_from(c, DTYPE_F32, count, zeros)->data,
                                       .second_moment = tensor_from(c, DTYPE_F32, count, zeros)->data,
                                       .compute = compute,
                                       .beta1 = 0.9,
                                       .beta2 = 0.98,
                                       .eps = 1e-6});
}

/* A weight that changes between products, by every operation that may write one; enough rows for a device to keep a
 * packed copy. */
static void test_linear_written(struct conformance *c, enum dtype dtype) {
  const struct device_operations *op = c->device->op;
  struct written w = {.rows = 1200, .in = conformance_size(c, 24), .out = conformance_size(c, 24)};
  const int64_t count = w.in * w.out, padded = (count + ADAMW_BLOCK - 1) / ADAMW_BLOCK * ADAMW_BLOCK;
  conformance_note(c, "in %d out %d", (int)w.in, (int)w.out);
  w.x = tensor_random(c, dtype, w.rows * w.in, 1);
  w.dy = tensor_random(c, dtype, w.rows * w.out, 1);
  w.weight = tensor_random(c, dtype, padded, 1);
  w.y = tensor_result(c, DTYPE_F32, w.rows * w.out);
  w.dx = tensor_result(c, DTYPE_F32, w.rows * w.in);
  struct tensor *other = tensor_random(c, dtype, count, 1), *wide = tensor_random(c, DTYPE_F32, padded, 1);
  check_products(c, dtype, &w, "at first");
  op->copy(c->device, w.weight->data, other->data, (size_t)count * dtype_size(dtype));
  check_products(c, dtype, &w, "after copy");
  op->cast(c->device, w.weight->data, dtype, wide->data, DTYPE_F32, count);
  check_products(c, dtype, &w, "after cast");
  if (dtype == DTYPE_F32) {
    op->add(c->device, w.weight->data, other->data, 0.5, count);
    check_products(c, dtype, &w, "after add");
    op->fill(c->device, w.weight->data, count, 0.25f);
    check_products(c, dtype, &w, "after fill");
  }
  step_adamw(c, padded, dtype == DTYPE_F32 ? w.weight->data : wide->data, dtype == DTYPE_F32 ? NULL : w.weight->data);
  check_products(c, dtype, &w, "after AdamW");
  op->zero(c->device, w.weight->data, (size_t)count * dtype_size(dtype));
  check_products(c, dtype, &w, "after zero");
}

const struct conformance_case conformance_linear[] = {{"linear", test_linear},
                                                      {"linear_data_gradient", test_linear_data_gradient},
                                                      {"linear_weight_gradient", test_linear_weight_gradient},
                                                      {"linear, frozen square weight", test_linear_square},
                                                      {"linear, weight written between", test_linear_written},
                                                      {0}};

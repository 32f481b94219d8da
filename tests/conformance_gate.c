/* The memory layer's gates, and pooling. */
#include "conformance.h"
#include <math.h>

static double sigmoid(double x) {
  return 1 / (1 + exp(-x));
}

static void test_gate(struct conformance *c, enum dtype dtype) {
  int64_t rows = conformance_size(c, 90), columns = conformance_size(c, 150), count = rows * columns;
  bool in_place = conformance_flag(c), with_bias = conformance_flag(c);
  conformance_note(c, "rows %d columns %d in place %d bias %d", (int)rows, (int)columns, in_place, with_bias);
  struct tensor *m = tensor_random(c, dtype, count, 1), *g = tensor_random(c, dtype, count, 3),
                *du = tensor_random(c, dtype, count, 1);
  struct tensor *u = tensor_result(c, dtype, count), *dg = tensor_result(c, dtype, count);
  struct tensor *dm = in_place ? du : tensor_result(c, dtype, count),
                *dbias = with_bias ? tensor_random(c, DTYPE_F32, columns, 1) : NULL;
  double *expected = conformance_doubles(c, 3 * count), *bound = conformance_doubles(c, 3 * count);
  double *bias = conformance_doubles(c, columns), *bias_bound = conformance_doubles(c, columns);
  for (int64_t i = 0; i < count; i++) {
    double x = g->value[i], s = sigmoid(x);
    expected[i] = m->value[i] * x * s;
    expected[count + i] = du->value[i] * x * s;
    expected[2 * count + i] = du->value[i] * m->value[i] * s * (1 + x * (1 - s));
    bound[i] = bound[count + i] = 2e-6 * (fabs(expected[i]) + fabs(expected[count + i]));
    bound[2 * count + i] = 3e-6 * fabs(du->value[i] * m->value[i]) * s * (1 + fabs(x) * (1 - s));
    bias[i % columns] += expected[2 * count + i];
    bias_bound[i % columns] +=
        fabs(expected[2 * count + i]) * (conformance_unit(dtype) + (double)rows * 0x1p-24) + bound[2 * count + i];
  }
  for (int64_t i = 0; dbias && i < columns; i++) {
    bias[i] += dbias->value[i];
    bias_bound[i] += 1e-6 * fabs(dbias->value[i]);
  }
  struct gate call = {rows,    columns,  dtype,    m->data,  g->data,
                      u->data, du->data, dm->data, dg->data, tensor_data(dbias)};
  c->device->op->gate(c->device, &call);
  c->device->op->gate_backward(c->device, &call);
  conformance_check(c, "u", u, expected, bound);
  conformance_check(c, "dm", dm, expected + count, bound + count);
  conformance_check(c, "dg", dg, expected + 2 * count, bound + 2 * count);
  if (dbias)
    conformance_check(c, "dgate_bias", dbias, bias, bias_bound);
}

/* The reference of the token gate: s, y, d_o, dx, dweight, dbias, and bounds of the last three. */
struct token_gate_reference {
  double *s, *y, *d_o, *dx, *dx_bound, *dweight, *dweight_bound, dbias, dbias_bound;
};

static void token_gate_compute(const struct tensor *in[5], int64_t rows, int64_t width_in, int64_t width, double bias,
                               struct token_gate_reference *r) {
  const double *x = in[0]->value, *o = in[1]->value, *weight = in[2]->value, *dy = in[3]->value;
  for (int64_t n = 0; n < rows; n++) {
    double z = bias, product = 0, size = 0;
    for (int64_t i = 0; i < width_in; i++)
      z += x[n * width_in + i] * weight[i];
    r->s[n] = sigmoid(z);
    for (int64_t i = n * width; i < (n + 1) * width; i++) {
      r->y[i] = r->s[n] * o[i];
      r->d_o[i] = r->s[n] * dy[i];
      product += dy[i] * o[i];
      size += fabs(dy[i] * o[i]);
    }
    double dz = r->s[n] * (1 - r->s[n]) * product, error = 1e-5 * size;
    for (int64_t i = 0; i < width_in; i++) {
      r->dx[n * width_in + i] = in[4]->value[n * width_in + i] + dz * weight[i];
      r->dx_bound[n * width_in + i] = error * fabs(weight[i]) + 1e-6;
      r->dweight[i] += dz * x[n * width_in + i];
      r->dweight_bound[i] += error * fabs(x[n * width_in + i]);
    }
    r->dbias += dz;
    r->dbias_bound += error;
  }
}

static void test_token_gate(struct conformance *c, enum dtype dtype) {
  int64_t rows = conformance_size(c, 60), width_in = conformance_size(c, 70), width = conformance_size(c, 90);
  bool in_place = conformance_flag(c);
  conformance_note(c, "rows %d in %d width %d in place %d", (int)rows, (int)width_in, (int)width, in_place);
  struct tensor *x = tensor_random(c, dtype, rows * width_in, 1), *o = tensor_random(c, dtype, rows * width, 1);
  struct tensor *weight = tensor_random(c, DTYPE_F32, width_in, 0.2), *bias = tensor_random(c, DTYPE_F32, 1, 1);
  struct tensor *dy = tensor_random(c, dtype, rows * width, 1), *dx = tensor_random(c, dtype, rows * width_in, 1);
  struct tensor *s = tensor_result(c, DTYPE_F32, rows),
                *y = in_place ? tensor_copy(c, o) : tensor_result(c, dtype, rows * width);
  struct tensor *d_o = in_place ? tensor_copy(c, dy) : tensor_result(c, dtype, rows * width);
  struct tensor *dweight = tensor_random(c, DTYPE_F32, width_in, 1), *dbias = tensor_random(c, DTYPE_F32, 1, 1);
  struct token_gate_reference r = {.s = conformance_doubles(c, rows),
                                   .y = conformance_doubles(c, rows * width),
                                   .d_o = conformance_doubles(c, rows * width),
                                   .dx = conformance_doubles(c, rows * width_in),
                                   .dx_bound = conformance_doubles(c, rows * width_in),
                                   .dweight = conformance_doubles(c, width_in),
                                   .dweight_bound = conformance_doubles(c, width_in),
                                   .dbias = dbias->value[0],
                                   .dbias_bound = 1e-6};
  for (int64_t i = 0; i < width_in; i++) {
    r.dweight[i] = dweight->value[i];
    r.dweight_bound[i] = 1e-6 * fabs(dweight->value[i]);
  }
  token_gate_compute((const struct tensor *[]){x, o, weight, dy, dx}, rows, width_in, width, bias->value[0], &r);
  struct token_gate call = {.rows = rows,
                            .in = width_in,
                            .width = width,
                            .dtype = dtype,
                            .x = x->data,
                            .o = in_place ? y->data : o->data,
                            .weight = weight->data,
                            .bias = bias->data,
                            .s = s->data,
                            .y = y->data};
  c->device->op->token_gate(c->device, &call);
  call.o = o->data; /* the backward takes it as it was before the gate */
  call.dy = in_place ? d_o->data : dy->data;
  call.d_o = d_o->data;
  call.dx = dx->data;
  call.dweight = dweight->data;
  call.dbias = dbias->data;
  c->device->op->token_gate_backward(c->device, &call);
  conformance_check_all(c, "s", s, r.s, 1e-5);
  conformance_check_all(c, "y", y, r.y, 5e-5);
  conformance_check_all(c, "do", d_o, r.d_o, 5e-5);
  conformance_check(c, "dx", dx, r.dx, r.dx_bound);
  conformance_check(c, "dweight", dweight, r.dweight, r.dweight_bound);
  conformance_check_all(c, "dbias", dbias, &r.dbias, r.dbias_bound);
}

static void test_pool(struct conformance *c, enum dtype dtype) {
  int64_t batch = conformance_size(c, 5), tokens = conformance_size(c, 30), width = conformance_size(c, 70);
  bool with_position = conformance_flag(c), accumulate = conformance_flag(c);
  conformance_note(c, "B %d T %d C %d position %d accumulate %d", (int)batch, (int)tokens, (int)width, with_position,
                   accumulate);
  struct tensor *position = tensor_indices(c, batch, tokens), *x = tensor_random(c, dtype, batch * tokens * width, 1);
  struct tensor *out = tensor_result(c, dtype, batch * width), *dout = tensor_random(c, dtype, batch * width, 1);
  struct tensor *dx = accumulate ? tensor_random(c, dtype, x->count, 1) : tensor_result(c, dtype, x->count);
  double *expected = conformance_doubles(c, batch * width), *dexpected = conformance_doubles(c, x->count);
  for (int64_t i = 0; accumulate && i < x->count; i++)
    dexpected[i] = dx->value[i];
  for (int64_t b = 0; b < batch; b++)
    for (int64_t i = 0; i < width; i++) {
      int64_t at = (b * tokens + (with_position ? (int64_t)position->value[b] : 0)) * width + i;
      expected[b * width + i] = x->value[at];
      dexpected[at] += dout->value[b * width + i];
    }
  struct pool call = {batch,   tokens,    width,      dtype,   accumulate, with_position ? position->data : NULL,
                      x->data, out->data, dout->data, dx->data};
  c->device->op->pool(c->device, &call);
  c->device->op->pool_backward(c->device, &call);
  conformance_check_all(c, "out", out, expected, 0);
  conformance_check_all(c, "dx", dx, dexpected, 1e-6);
}

static void test_pool_average(struct conformance *c, enum dtype dtype) {
  int64_t batch = conformance_size(c, 5), tokens = 1 + conformance_size(c, 30), width = conformance_size(c, 70);
  int64_t first = conformance_flag(c);
  conformance_note(c, "B %d T %d C %d first %d", (int)batch, (int)tokens, (int)width, (int)first);
  struct tensor *x = tensor_random(c, dtype, batch * tokens * width, 1), *out = tensor_result(c, dtype, batch * width);
  struct tensor *dout = tensor_random(c, dtype, batch * width, 1), *dx = tensor_result(c, dtype, x->count);
  double *expected = conformance_doubles(c, batch * width), *dexpected = conformance_doubles(c, x->count);
  for (int64_t i = 0; i < x->count; i++) {
    int64_t b = i / width / tokens, t = i / width % tokens, at = b * width + i % width;
    if (t < first)
      continue;
    expected[at] += x->value[i] / (double)(tokens - first);
    dexpected[i] = dout->value[at] / (double)(tokens - first);
  }
  struct pool_average call = {batch, tokens, width, first, dtype, x->data, out->data, dout->data, dx->data};
  c->device->op->pool_average(c->device, &call);
  c->device->op->pool_average_backward(c->device, &call);
  conformance_check_all(c, "out", out, expected, 1e-5);
  conformance_check_all(c, "dx", dx, dexpected, 1e-6);
}

const struct conformance_case conformance_gate[] = {{"gate", test_gate},
                                                    {"token_gate", test_token_gate},
                                                    {"pool", test_pool},
                                                    {"pool_average", test_pool_average},
                                                    {0}};

/* Backwards against the device's own forwards: for L = <dout, out(x)> and a random direction d of one input,
 * (L(x + h d) - L(x - h d)) / 2h must be <gradient, d>. In fp32, for the operations whose references elsewhere are not
 * checked by finite differences; out is linear in each input, or smooth over the small step h. */
#include "conformance.h"
#include "base/memory.h"
#include <math.h>

enum { INPUTS_MAX = 4 };
struct slope {
  struct conformance *c;
  const char *name[INPUTS_MAX];
  struct tensor *input[INPUTS_MAX], *gradient[INPUTS_MAX], *out, *dout;
  int inputs;
  double step;
  const void *call;
  void (*forward)(struct slope *slope), (*backward)(struct slope *slope);
};

#define SLOPE_OPERATION(name)                                                                                          \
  static void name##_forward(struct slope *slope) {                                                                    \
    slope->c->device->op->name(slope->c->device, slope->call);                                                         \
  }                                                                                                                    \
  static void name##_backward(struct slope *slope) {                                                                   \
    slope->c->device->op->name##_backward(slope->c->device, slope->call);                                              \
  }
SLOPE_OPERATION(gate)
SLOPE_OPERATION(token_gate)
SLOPE_OPERATION(pool)
SLOPE_OPERATION(pool_average)
SLOPE_OPERATION(image_embed)
SLOPE_OPERATION(text_embed)
SLOPE_OPERATION(memory_read)

static struct tensor *zeros(struct conformance *c, int64_t count) {
  return tensor_random(c, DTYPE_F32, count, 0);
}

/* An input of normal numbers and the gradient that the backward writes or adds to. */
static void add_input(struct slope *slope, const char *name, int64_t count) {
  slope->name[slope->inputs] = name;
  slope->input[slope->inputs] = tensor_random(slope->c, DTYPE_F32, count, 1);
  slope->gradient[slope->inputs++] = zeros(slope->c, count);
}

static void add_output(struct slope *slope, int64_t count) {
  slope->out = tensor_result(slope->c, DTYPE_F32, count);
  slope->dout = tensor_random(slope->c, DTYPE_F32, count, 1);
}

/* L at input + factor * direction; *size takes the sum of the terms' sizes. */
static double loss_at(struct slope *slope, const struct tensor *input, double factor, const double *direction,
                      double *size) {
  struct device *device = slope->c->device;
  float *values = memory_allocate((size_t)input->count * sizeof *values, "moved input");
  for (int64_t i = 0; i < input->count; i++)
    values[i] = (float)(input->value[i] + factor * direction[i]);
  device->op->copy_in(device, input->data, values, (size_t)input->count * sizeof *values);
  memory_release(values);
  slope->forward(slope);
  const double *out = tensor_read(slope->c, slope->out);
  double loss = *size = 0;
  for (int64_t i = 0; i < slope->out->count; i++) {
    loss += out[i] * slope->dout->value[i];
    *size += fabs(out[i] * slope->dout->value[i]);
  }
  return loss;
}

static void check_input(struct slope *slope, int n) {
  struct tensor *input = slope->input[n];
  const double *gradient = tensor_read(slope->c, slope->gradient[n]);
  double *direction = conformance_doubles(slope->c, input->count), expected = 0, squares = 0, size = 0;
  for (int64_t i = 0; i < input->count; i++) {
    direction[i] = conformance_normal(slope->c);
    expected += gradient[i] * direction[i];
    squares += gradient[i] * direction[i] * gradient[i] * direction[i];
  }
  const double above = loss_at(slope, input, slope->step, direction, &size),
               below = loss_at(slope, input, -slope->step, direction, &size);
  loss_at(slope, input, 0, direction, &size);
  const double actual = (above - below) / (2 * slope->step), bound = 3e-3 * sqrt(squares) + 2e-6 * size / slope->step;
  if (!conformance_within(actual, expected, bound)) {
    conformance_note(slope->c, "%s: slope %g, gradient says %g, bound %g", slope->name[n], actual, expected, bound);
    conformance_require(slope->c, false, "the gradient is the slope");
  }
}

static void check_slopes(struct slope *slope, const void *call) {
  slope->call = call;
  slope->forward(slope);
  slope->backward(slope);
  for (int n = 0; n < slope->inputs; n++)
    check_input(slope, n);
}

struct linear_calls {
  struct linear forward;
  struct linear_data_gradient data;
  struct linear_weight_gradient weight;
};
static void linear_forward_call(struct slope *slope) {
  const struct linear_calls *calls = slope->call;
  slope->c->device->op->linear(slope->c->device, &calls->forward);
}
static void linear_backward_calls(struct slope *slope) {
  const struct linear_calls *calls = slope->call;
  slope->c->device->op->linear_data_gradient(slope->c->device, &calls->data);
  slope->c->device->op->linear_weight_gradient(slope->c->device, &calls->weight);
}

static void slopes_of_linear(struct conformance *c) {
  const int64_t rows = conformance_size(c, 20), in = conformance_size(c, 30), out = conformance_size(c, 25);
  const bool transposed = conformance_flag(c);
  struct slope s = {.c = c, .step = 0.5, .forward = linear_forward_call, .backward = linear_backward_calls};
  add_input(&s, "x", rows * in);
  add_input(&s, "weight", in * out);
  add_input(&s, "bias", out);
  add_output(&s, rows * out);
  const struct linear_calls calls = {.forward = {.rows = rows,
                                                 .in = in,
                                                 .out = out,
                                                 .transposed = transposed,
                                                 .x = s.input[0]->data,
                                                 .weight = s.input[1]->data,
                                                 .bias = s.input[2]->data,
                                                 .y = s.out->data},
                                     .data = {.rows = rows,
                                              .in = in,
                                              .out = out,
                                              .transposed = transposed,
                                              .dy = s.dout->data,
                                              .weight = s.input[1]->data,
                                              .dx = s.gradient[0]->data},
                                     .weight = {.rows = rows,
                                                .in = in,
                                                .out = out,
                                                .transposed = transposed,
                                                .x = s.input[0]->data,
                                                .dy = s.dout->data,
                                                .dweight = s.gradient[1]->data,
                                                .dbias = s.gradient[2]->data}};
  check_slopes(&s, &calls);
}

static void slopes_of_gates(struct conformance *c) {
  const int64_t rows = conformance_size(c, 20), columns = conformance_size(c, 30), in = conformance_size(c, 20);
  struct slope s = {.c = c, .step = 0.01, .forward = gate_forward, .backward = gate_backward};
  add_input(&s, "m", rows * columns);
  add_input(&s, "g", rows * columns);
  add_output(&s, rows * columns);
  check_slopes(&s, &(struct gate){.rows = rows,
                                  .columns = columns,
                                  .m = s.input[0]->data,
                                  .g = s.input[1]->data,
                                  .u = s.out->data,
                                  .du = s.dout->data,
                                  .dm = s.gradient[0]->data,
                                  .dg = s.gradient[1]->data});
  struct slope t = {.c = c, .step = 0.01, .forward = token_gate_forward, .backward = token_gate_backward};
  add_input(&t, "x", rows * in);
  add_input(&t, "o", rows * columns);
  add_input(&t, "weight", in);
  add_input(&t, "bias", 1);
  add_output(&t, rows * columns);
  check_slopes(&t, &(struct token_gate){.rows = rows,
                                        .in = in,
                                        .width = columns,
                                        .x = t.input[0]->data,
                                        .o = t.input[1]->data,
                                        .weight = t.input[2]->data,
                                        .bias = t.input[3]->data,
                                        .s = zeros(c, rows)->data,
                                        .y = t.out->data,
                                        .dy = t.dout->data,
                                        .d_o = t.gradient[1]->data,
                                        .dx = t.gradient[0]->data,
                                        .dweight = t.gradient[2]->data,
                                        .dbias = t.gradient[3]->data});
}

static void slopes_of_pools(struct conformance *c) {
  const int64_t batch = conformance_size(c, 6), tokens = 1 + conformance_size(c, 9), width = conformance_size(c, 30);
  struct tensor *position = tensor_indices(c, batch, tokens);
  struct slope s = {.c = c, .step = 0.5, .forward = pool_forward, .backward = pool_backward};
  add_input(&s, "x", batch * tokens * width);
  add_output(&s, batch * width);
  check_slopes(&s, &(struct pool){.batch = batch,
                                  .tokens = tokens,
                                  .width = width,
                                  .position = conformance_flag(c) ? position->data : NULL,
                                  .x = s.input[0]->data,
                                  .out = s.out->data,
                                  .dout = s.dout->data,
                                  .dx = s.gradient[0]->data});
  struct slope t = {.c = c, .step = 0.5, .forward = pool_average_forward, .backward = pool_average_backward};
  add_input(&t, "x", batch * tokens * width);
  add_output(&t, batch * width);
  check_slopes(&t, &(struct pool_average){.batch = batch,
                                          .tokens = tokens,
                                          .width = width,
                                          .first = 1,
                                          .x = t.input[0]->data,
                                          .out = t.out->data,
                                          .dout = t.dout->data,
                                          .dx = t.gradient[0]->data});
}

static void slopes_of_embeddings(struct conformance *c) {
  const int64_t batch = conformance_size(c, 6), grid = conformance_size(c, 9), kept = 1 + (grid - 1) / 2,
                width = conformance_size(c, 30), context = grid + 3, vocabulary = conformance_size(c, 12);
  double *keep = conformance_doubles(c, batch * kept);
  for (int64_t i = 0; i < batch * kept; i++)
    keep[i] = (double)(2 * (i % kept));
  const bool all = conformance_flag(c);
  struct slope s = {.c = c, .step = 0.5, .forward = image_embed_forward, .backward = image_embed_backward};
  add_input(&s, "patches", batch * grid * width);
  add_input(&s, "class_embedding", width);
  add_input(&s, "position", (grid + 1) * width);
  add_output(&s, batch * (1 + (all ? grid : kept)) * width);
  check_slopes(&s, &(struct image_embed){.batch = batch,
                                         .grid = grid,
                                         .kept = all ? grid : kept,
                                         .width = width,
                                         .keep = all ? NULL : tensor_from(c, DTYPE_I32, batch * kept, keep)->data,
                                         .patches = s.input[0]->data,
                                         .class_embedding = s.input[1]->data,
                                         .position = s.input[2]->data,
                                         .x = s.out->data,
                                         .dx = s.dout->data,
                                         .dpatches = s.gradient[0]->data,
                                         .dclass = s.gradient[1]->data,
                                         .dposition = s.gradient[2]->data});
  struct slope t = {.c = c, .step = 0.5, .forward = text_embed_forward, .backward = text_embed_backward};
  add_input(&t, "table", vocabulary * width);
  add_input(&t, "position", context * width);
  add_output(&t, batch * grid * width);
  check_slopes(&t, &(struct text_embed){.batch = batch,
                                        .tokens = grid,
                                        .width = width,
                                        .ids_stride = context,
                                        .vocabulary = vocabulary,
                                        .ids = tensor_indices(c, batch * context, vocabulary)->data,
                                        .table = t.input[0]->data,
                                        .position = t.input[1]->data,
                                        .x = t.out->data,
                                        .dx = t.dout->data,
                                        .dtable = t.gradient[0]->data,
                                        .dposition = t.gradient[1]->data});
}

static void slopes_of_memory_read(struct conformance *c) {
  const int64_t rows = conformance_size(c, 20), entries = conformance_size(c, 9), slots = conformance_size(c, 16),
                width = conformance_size(c, 40);
  struct slope s = {.c = c, .step = 0.5, .forward = memory_read_forward, .backward = memory_read_backward};
  add_input(&s, "weight", rows * entries);
  add_input(&s, "values", slots * width);
  add_output(&s, rows * width);
  check_slopes(&s, &(struct memory_read){.rows = rows,
                                         .entries = entries,
                                         .slots = slots,
                                         .width = width,
                                         .index = tensor_indices(c, rows * entries, slots)->data,
                                         .weight = s.input[0]->data,
                                         .values = s.input[1]->data,
                                         .out = s.out->data,
                                         .dout = s.dout->data,
                                         .dweight = s.gradient[0]->data,
                                         .dvalues = s.gradient[1]->data});
}

static void test_slopes(struct conformance *c, enum dtype dtype) {
  static void (*const all[])(struct conformance *) = {slopes_of_linear, slopes_of_gates, slopes_of_pools,
                                                      slopes_of_embeddings, slopes_of_memory_read};
  for (size_t i = 0; dtype == DTYPE_F32 && i < sizeof all / sizeof *all; i++)
    all[i](c);
}

const struct conformance_case conformance_slopes[] = {{"gradients are slopes", test_slopes}, {0}};

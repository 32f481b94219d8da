#include "memory_layer.h"

static void apply_linear(const struct memory_layer *l, enum memory_parameter weight, int64_t in, int64_t out,
                         const float *x, float *y) {
  l->device->op->linear(l->device, &(struct linear){.rows = l->rows,
                                                    .in = in,
                                                    .out = out,
                                                    .x = x,
                                                    .weight = l->parameter[weight],
                                                    .bias = l->parameter[weight + 1],
                                                    .y = y});
}

static void linear_gradients(const struct memory_layer *l, enum memory_parameter weight, int64_t in, int64_t out,
                             const float *x, const float *dy, float *dx, bool accumulate) {
  l->device->op->linear_weight_gradient(l->device, &(struct linear_weight_gradient){.rows = l->rows,
                                                                                    .in = in,
                                                                                    .out = out,
                                                                                    .x = x,
                                                                                    .dy = dy,
                                                                                    .dweight = l->gradient[weight],
                                                                                    .dbias = l->gradient[weight + 1]});
  l->device->op->linear_data_gradient(l->device, &(struct linear_data_gradient){.rows = l->rows,
                                                                                .in = in,
                                                                                .out = out,
                                                                                .accumulate = accumulate,
                                                                                .dy = dy,
                                                                                .weight = l->parameter[weight],
                                                                                .dx = dx});
}

static void allocate_work(struct memory_layer *l) {
  int64_t picks = l->rows * l->heads * l->knn, queries = l->rows * l->heads * 2 * l->half;
  float **values[] = {&l->m, &l->g, &l->u, &l->dm, &l->dg, &l->du};
  for (int i = 0; i < 6; i++)
    *values[i] = memory_layer_floats(l->device, l->rows * l->value_width);
  l->o = memory_layer_floats(l->device, l->rows * l->width);
  l->d_o = memory_layer_floats(l->device, l->rows * l->width);
  l->y = memory_layer_floats(l->device, l->rows * l->width);
  l->dx = memory_layer_floats(l->device, l->rows * l->width);
  l->s = memory_layer_floats(l->device, l->rows);
  l->z = memory_layer_floats(l->device, picks);
  l->weight = memory_layer_floats(l->device, picks);
  l->dweight = memory_layer_floats(l->device, picks);
  l->index = (int32_t *)memory_layer_floats(l->device, picks);
  l->queries = memory_layer_floats(l->device, queries);
  l->dqueries = memory_layer_floats(l->device, queries);
  l->device->op->zero(l->device, l->dx, (size_t)(l->rows * l->width) * sizeof(float));
}

static struct memory_select select_of(const struct memory_layer *l) {
  return (struct memory_select){.rows = l->rows,
                                .heads = l->heads,
                                .n_keys = l->n_keys,
                                .knn = l->knn,
                                .half = l->half,
                                .queries = l->queries,
                                .keys = l->parameter[KEYS],
                                .index = l->index,
                                .weight = l->weight,
                                .dweight = l->dweight,
                                .dqueries = l->dqueries,
                                .dkeys = l->gradient[KEYS]};
}

static struct memory_read read_of(const struct memory_layer *l, const float *dout) {
  return (struct memory_read){.rows = l->rows,
                              .entries = l->heads * l->knn,
                              .slots = l->n_keys * l->n_keys,
                              .width = l->value_width,
                              .index = l->index,
                              .weight = l->weight,
                              .values = l->parameter[VALUES],
                              .out = l->m,
                              .dout = dout,
                              .dweight = l->dweight,
                              .dvalues = l->gradient[VALUES]};
}

static struct expert_read experts_of(const struct memory_layer *l, const float *dout) {
  return (struct expert_read){.rows = l->rows,
                              .entries = l->heads * l->knn,
                              .slots = l->n_keys * l->n_keys,
                              .width = l->value_width,
                              .index = l->index,
                              .weight = l->weight,
                              .x = l->x,
                              .down = l->parameter[EXPERTS_IN],
                              .up = l->parameter[EXPERTS_OUT],
                              .z = l->z,
                              .out = l->m,
                              .dout = dout,
                              .dweight = l->dweight,
                              .dx = l->dx,
                              .ddown = l->gradient[EXPERTS_IN],
                              .dup = l->gradient[EXPERTS_OUT]};
}

static struct gate gate_of(const struct memory_layer *l) {
  return (struct gate){
      .rows = l->rows, .columns = l->value_width, .m = l->m, .g = l->g, .u = l->u, .dm = l->dm, .dg = l->dg};
}

/* What the projection of values sees, and what the scalar gate does. */
static float *gated_values(const struct memory_layer *l) {
  return l->parameter[SWILU_WEIGHT] ? l->u : l->m;
}

static float *projected_values(const struct memory_layer *l) {
  return l->parameter[OUTPUT_WEIGHT] ? l->o : gated_values(l);
}

static struct token_gate token_gate_of(const struct memory_layer *l) {
  return (struct token_gate){.rows = l->rows,
                             .in = l->width,
                             .width = l->width,
                             .x = l->x,
                             .o = projected_values(l),
                             .weight = l->parameter[GATE_WEIGHT],
                             .bias = l->parameter[GATE_BIAS],
                             .s = l->s,
                             .y = l->y,
                             .dy = l->dy,
                             .d_o = l->d_o,
                             .dx = l->dx,
                             .dweight = l->gradient[GATE_WEIGHT],
                             .dbias = l->gradient[GATE_BIAS]};
}

static void run_forward(const struct memory_layer *l) {
  const struct device_operations *op = l->device->op;
  const struct memory_select select = select_of(l);
  const struct memory_read read = read_of(l, NULL);
  const struct expert_read experts = experts_of(l, NULL);
  const struct gate gate = gate_of(l);
  const struct token_gate token_gate = token_gate_of(l);
  apply_linear(l, QUERY_WEIGHT, l->width, l->heads * 2 * l->half, l->x, l->queries);
  op->memory_select(l->device, &select);
  if (l->parameter[EXPERTS_IN])
    op->expert_read(l->device, &experts);
  else
    op->memory_read(l->device, &read);
  if (l->parameter[SWILU_WEIGHT]) {
    apply_linear(l, SWILU_WEIGHT, l->width, l->value_width, l->x, l->g);
    op->gate(l->device, &gate);
  }
  if (l->parameter[OUTPUT_WEIGHT])
    apply_linear(l, OUTPUT_WEIGHT, l->value_width, l->width, gated_values(l), l->o);
  if (l->parameter[GATE_WEIGHT])
    op->token_gate(l->device, &token_gate);
  else
    op->copy(l->device, l->y, projected_values(l), (size_t)(l->rows * l->width) * sizeof(float));
}

/* Through the scalar gate and the projections; returns the gradient of what was read. */
static const float *run_gates_backward(const struct memory_layer *l) {
  const struct device_operations *op = l->device->op;
  struct gate gate = gate_of(l);
  const struct token_gate token_gate = token_gate_of(l);
  const float *gradient = l->dy;
  if (l->parameter[GATE_WEIGHT]) {
    op->token_gate_backward(l->device, &token_gate);
    gradient = l->d_o;
  }
  if (l->parameter[OUTPUT_WEIGHT]) {
    linear_gradients(l, OUTPUT_WEIGHT, l->value_width, l->width, gated_values(l), gradient, l->du, false);
    gradient = l->du;
  }
  if (!l->parameter[SWILU_WEIGHT])
    return gradient;
  gate.du = gradient;
  op->gate_backward(l->device, &gate);
  linear_gradients(l, SWILU_WEIGHT, l->width, l->value_width, l->x, l->dg, l->dx, true);
  return l->dm;
}

static void run_backward(const struct memory_layer *l) {
  const struct device_operations *op = l->device->op;
  const float *gradient = run_gates_backward(l);
  const struct memory_select select = select_of(l);
  const struct memory_read read = read_of(l, gradient);
  const struct expert_read experts = experts_of(l, gradient);
  if (l->parameter[EXPERTS_IN])
    op->expert_read_backward(l->device, &experts);
  else
    op->memory_read_backward(l->device, &read);
  op->memory_select_backward(l->device, &select);
  linear_gradients(l, QUERY_WEIGHT, l->width, l->heads * 2 * l->half, l->x, l->dqueries, l->dx, true);
}

void memory_layer_run(struct memory_layer *l) {
  allocate_work(l);
  run_forward(l);
  run_backward(l);
  l->device->op->synchronize(l->device);
}

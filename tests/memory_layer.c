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

void memory_layer_run(struct memory_layer *l) {
  const struct device_operations *op = l->device->op;
  allocate_work(l);
  struct memory_select select = {.rows = l->rows,
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
  struct memory_read read = {.rows = l->rows,
                             .entries = l->heads * l->knn,
                             .slots = l->n_keys * l->n_keys,
                             .width = l->value_width,
                             .index = l->index,
                             .weight = l->weight,
                             .values = l->parameter[VALUES],
                             .out = l->m,
                             .dweight = l->dweight,
                             .dvalues = l->gradient[VALUES]};
  struct expert_read experts = {.rows = l->rows,
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
                                .dweight = l->dweight,
                                .dx = l->dx,
                                .ddown = l->gradient[EXPERTS_IN],
                                .dup = l->gradient[EXPERTS_OUT]};
  struct gate gate = {.rows = l->rows,
                      .columns = l->value_width,
                      .m = l->m,
                      .g = l->g,
                      .u = l->u,
                      .du = l->du,
                      .dm = l->dm,
                      .dg = l->dg};
  bool swilu = l->parameter[SWILU_WEIGHT], projected = l->parameter[OUTPUT_WEIGHT], gated = l->parameter[GATE_WEIGHT];
  int64_t query_width = l->heads * 2 * l->half;
  apply_linear(l, QUERY_WEIGHT, l->width, query_width, l->x, l->queries);
  op->memory_select(l->device, &select);
  if (l->parameter[EXPERTS_IN])
    op->expert_read(l->device, &experts);
  else
    op->memory_read(l->device, &read);
  const float *u = swilu ? l->u : l->m, *o = projected ? l->o : u;
  if (swilu) {
    apply_linear(l, SWILU_WEIGHT, l->width, l->value_width, l->x, l->g);
    op->gate(l->device, &gate);
  }
  if (projected)
    apply_linear(l, OUTPUT_WEIGHT, l->value_width, l->width, u, l->o);
  struct token_gate token_gate = {.rows = l->rows,
                                  .in = l->width,
                                  .width = l->width,
                                  .x = l->x,
                                  .o = o,
                                  .weight = l->parameter[GATE_WEIGHT],
                                  .bias = l->parameter[GATE_BIAS],
                                  .s = l->s,
                                  .y = l->y,
                                  .dy = l->dy,
                                  .d_o = l->d_o,
                                  .dx = l->dx,
                                  .dweight = l->gradient[GATE_WEIGHT],
                                  .dbias = l->gradient[GATE_BIAS]};
  const float *d_o = gated ? l->d_o : l->dy;
  if (gated) {
    op->token_gate(l->device, &token_gate);
    op->token_gate_backward(l->device, &token_gate);
  } else {
    op->copy(l->device, l->y, o, (size_t)(l->rows * l->width) * sizeof(float));
  }
  const float *du = projected ? l->du : d_o;
  if (projected)
    linear_gradients(l, OUTPUT_WEIGHT, l->value_width, l->width, u, d_o, l->du, false);
  read.dout = du;
  if (swilu) {
    op->gate_backward(l->device, &gate);
    linear_gradients(l, SWILU_WEIGHT, l->width, l->value_width, l->x, l->dg, l->dx, true);
    read.dout = l->dm;
  }
  experts.dout = read.dout;
  if (l->parameter[EXPERTS_IN])
    op->expert_read_backward(l->device, &experts);
  else
    op->memory_read_backward(l->device, &read);
  op->memory_select_backward(l->device, &select);
  linear_gradients(l, QUERY_WEIGHT, l->width, query_width, l->x, l->dqueries, l->dx, true);
  op->synchronize(l->device);
}

/* The memory's branch (methods 1.2, 1.4), forward and backward: queries, selection, reading of values or experts,
 * gates, and dropout between them. Each step below is a function of one sublayer's state. */
#include "base/random.h"
#include "model/run.h"

enum { DROP_INPUT, DROP_QUERY, DROP_VALUE, DROPS }; /* part of the masks' key: append only */

/* x[rows, width] with its mask, in place: a forward's values or a backward's gradients. */
static void drop(struct tower_run *run, int index, int operation, double probability, int64_t width, void *x) {
  const struct tower_input *input = &run->input;
  const struct random_key key = {.seed = input->seed,
                                 .use = RANDOM_DROPOUT,
                                 .layer = (uint32_t)((2 * index + !run->tower->vision) * DROPS + operation)};
  if (probability <= 0 || !input->samples)
    return;
  const bool pooled = state_is_pooled(run, index);
  run->device->op->dropout(run->device, &(struct dropout){.batch = input->count,
                                                          .tokens = pooled ? 1 : run->tokens,
                                                          .tokens_max = run->tower->tokens,
                                                          .width = width,
                                                          .dtype = run->dtype,
                                                          .probability = probability,
                                                          .key = random_philox_key(&key),
                                                          .step = input->step,
                                                          .sample = input->samples,
                                                          .position = pooled ? run->position : NULL,
                                                          .x = x,
                                                          .y = x});
}

/* The calls of a sublayer, with what forward and backward have in common. */
static struct memory_select select_call(struct tower_run *run, int index) {
  const struct memory_config *memory = &run->tower->config->memory;
  struct sublayer_state *state = &run->states[index];
  return (struct memory_select){.rows = state->rows,
                                .heads = memory->heads,
                                .n_keys = memory->n_keys,
                                .knn = memory->knn,
                                .half = memory->k_dim / 2,
                                .dtype = run->dtype,
                                .queries = state->in,
                                .keys = run->tower->sublayers[index].keys->compute,
                                .index = state->index,
                                .weight = state->weight};
}

static struct memory_read read_call(struct tower_run *run, int index) {
  const struct memory_config *memory = &run->tower->config->memory;
  const struct parameter *values = run->tower->sublayers[index].values;
  struct sublayer_state *state = &run->states[index];
  return (struct memory_read){.rows = state->rows,
                              .entries = (int64_t)memory->heads * memory->knn,
                              .slots = values->shape[0],
                              .width = values->shape[1],
                              .dtype = run->dtype,
                              .index = state->index,
                              .weight = state->weight,
                              .values = values->compute};
}

static struct expert_read expert_call(struct tower_run *run, int index) {
  const struct memory_config *memory = &run->tower->config->memory;
  const struct sublayer *layer = &run->tower->sublayers[index];
  struct sublayer_state *state = &run->states[index];
  return (struct expert_read){.rows = state->rows,
                              .entries = (int64_t)memory->heads * memory->knn,
                              .slots = layer->values->shape[0],
                              .width = layer->values->shape[1],
                              .dtype = run->dtype,
                              .index = state->index,
                              .weight = state->weight,
                              .x = state->h,
                              .down = layer->values_in->compute,
                              .up = layer->values->compute,
                              .z = state->expert_z};
}

static struct gate gate_call(struct tower_run *run, int index) {
  struct sublayer_state *state = &run->states[index];
  return (struct gate){.rows = state->rows,
                       .columns = run->tower->sublayers[index].values->shape[1],
                       .dtype = run->dtype,
                       .m = state->mid,
                       .g = state->gate,
                       .u = state->gated};
}

static struct token_gate token_gate_call(struct tower_run *run, int index) {
  const struct sublayer *layer = &run->tower->sublayers[index];
  struct sublayer_state *state = &run->states[index];
  const int64_t width = run->tower->config->width;
  return (struct token_gate){.rows = state->rows,
                             .in = width,
                             .width = width,
                             .dtype = run->dtype,
                             .x = state->h,
                             .o = state->plain,
                             .weight = layer->token_gate_weight->master,
                             .bias = layer->token_gate_bias->master,
                             .s = state->token_gate};
}

static void select_forward(struct tower_run *run, int index) {
  const struct sublayer *layer = &run->tower->sublayers[index];
  struct sublayer_state *state = &run->states[index];
  linear_forward(run, &layer->in, state->rows, state->h, state->in, run->dtype);
  drop(run, index, DROP_QUERY, run->tower->config->memory.query_dropout, layer->in.out, state->in);
  const struct memory_select select = select_call(run, index);
  run->device->op->memory_select(run->device, &select);
  if (run->input.watch)
    run->input.watch->selected(run->input.watch->context, index / 2, &select);
}

/* What is read, through the gate and the output projection, to `plain`. */
static void read_forward(struct tower_run *run, int index, void *plain) {
  const struct sublayer *layer = &run->tower->sublayers[index];
  struct sublayer_state *state = &run->states[index];
  struct device *device = run->device;
  if (layer->values_in) {
    struct expert_read experts = expert_call(run, index);
    experts.out = plain;
    device->op->expert_read(device, &experts);
    return;
  }
  struct memory_read read = read_call(run, index);
  read.out = layer->out.weight ? state->mid : plain;
  device->op->memory_read(device, &read);
  if (layer->gate.weight) {
    linear_forward(run, &layer->gate, state->rows, state->h, state->gate, run->dtype);
    const struct gate gate = gate_call(run, index);
    device->op->gate(device, &gate);
  }
  if (layer->out.weight)
    linear_forward(run, &layer->out, state->rows, layer->gate.weight ? state->gated : state->mid, plain, run->dtype);
}

void memory_forward(struct tower_run *run, int index) {
  const struct memory_config *memory = &run->tower->config->memory;
  struct sublayer_state *state = &run->states[index];
  const int64_t width = run->tower->config->width;
  void *plain = memory->gated ? state->plain : state->branch;
  drop(run, index, DROP_INPUT, memory->input_dropout, width, state->h);
  select_forward(run, index);
  read_forward(run, index, plain);
  drop(run, index, DROP_VALUE, memory->value_dropout, width, plain);
  if (memory->gated) {
    struct token_gate gate = token_gate_call(run, index);
    gate.y = state->branch;
    run->device->op->token_gate(run->device, &gate);
  }
}

/* From dplain, the gradient of what read_forward made, to weights of entries (run->dweight), tables, projections and
 * the input (added to dh, NULL: not wanted). */
static void read_backward(struct tower_run *run, int index, const void *dplain, void *dh) {
  const struct sublayer *layer = &run->tower->sublayers[index];
  struct sublayer_state *state = &run->states[index];
  struct device *device = run->device;
  if (layer->values_in) {
    struct expert_read experts = expert_call(run, index);
    experts.dout = dplain;
    experts.dweight = run->dweight;
    experts.dx = dh;
    experts.ddown = layer->values_in->gradient;
    experts.dup = layer->values->gradient;
    device->op->expert_read_backward(device, &experts);
    return;
  }
  if (layer->out.weight)
    linear_backward(run, &layer->out, state->rows, layer->gate.weight ? state->gated : state->mid, dplain, run->dmemory,
                    false, bias_is_fused(run, layer));
  if (layer->gate.weight) {
    struct gate gate = gate_call(run, index);
    gate.du = gate.dm = run->dmemory;
    gate.dg = run->dwide;
    gate.dgate_bias = gradient_of(layer->gate.bias);
    device->op->gate_backward(device, &gate);
    linear_backward(run, &layer->gate, state->rows, state->h, run->dwide, dh, true, true);
  }
  struct memory_read read = read_call(run, index);
  read.dout = layer->out.weight ? run->dmemory : dplain;
  read.dweight = run->dweight;
  read.dvalues = layer->values->gradient;
  device->op->memory_read_backward(device, &read);
}

/* From run->dweight to keys, query projection and the input. */
static void select_backward(struct tower_run *run, int index, void *dh) {
  const struct sublayer *layer = &run->tower->sublayers[index];
  struct sublayer_state *state = &run->states[index];
  struct memory_select select = select_call(run, index);
  select.dweight = run->dweight;
  select.dqueries = run->dwide;
  select.dkeys = layer->keys->gradient;
  run->device->op->memory_select_backward(run->device, &select);
  drop(run, index, DROP_QUERY, run->tower->config->memory.query_dropout, layer->in.out, run->dwide);
  linear_backward(run, &layer->in, state->rows, state->h, run->dwide, dh, true, false);
}

/* dh is built from up to three parts (token gate, read, queries): it starts at zero and each adds. */
void memory_backward(struct tower_run *run, int index, bool wants_input) {
  const struct memory_config *memory = &run->tower->config->memory;
  const struct sublayer *layer = &run->tower->sublayers[index];
  struct device *device = run->device;
  const int64_t rows = run->states[index].rows, width = run->tower->config->width;
  void *dplain = run->dbranch, *dh = wants_input ? run->dh : NULL;
  device->op->zero(device, run->dh, (size_t)(rows * width) * dtype_size(run->dtype));
  if (memory->gated) {
    struct token_gate gate = token_gate_call(run, index);
    gate.dy = run->dbranch;
    gate.d_o = dplain = run->dmid;
    gate.dx = dh;
    gate.dweight = layer->token_gate_weight->gradient;
    gate.dbias = layer->token_gate_bias->gradient;
    device->op->token_gate_backward(device, &gate);
  }
  drop(run, index, DROP_VALUE, memory->value_dropout, width, dplain);
  read_backward(run, index, dplain, dh);
  select_backward(run, index, dh);
  if (wants_input)
    drop(run, index, DROP_INPUT, memory->input_dropout, width, run->dh);
}

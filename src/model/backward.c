/* Backward passes of towers, from the features' gradient down to the lowest sublayer that trains anything. */
#include "base/memory.h"
#include "model/run.h"

void linear_backward(struct tower_run *run, const struct linear_layer *layer, int64_t rows, const void *x,
                     const void *dy, void *dx, bool accumulate, bool bias_done) {
  struct device *device = run->device;
  float *dweight = gradient_of(layer->weight), *dbias = bias_done ? NULL : gradient_of(layer->bias);
  if (dweight || dbias)
    device->op->linear_weight_gradient(device, &(struct linear_weight_gradient){.rows = rows,
                                                                                .in = layer->in,
                                                                                .out = layer->out,
                                                                                .dtype = run->dtype,
                                                                                .transposed = layer->transposed,
                                                                                .x = x,
                                                                                .dy = dy,
                                                                                .dweight = dweight,
                                                                                .dbias = dbias});
  if (dx)
    device->op->linear_data_gradient(device, &(struct linear_data_gradient){.rows = rows,
                                                                            .in = layer->in,
                                                                            .out = layer->out,
                                                                            .dtype = run->dtype,
                                                                            .dx_dtype = run->dtype,
                                                                            .transposed = layer->transposed,
                                                                            .frozen = !layer->weight->trainable,
                                                                            .accumulate = accumulate,
                                                                            .dy = dy,
                                                                            .weight = layer->weight->compute,
                                                                            .dx = dx});
}

static void attention_backward(struct tower_run *run, int index, bool wants_input) {
  const struct sublayer *layer = &run->tower->sublayers[index];
  struct sublayer_state *state = &run->states[index];
  struct device *device = run->device;
  const int64_t width = layer->in.in;
  const size_t element = dtype_size(run->dtype);
  const bool into_projection = wants_input || gradient_of(layer->in.weight) || gradient_of(layer->in.bias);
  linear_backward(run, &layer->out, state->rows, state->mid, run->dbranch, into_projection ? run->dmid : NULL, false,
                  true);
  if (!into_projection)
    return;
  struct attention call = attention_call(run, index);
  const bool pooled = state_is_pooled(run, index);
  call.lse = state->lse;
  call.dout = run->dmid;
  call.dq = pooled ? run->dquery : run->dwide;
  call.dk = (char *)run->dwide + (pooled ? 0 : (size_t)width * element);
  call.dv = (char *)call.dk + (size_t)width * element;
  device->op->attention_backward(device, &call);
  void *dh = wants_input ? run->dh : NULL;
  if (!pooled) {
    linear_backward(run, &layer->in, state->in_rows, state->h, run->dwide, dh, false, false);
    return;
  }
  struct parameter parts[2];
  struct linear_layer part = linear_slice(&layer->in, parts, width, 2 * width, element);
  linear_backward(run, &part, state->in_rows, state->h, run->dwide, dh, false, false);
  part = linear_slice(&layer->in, parts, 0, width, element);
  linear_backward(run, &part, state->rows, state->pooled_h, run->dquery, wants_input ? run->dmid : NULL, false, false);
  if (wants_input)
    device->op->pool_backward(device, &(struct pool){.batch = run->input.count,
                                                     .tokens = run->tokens,
                                                     .width = width,
                                                     .dtype = run->dtype,
                                                     .accumulate = true,
                                                     .position = run->position,
                                                     .dout = run->dmid,
                                                     .dx = run->dh});
}

static void mlp_backward(struct tower_run *run, int index, bool wants_input) {
  const struct sublayer *layer = &run->tower->sublayers[index];
  struct sublayer_state *state = &run->states[index];
  const bool into_fc = wants_input || gradient_of(layer->in.weight) || gradient_of(layer->in.bias);
  linear_backward(run, &layer->out, state->rows, state->mid, run->dbranch, into_fc ? run->dwide : NULL, false, true);
  if (!into_fc)
    return;
  run->device->op->activation_backward(run->device, &(struct activation_call){.rows = state->rows,
                                                                              .columns = layer->in.out,
                                                                              .dtype = run->dtype,
                                                                              .kind = run->model->config.activation,
                                                                              .x = state->in,
                                                                              .dy = run->dwide,
                                                                              .dx = run->dwide,
                                                                              .dbias = gradient_of(layer->in.bias)});
  linear_backward(run, &layer->in, state->rows, state->h, run->dwide, wants_input ? run->dh : NULL, false, true);
}

void branch_backward(struct tower_run *run, int index, bool wants_input) {
  static void (*const backward[])(struct tower_run *, int, bool) = {
      [SUBLAYER_ATTENTION] = attention_backward, [SUBLAYER_MLP] = mlp_backward, [SUBLAYER_MEMORY] = memory_backward};
  backward[run->tower->sublayers[index].kind](run, index, wants_input);
}

/* The gradient of the branch that ends at the current residual stream, from run->dx: what norm_backward fuses; `index`
 * is the branch's sublayer, -1 for none. */
static void fill_branch(struct tower_run *run, struct norm_backward *call, int index) {
  if (index < 0)
    return;
  const struct sublayer *layer = &run->tower->sublayers[index];
  call->dbranch = run->dbranch;
  call->gamma = layer->layer_scale ? layer->layer_scale->master : NULL;
  call->dgamma = gradient_of(layer->layer_scale);
  call->branch = run->states[index].branch;
  call->dbranch_bias = bias_is_fused(run, layer) ? gradient_of(layer->out.bias) : NULL;
}

/* dout [B,C] spread over the tokens that were pooled, to dx [N,C]; both of one dtype. */
static void unpool(struct tower_run *run, enum dtype dtype, const void *dout, void *dx) {
  const struct tower *tower = run->tower;
  struct device *device = run->device;
  if (tower->pooling == POOL_AVERAGE)
    device->op->pool_average_backward(device, &(struct pool_average){.batch = run->input.count,
                                                                     .tokens = run->tokens,
                                                                     .width = tower->config->width,
                                                                     .first = 1,
                                                                     .dtype = dtype,
                                                                     .dout = dout,
                                                                     .dx = dx});
  else
    device->op->pool_backward(device, &(struct pool){.batch = run->input.count,
                                                     .tokens = run->tokens,
                                                     .width = tower->config->width,
                                                     .dtype = dtype,
                                                     .position = run->position,
                                                     .dout = dout,
                                                     .dx = dx});
}

/* From the features through projection, final norm and pooling, in the order of tower_finish, to the gradient of the
 * stream (dx_pooled when only the pooled token's row is there) and of the last branch. */
static void backward_end(struct tower_run *run, const float *dfeatures, int last) {
  const struct tower *tower = run->tower;
  struct device *device = run->device;
  const int64_t count = run->input.count, width = tower->config->width, all = count * run->tokens;
  const bool norm_first = tower->pooling == POOL_AVERAGE && !tower->final_norm_after_pool;
  device->op->cast(device, run->dfeatures, run->dtype, dfeatures, DTYPE_F32, count * tower->projection.out);
  linear_backward(run, &tower->projection, count, run->final, run->dfeatures, run->dmid, false, false);
  struct norm_backward norm = {.rows = norm_first ? all : count,
                               .width = width,
                               .dtype = run->dtype,
                               .dy_dtype = run->dtype,
                               .dx_zero = true,
                               .dy = norm_first ? run->dh : run->dmid,
                               .x = norm_first || run->pooled ? run->x_final : run->x_pooled,
                               .mean = run->final_mean,
                               .rstd = run->final_rstd,
                               .weight = tower->norm_weight->master,
                               .dx = norm_first ? run->dx : run->dx_pooled,
                               .dweight = tower->norm_weight->gradient,
                               .dbias = tower->norm_bias->gradient};
  if (norm_first)
    unpool(run, run->dtype, run->dmid, run->dh);
  if (norm_first || run->pooled) /* the last branch ends where the norm begins */
    fill_branch(run, &norm, last);
  device->op->norm_backward(device, &norm);
  if (norm_first || run->pooled)
    return;
  unpool(run, DTYPE_F32, run->dx_pooled, run->dx);
  struct norm_backward branch = {.rows = all, .width = width, .dtype = run->dtype, .dx = run->dx};
  fill_branch(run, &branch, last);
  if (branch.dbranch)
    device->op->norm_backward(device, &branch);
}

/* Through the norm of sublayer `index`: dx += ..., and the gradient of the branch before it. */
static void backward_norm(struct tower_run *run, int index) {
  const struct tower *tower = run->tower;
  const struct sublayer *layer = &tower->sublayers[index];
  struct sublayer_state *state = &run->states[index];
  struct device *device = run->device;
  const bool last_pooled = run->pooled && index == tower->count - 1;
  if (run->pooled && index == tower->count - 2) /* the stream widens again from the pooled token's row to all tokens */
    unpool(run, DTYPE_F32, run->dx_pooled, run->dx);
  struct norm_backward call = {.rows = state->in_rows,
                               .width = tower->config->width,
                               .dtype = run->dtype,
                               .dy_dtype = run->dtype,
                               .dy = run->dh,
                               .x = state->x,
                               .mean = state->mean,
                               .rstd = state->rstd,
                               .weight = layer->norm_weight->master,
                               .dx = last_pooled ? run->dx_pooled : run->dx,
                               .dweight = layer->norm_weight->gradient,
                               .dbias = layer->norm_bias->gradient};
  fill_branch(run, &call, index - 1);
  device->op->norm_backward(device, &call);
}

static void backward_embedding(struct tower_run *run) {
  const struct tower *tower = run->tower;
  struct device *device = run->device;
  const int64_t count = run->input.count, width = tower->config->width;
  const float *dx = run->dx;
  if (tower->norm_pre_weight) {
    float *dembedded = run->states[0].x; /* the stream behind the norm is not needed any more */
    device->op->norm_backward(device, &(struct norm_backward){.rows = count * run->tokens,
                                                              .width = width,
                                                              .dtype = run->dtype,
                                                              .dy_dtype = DTYPE_F32,
                                                              .dx_zero = true,
                                                              .dy = run->dx,
                                                              .x = run->x_embedded,
                                                              .mean = run->embedded_mean,
                                                              .rstd = run->embedded_rstd,
                                                              .weight = tower->norm_pre_weight->master,
                                                              .dx = dembedded,
                                                              .dweight = tower->norm_pre_weight->gradient,
                                                              .dbias = tower->norm_pre_bias->gradient});
    dx = dembedded;
  }
  if (!tower->vision) {
    device->op->text_embed_backward(device, &(struct text_embed){.batch = count,
                                                                 .tokens = run->tokens,
                                                                 .width = width,
                                                                 .ids_stride = tower->tokens,
                                                                 .vocabulary = tower->token_embedding->shape[0],
                                                                 .ids = run->input.ids,
                                                                 .dx = dx,
                                                                 .dtable = tower->token_embedding->gradient,
                                                                 .dposition = tower->position->gradient});
    return;
  }
  device->op->image_embed_backward(device, &(struct image_embed){.batch = count,
                                                                 .grid = tower->tokens - 1,
                                                                 .kept = run->tokens - 1,
                                                                 .width = width,
                                                                 .dtype = run->dtype,
                                                                 .keep = run->input.keep,
                                                                 .dx = dx,
                                                                 .dpatches = run->embedded,
                                                                 .dclass = tower->class_embedding->gradient,
                                                                 .dposition = tower->position->gradient});
  linear_backward(run, &tower->patch_embedding, count * (tower->tokens - 1), run->patches, run->embedded, NULL, false,
                  false);
}

static void tell(const struct gradient_listener *listener, const struct parameter *parameter) {
  if (listener && parameter && parameter->gradient)
    listener->done(listener->context, parameter);
}

static void tell_linear(const struct gradient_listener *listener, const struct linear_layer *layer) {
  tell(listener, layer->weight);
  tell(listener, layer->bias);
}

/* LayerScale of a sublayer is complete with its branch's gradient: before the sublayer itself. */
static void tell_sublayer(const struct gradient_listener *listener, const struct sublayer *layer) {
  const struct parameter *single[] = {layer->keys,
                                      layer->token_gate_weight,
                                      layer->token_gate_bias,
                                      layer->last_use_of_values ? layer->values : NULL,
                                      layer->last_use_of_values ? layer->values_in : NULL,
                                      layer->layer_scale,
                                      layer->norm_weight,
                                      layer->norm_bias};
  tell_linear(listener, &layer->out);
  tell_linear(listener, &layer->gate);
  tell_linear(listener, &layer->in);
  for (size_t i = 0; i < sizeof single / sizeof *single; i++)
    tell(listener, single[i]);
}

static void tell_end(const struct gradient_listener *listener, const struct tower *tower) {
  tell_linear(listener, &tower->projection);
  tell(listener, tower->norm_weight);
  tell(listener, tower->norm_bias);
}

static void tell_embedding(const struct gradient_listener *listener, const struct tower *tower) {
  const struct parameter *all[] = {tower->norm_pre_weight, tower->norm_pre_bias, tower->class_embedding,
                                   tower->token_embedding, tower->position};
  tell_linear(listener, &tower->patch_embedding);
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    tell(listener, all[i]);
}

/* Runs the two sublayers of a block again from its kept stream, to have what their backward needs. */
static void recompute_block(struct tower_run *run, int block) {
  run->x = run->states[2 * block].x;
  run->branch = NULL;
  run_sublayer(run, 2 * block);
  run_sublayer(run, 2 * block + 1);
}

void tower_backward(struct tower_run *run, const float *dfeatures, const struct gradient_listener *listener) {
  const struct tower *tower = run->tower;
  struct device *device = run->device;
  const int first = tower_first_trainable(tower, run->model->switches.skip_frozen);
  device->op->range_begin(device, tower->vision ? "backward images" : "backward texts");
  backward_end(run, dfeatures, first < tower->count ? tower->count - 1 : -1);
  tell_end(listener, tower);
  for (int index = tower->count - 1; index >= 0 && index >= first; index--) {
    if (run->recompute && index % 2 == 1)
      recompute_block(run, index / 2);
    const struct sublayer *layer = &tower->sublayers[index];
    const bool wants_input = index > first || gradient_of(layer->norm_weight) || gradient_of(layer->norm_bias);
    device->op->range_begin(device, layer->label);
    branch_backward(run, index, wants_input);
    if (wants_input)
      backward_norm(run, index);
    device->op->range_end(device);
    tell_sublayer(listener, layer);
  }
  if (first < 0) {
    device->op->range_begin(device, "embedding");
    backward_embedding(run);
    device->op->range_end(device);
    tell_embedding(listener, tower);
  }
  device->op->range_end(device);
}

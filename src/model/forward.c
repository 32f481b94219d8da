/* Forward passes of towers: embedding, sublayers, pooled end. */
#include "base/memory.h"
#include "model/run.h"

void linear_forward(struct tower_run *run, const struct linear_layer *layer, int64_t rows, const void *x, void *y,
                    enum dtype y_dtype) {
  run->device->op->linear(run->device, &(struct linear){.rows = rows,
                                                        .in = layer->in,
                                                        .out = layer->out,
                                                        .dtype = run->dtype,
                                                        .y_dtype = y_dtype,
                                                        .transposed = layer->transposed,
                                                        .frozen = !layer->weight->trainable,
                                                        .x = x,
                                                        .weight = layer->weight->compute,
                                                        .bias = layer->bias ? layer->bias->master : NULL,
                                                        .rounded_bias = layer->bias ? layer->bias->compute : NULL,
                                                        .y = y});
}

/* The slice of a packed projection: rows [from, from+out) of weight and bias; `parts` holds the two shifted parameters.
 */
struct linear_layer linear_slice(const struct linear_layer *layer, struct parameter parts[2], int64_t from, int64_t out,
                                 size_t element) {
  parts[0] = *layer->weight;
  parts[1] = *layer->bias;
  parts[0].compute = (char *)parts[0].compute + (size_t)(from * layer->in) * element;
  parts[0].gradient = parts[0].gradient ? parts[0].gradient + from * layer->in : NULL;
  parts[1].compute = (char *)parts[1].compute + (size_t)from * element;
  parts[1].master += from;
  parts[1].gradient = parts[1].gradient ? parts[1].gradient + from : NULL;
  return (struct linear_layer){.weight = &parts[0], .bias = &parts[1], .in = layer->in, .out = out};
}

struct attention attention_call(struct tower_run *run, int index) {
  const struct tower *tower = run->tower;
  struct sublayer_state *state = &run->states[index];
  const int64_t width = tower->config->width;
  const size_t element = dtype_size(run->dtype);
  struct attention call = {.batch = run->input.count,
                           .tokens = run->tokens,
                           .queries = run->tokens,
                           .heads = tower->config->heads,
                           .head_width = width / tower->config->heads,
                           .q_stride = 3 * width,
                           .kv_stride = 3 * width,
                           .dtype = run->dtype,
                           .causal = tower->causal,
                           .q = state->in,
                           .k = (char *)state->in + (size_t)width * element,
                           .v = (char *)state->in + (size_t)(2 * width) * element,
                           .out = state->mid,
                           .lse = run->keep ? state->lse : NULL};
  if (state_is_pooled(run, index)) {
    call.queries = 1;
    call.position = run->position;
    call.q = state->query;
    call.q_stride = width;
    call.kv_stride = 2 * width;
    call.k = state->in;
    call.v = (char *)state->in + (size_t)width * element;
  }
  return call;
}

/* x [N,C] to out [B,C], both of one dtype. */
static void pool_rows(struct tower_run *run, enum dtype dtype, const void *x, void *out) {
  const struct tower *tower = run->tower;
  struct device *device = run->device;
  if (tower->pooling == POOL_AVERAGE)
    device->op->pool_average(device, &(struct pool_average){.batch = run->input.count,
                                                            .tokens = run->tokens,
                                                            .width = tower->config->width,
                                                            .first = 1,
                                                            .dtype = dtype,
                                                            .x = x,
                                                            .out = out});
  else
    device->op->pool(device, &(struct pool){.batch = run->input.count,
                                            .tokens = run->tokens,
                                            .width = tower->config->width,
                                            .dtype = dtype,
                                            .position = run->position,
                                            .x = x,
                                            .out = out});
}

static void attention_forward(struct tower_run *run, int index) {
  const struct sublayer *layer = &run->tower->sublayers[index];
  struct sublayer_state *state = &run->states[index];
  const int64_t width = layer->in.in;
  if (state_is_pooled(run, index)) {
    struct parameter parts[2]; /* keys and values of every token, the query of the pooled one */
    struct linear_layer part = linear_slice(&layer->in, parts, width, 2 * width, dtype_size(run->dtype));
    linear_forward(run, &part, state->in_rows, state->h, state->in, run->dtype);
    pool_rows(run, run->dtype, state->h, state->pooled_h);
    part = linear_slice(&layer->in, parts, 0, width, dtype_size(run->dtype));
    linear_forward(run, &part, state->rows, state->pooled_h, state->query, run->dtype);
  } else {
    linear_forward(run, &layer->in, state->in_rows, state->h, state->in, run->dtype);
  }
  struct attention call = attention_call(run, index);
  run->device->op->attention(run->device, &call);
  linear_forward(run, &layer->out, state->rows, state->mid, state->branch, run->dtype);
}

static void mlp_forward(struct tower_run *run, int index) {
  const struct sublayer *layer = &run->tower->sublayers[index];
  struct sublayer_state *state = &run->states[index];
  linear_forward(run, &layer->in, state->rows, state->h, state->in, run->dtype);
  run->device->op->activation(run->device, &(struct activation_call){.rows = state->rows,
                                                                     .columns = layer->in.out,
                                                                     .dtype = run->dtype,
                                                                     .kind = run->model->config.activation,
                                                                     .x = state->in,
                                                                     .y = state->mid});
  linear_forward(run, &layer->out, state->rows, state->mid, state->branch, run->dtype);
}

void branch_forward(struct tower_run *run, int index) {
  static void (*const forward[])(struct tower_run *, int) = {
      [SUBLAYER_ATTENTION] = attention_forward, [SUBLAYER_MLP] = mlp_forward, [SUBLAYER_MEMORY] = memory_forward};
  forward[run->tower->sublayers[index].kind](run, index);
}

void run_sublayer(struct tower_run *run, int index) {
  const struct sublayer *layer = &run->tower->sublayers[index];
  struct sublayer_state *state = &run->states[index];
  const int64_t width = run->tower->config->width;
  run->device->op->range_begin(run->device, layer->label);
  if (run->pooled && index == run->tower->count - 1) { /* from here on only the pooled token's row */
    pool_rows(run, DTYPE_F32, run->x, state->x);
    run->x = state->x;
  }
  run->device->op->norm(run->device, &(struct norm){.rows = state->in_rows,
                                                    .width = width,
                                                    .dtype = run->dtype,
                                                    .y_dtype = run->dtype,
                                                    .x = run->x,
                                                    .branch = run->branch,
                                                    .gamma = run->branch_scale,
                                                    .weight = layer->norm_weight->master,
                                                    .bias = layer->norm_bias->master,
                                                    .x_out = state->x,
                                                    .y = state->h,
                                                    .mean = state->mean,
                                                    .rstd = state->rstd});
  if (run->branch)
    run->x = state->x;
  branch_forward(run, index);
  run->branch = state->branch;
  run->branch_scale = layer->layer_scale ? layer->layer_scale->master : NULL;
  run->device->op->range_end(run->device);
}

static void embed_images(struct tower_run *run) {
  const struct tower *tower = run->tower;
  const struct clip_config *config = &run->model->config;
  const struct tower_input *input = &run->input;
  struct device *device = run->device;
  const int64_t grid = tower->tokens - 1;
  struct patchify patchify = {.batch = input->count,
                              .height = config->image_height,
                              .width = config->image_width,
                              .patch = config->patch,
                              .image_dtype = input->image_dtype,
                              .dtype = run->dtype,
                              .images = input->images,
                              .patches = run->patches};
  memcpy(patchify.mean, config->image_mean, sizeof patchify.mean);
  memcpy(patchify.std, config->image_std, sizeof patchify.std);
  device->op->patchify(device, &patchify);
  linear_forward(run, &tower->patch_embedding, input->count * grid, run->patches, run->embedded, run->dtype);
  device->op->image_embed(device, &(struct image_embed){.batch = input->count,
                                                        .grid = grid,
                                                        .kept = run->tokens - 1,
                                                        .width = tower->config->width,
                                                        .dtype = run->dtype,
                                                        .keep = input->keep,
                                                        .patches = run->embedded,
                                                        .class_embedding = tower->class_embedding->master,
                                                        .position = tower->position->master,
                                                        .x = run->x_embedded});
}

static void embed_text(struct tower_run *run) {
  const struct tower *tower = run->tower;
  struct device *device = run->device;
  device->op->copy(device, run->position, run->input.end, (size_t)run->input.count * sizeof(int32_t));
  device->op->text_embed(device, &(struct text_embed){.batch = run->input.count,
                                                      .tokens = run->tokens,
                                                      .width = tower->config->width,
                                                      .ids_stride = tower->tokens,
                                                      .vocabulary = tower->token_embedding->shape[0],
                                                      .ids = run->input.ids,
                                                      .table = tower->token_embedding->master,
                                                      .position = tower->position->master,
                                                      .x = run->x_embedded});
}

static void set_rows(struct tower_run *run) {
  const int64_t all = run->input.count * run->tokens;
  for (int i = 0; i < run->tower->count; i++) {
    const bool pooled = state_is_pooled(run, i);
    run->states[i].rows = pooled ? run->input.count : all;
    run->states[i].in_rows = pooled && i % 2 ? run->input.count : all;
  }
}

static void take_input(struct tower_run *run, const struct tower_input *input) {
  const struct tower *tower = run->tower;
  run->input = *input;
  run->tokens = tower->vision ? (input->keep ? run->kept_patches + 1 : tower->tokens) : input->tokens;
  set_rows(run);
}

void tower_replayed(struct tower_run *run, const struct tower_input *input) {
  take_input(run, input);
  run->next = run->tower->count;
}

void tower_begin(struct tower_run *run, const struct tower_input *input) {
  const struct tower *tower = run->tower;
  arena_forget(&run->arena);
  take_input(run, input);
  run->device->op->range_begin(run->device, "embedding");
  if (tower->vision)
    embed_images(run);
  else
    embed_text(run);
  run->x = run->x_embedded;
  if (tower->norm_pre_weight) {
    run->device->op->norm(run->device, &(struct norm){.rows = input->count * run->tokens,
                                                      .width = tower->config->width,
                                                      .dtype = run->dtype,
                                                      .y_dtype = DTYPE_F32,
                                                      .x = run->x_embedded,
                                                      .weight = tower->norm_pre_weight->master,
                                                      .bias = tower->norm_pre_bias->master,
                                                      .x_out = run->x_embedded,
                                                      .y = run->states[0].x,
                                                      .mean = run->embedded_mean,
                                                      .rstd = run->embedded_rstd});
    run->x = run->states[0].x;
  }
  run->device->op->range_end(run->device);
  run->branch = NULL;
  run->branch_scale = NULL;
  run->next = 0;
}

void tower_advance(struct tower_run *run, int until) {
  for (; run->next < until; run->next++)
    run_sublayer(run, run->next);
}

void tower_adopt(struct tower_run *run, const struct tower_run *from) {
  const size_t rows = (size_t)(from->next > 0 ? from->states[from->next - 1].rows : from->input.count * from->tokens);
  const size_t stream_rows =
      (size_t)(from->next > 0 ? from->states[from->next - 1].in_rows : from->input.count * from->tokens);
  const size_t width = (size_t)run->tower->config->width;
  arena_forget(&run->arena);
  run->input = from->input;
  run->tokens = from->tokens;
  run->next = from->next;
  set_rows(run);
  float *x = run->states[from->next > 0 ? from->next - 1 : 0].x;
  run->device->op->copy(run->device, x, from->x, stream_rows * width * sizeof(float));
  run->x = x;
  run->branch = NULL;
  if (from->branch) {
    void *branch = run->states[from->next - 1].branch;
    run->device->op->copy(run->device, branch, from->branch, rows * width * dtype_size(run->dtype));
    run->branch = branch;
  }
  if (run->position)
    run->device->op->copy(run->device, run->position, from->position, (size_t)from->input.count * sizeof(int32_t));
  run->branch_scale = from->branch_scale;
}

static struct norm final_norm(struct tower_run *run, int64_t rows, const float *x, void *y) {
  const struct tower *tower = run->tower;
  return (struct norm){.rows = rows,
                       .width = tower->config->width,
                       .dtype = run->dtype,
                       .y_dtype = run->dtype,
                       .x = x,
                       .weight = tower->norm_weight->master,
                       .bias = tower->norm_bias->master,
                       .x_out = run->x_final,
                       .y = y,
                       .mean = run->final_mean,
                       .rstd = run->final_rstd};
}

/* The norm acts on each row alone, so for a single pooled token it comes after the pooling; for the average the
 * configuration says. */
void tower_finish(struct tower_run *run, float *features) {
  const struct tower *tower = run->tower;
  struct device *device = run->device;
  const int64_t count = run->input.count, all = count * run->tokens;
  const bool norm_first = tower->pooling == POOL_AVERAGE && !tower->final_norm_after_pool;
  void *normed = run->pooled ? run->final : norm_first ? run->final_all : NULL; /* NULL: only the addition */
  struct norm last = final_norm(run, run->pooled ? count : all, run->x, normed);
  device->op->range_begin(device, "end");
  last.branch = run->branch;
  last.gamma = run->branch_scale;
  if (!run->branch)
    device->op->copy(device, run->x_final, run->x, (size_t)(last.rows * last.width) * sizeof(float));
  device->op->norm(device, &last);
  if (norm_first) {
    pool_rows(run, run->dtype, run->final_all, run->final);
  } else if (!run->pooled) {
    pool_rows(run, DTYPE_F32, run->x_final, run->x_pooled);
    struct norm pooled = final_norm(run, count, run->x_pooled, run->final);
    pooled.x_out = run->x_pooled;
    device->op->norm(device, &pooled);
  }
  linear_forward(run, &tower->projection, count, run->final, features, DTYPE_F32);
  device->op->range_end(device);
}

void tower_forward(struct tower_run *run, const struct tower_input *input, float *features) {
  run->device->op->range_begin(run->device, run->tower->vision ? "forward images" : "forward texts");
  tower_begin(run, input);
  tower_advance(run, run->tower->count);
  tower_finish(run, features);
  run->device->op->range_end(run->device);
}

/* Buffers of a tower run, planned by one layout function that measures first and assigns second. */
#include "base/memory.h"
#include "model/run.h"

static int64_t larger(int64_t a, int64_t b) {
  return a > b ? a : b;
}

static void *take(struct tower_run *run, int64_t elements) {
  return arena_take_tensor(&run->arena, run->dtype, elements);
}
static float *take_float(struct tower_run *run, int64_t elements) {
  return arena_take_tensor(&run->arena, DTYPE_F32, elements);
}

static int64_t values_width(const struct tower *tower) {
  return tower->config->memory.v_dim > 0 ? tower->config->memory.v_dim : tower->config->width;
}

static bool trains(const struct linear_layer *layer) {
  return layer->weight && layer->weight->trainable;
}

/* What of a sublayer its backward reads again beside the stream and what its kind keeps anyway: a product with a frozen
 * weight needs no operand for the weight's gradient. */
struct kept {
  bool h, mid, branch;
};
static struct kept kept_of(const struct tower_run *run, const struct sublayer *layer) {
  const bool all = layer->kind == SUBLAYER_MEMORY || !run->model->switches.skip_frozen;
  return (struct kept){.h = all || trains(&layer->in),
                       .mid = all || trains(&layer->out),
                       .branch = all || (layer->layer_scale && layer->layer_scale->trainable)};
}

/* One set for all sublayers that keep less. */
static void layout_lent(struct tower_run *run) {
  const struct tower *tower = run->tower;
  const int64_t all = (int64_t)run->batch * tower->tokens, width = tower->config->width;
  struct kept every = {true, true, true};
  for (int i = 0; i < tower->count; i++) {
    const struct kept kept = kept_of(run, &tower->sublayers[i]);
    every = (struct kept){every.h && kept.h, every.mid && kept.mid, every.branch && kept.branch};
  }
  run->lent_h = every.h ? NULL : take(run, all * width);
  run->lent_mid = every.mid ? NULL : take(run, all * larger(width, tower->config->mlp_width));
  run->lent_branch = every.branch ? NULL : take(run, all * width);
}

static void layout_attention(struct tower_run *run, struct sublayer_state *state, bool pooled, bool keep_mid) {
  const int64_t width = run->tower->config->width;
  state->in = take(run, state->in_rows * (pooled ? 2 : 3) * width);
  state->query = pooled ? take(run, state->rows * width) : NULL;
  state->pooled_h = pooled ? take(run, state->rows * width) : NULL;
  state->mid = keep_mid ? take(run, state->rows * width) : run->lent_mid;
  state->lse = take_float(run, state->rows * run->tower->config->heads);
}

static void layout_memory(struct tower_run *run, struct sublayer_state *state) {
  const struct tower *tower = run->tower;
  const struct memory_config *memory = &tower->config->memory;
  const int64_t width = values_width(tower), entries = (int64_t)memory->heads * memory->knn;
  state->in = take(run, state->rows * memory->heads * memory->k_dim);
  state->index = arena_take_tensor(&run->arena, DTYPE_I32, state->rows * entries);
  state->weight = take_float(run, state->rows * entries);
  if (memory->peer)
    state->expert_z = take_float(run, state->rows * entries);
  else
    state->mid = take(run, state->rows * width);
  if (memory->swilu_projection) {
    state->gate = take(run, state->rows * width);
    state->gated = take(run, state->rows * width);
  }
  if (memory->gated) {
    state->plain = take(run, state->rows * tower->config->width);
    state->token_gate = take_float(run, state->rows);
  }
}

/* Buffers of one sublayer; `like` (may be NULL) lends all its own: nothing is kept for a backward then. */
static void layout_sublayer(struct tower_run *run, int index, const struct sublayer_state *like) {
  const struct tower *tower = run->tower;
  struct sublayer_state *state = &run->states[index];
  const int64_t all = (int64_t)run->batch * tower->tokens, width = tower->config->width;
  const bool pooled = state_is_pooled(run, index);
  state->rows = pooled ? run->batch : all;
  state->in_rows = pooled && tower->sublayers[index].kind != SUBLAYER_ATTENTION ? run->batch : all;
  if (like) {
    float *x = state->x;
    int64_t rows = state->rows, in_rows = state->in_rows;
    *state = *like;
    state->x = x;
    state->rows = rows;
    state->in_rows = in_rows;
    /* LayerScale's gradient needs every branch, and the one before a recomputed block is not computed again. */
    if (run->recompute && tower->sublayers[index].layer_scale)
      state->branch = take(run, rows * width);
    return;
  }
  const struct sublayer *layer = &tower->sublayers[index];
  const struct kept kept = run->keep && !run->recompute ? kept_of(run, layer) : (struct kept){true, true, true};
  state->mean = take_float(run, state->in_rows);
  state->rstd = take_float(run, state->in_rows);
  state->h = kept.h ? take(run, state->in_rows * width) : run->lent_h;
  state->branch = kept.branch ? take(run, state->rows * width) : run->lent_branch;
  if (layer->kind == SUBLAYER_ATTENTION) {
    layout_attention(run, state, pooled, kept.mid);
  } else if (layer->kind == SUBLAYER_MLP) {
    state->in = take(run, state->rows * tower->config->mlp_width);
    state->mid = kept.mid ? take(run, state->rows * tower->config->mlp_width) : run->lent_mid;
  } else {
    layout_memory(run, state);
  }
}

/* The residual streams: one per sublayer that has a backward, one per block when blocks are recomputed, else a single
 * one in place. */
static void layout_streams(struct tower_run *run, int first) {
  const struct tower *tower = run->tower;
  const int64_t all = (int64_t)run->batch * tower->tokens, width = tower->config->width;
  float *shared = run->keep && !run->recompute && first <= 0 ? NULL : take_float(run, all * width);
  for (int i = 0; i < tower->count; i++) {
    const bool own = run->keep && (run->recompute ? i % 2 == 0 : i >= first);
    run->states[i].x = own ? take_float(run, all * width) : shared;
  }
  if (run->pooled)
    run->states[tower->count - 1].x = take_float(run, run->batch * width);
}

static void layout_sublayers(struct tower_run *run) {
  const struct tower *tower = run->tower;
  const struct sublayer_state *lender[3][2] = {{NULL}}; /* by kind and whether it is pooled */
  const int first = tower_first_trainable(tower, run->model->switches.skip_frozen);
  layout_streams(run, first);
  if (run->keep && !run->recompute)
    layout_lent(run);
  for (int i = 0; i < tower->count; i++) {
    const struct sublayer_state **like = &lender[tower->sublayers[i].kind][state_is_pooled(run, i)];
    const bool shares = !run->keep || run->recompute || i < first;
    layout_sublayer(run, i, shares ? *like : NULL);
    if (shares && !*like)
      *like = &run->states[i];
  }
}

static void layout_embedding(struct tower_run *run) {
  const struct tower *tower = run->tower;
  const int64_t width = tower->config->width, all = (int64_t)run->batch * tower->tokens,
                grid = (int64_t)run->batch * (tower->tokens - 1);
  if (tower->vision) {
    run->patches = take(run, grid * tower->patch_embedding.in);
    run->embedded = take(run, grid * width);
  } else {
    run->position = arena_take_tensor(&run->arena, DTYPE_I32, run->batch);
  }
  run->x_embedded = run->states[0].x;
  if (tower->norm_pre_weight && run->keep) {
    run->x_embedded = take_float(run, all * width);
    run->embedded_mean = take_float(run, all);
    run->embedded_rstd = take_float(run, all);
  }
}

static void layout_end(struct tower_run *run) {
  const struct tower *tower = run->tower;
  const int64_t width = tower->config->width, all = (int64_t)run->batch * tower->tokens;
  const int64_t rows = run->pooled ? run->batch : all;
  run->x_final = take_float(run, rows * width);
  run->x_pooled = take_float(run, run->batch * width);
  run->final_mean = take_float(run, rows);
  run->final_rstd = take_float(run, rows);
  run->final_all = run->pooled ? NULL : take(run, all * width);
  run->final = take(run, run->batch * width);
}

static void layout_backward(struct tower_run *run) {
  const struct tower *tower = run->tower;
  const struct memory_config *memory = &tower->config->memory;
  const int64_t width = tower->config->width, all = (int64_t)run->batch * tower->tokens;
  /* a memory's gradients of its queries, then of its gate */
  const int64_t memory_width = memory->count ? larger((int64_t)memory->heads * memory->k_dim, values_width(tower)) : 0;
  run->dx = take_float(run, all * width);
  run->dx_pooled = take_float(run, run->batch * width);
  run->dbranch = take(run, all * width);
  run->dh = take(run, all * width);
  run->dwide = take(run, all * larger(larger(tower->config->mlp_width, 3 * width), memory_width));
  run->dmid = take(run, all * width);
  run->dquery = take(run, run->batch * width);
  run->dfeatures = take(run, (int64_t)run->batch * run->model->config.embed_dim);
  if (memory->count) {
    run->dmemory = take(run, all * values_width(tower));
    run->dweight = take_float(run, all * memory->heads * memory->knn);
  }
}

static void layout(struct tower_run *run) {
  layout_sublayers(run);
  layout_embedding(run);
  layout_end(run);
  if (run->keep)
    layout_backward(run);
}

static struct tower_run *plan(struct model *model, struct tower *tower, int batch, bool keep, int kept) {
  struct tower_run *run = memory_allocate(sizeof *run, "tower run");
  *run = (struct tower_run){.model = model,
                            .tower = tower,
                            .device = model->device,
                            .dtype = model->parameters.dtype,
                            .batch = batch,
                            .keep = keep,
                            .kept_patches = kept};
  run->arena =
      (struct arena){.device = model->device, .label = keep ? "activations and their gradients" : "activations"};
  run->pooled = model->switches.pooled_last_block && tower->pooling != POOL_AVERAGE && tower->count > 0;
  run->recompute = keep && model->switches.gradient_checkpointing;
  run->states = memory_allocate((size_t)(tower->count + 1) * sizeof *run->states, "sublayer states");
  layout(run);
  return run;
}

struct tower_run *tower_run_create(struct model *model, struct tower *tower, int batch, bool keep, int kept) {
  struct tower_run *run = plan(model, tower, batch, keep, kept);
  arena_allocate(&run->arena);
  layout(run);
  return run;
}

size_t tower_run_bytes(struct model *model, struct tower *tower, int batch, bool keep, int kept) {
  struct tower_run *run = plan(model, tower, batch, keep, kept);
  size_t bytes = run->arena.used_bytes;
  memory_release(run->states);
  memory_release(run);
  return bytes;
}

bool tower_run_keeps(const struct tower_run *run) {
  return run->keep;
}

void tower_run_release(struct tower_run *run) {
  if (!run)
    return;
  arena_release(&run->arena);
  memory_release(run->states);
  memory_release(run);
}

/* Declaration of a CLIP's parameters under open_clip's names, order and initial values (contract 1.6, 1.7;
 * methods 1.1, 1.5). */
#include "model/model.h"
#include "base/memory.h"
#include "base/text.h"
#include <math.h>
#include <stdio.h>

#define SHAPE(...) ((const int64_t[PARAMETER_AXES_MAX]){__VA_ARGS__})

struct block_init { /* of the projections; vision leaves PyTorch's defaults, text uses CLIP's scaled normals */
  enum init init;
  double in, out, fc, proj;
};

static struct linear_layer declare_linear(struct parameters *list, const char *prefix, int64_t in, int64_t out,
                                          enum init init, double scale) {
  struct linear_layer layer = {.in = in, .out = out};
  layer.weight = parameters_declare(list, init, scale, SHAPE(out, in), "%s.weight", prefix);
  layer.weight->matrix = true;
  layer.bias = parameters_declare(list, INIT_UNIFORM, 1 / sqrt((double)in), SHAPE(out), "%s.bias", prefix);
  return layer;
}

static void declare_norm(struct parameters *list, const char *prefix, int64_t width, struct parameter **weight,
                         struct parameter **bias) {
  *weight = parameters_declare(list, INIT_CONSTANT, 1, SHAPE(width), "%s.weight", prefix);
  *bias = parameters_declare(list, INIT_CONSTANT, 0, SHAPE(width), "%s.bias", prefix);
}

static struct linear_layer declare_projection(struct parameters *list, const char *name, int64_t in, int64_t out) {
  struct linear_layer layer = {.in = in, .out = out, .transposed = true};
  layer.weight = parameters_declare(list, INIT_NORMAL, 1 / sqrt((double)in), SHAPE(in, out), "%s", name);
  layer.weight->matrix = true;
  return layer;
}

static struct block_init choose_init(const struct tower *tower) {
  double width = tower->config->width, depth = 2.0 * tower->config->layers;
  if (tower->vision)
    return (struct block_init){INIT_UNIFORM, sqrt(6 / (4 * width)), 1 / sqrt(width), 1 / sqrt(width),
                               1 / sqrt((double)tower->config->mlp_width)};
  return (struct block_init){INIT_NORMAL, 1 / sqrt(width), 1 / sqrt(width * depth), 1 / sqrt(2 * width),
                             1 / sqrt(width * depth)};
}

static void declare_attention(struct parameters *list, struct tower *tower, struct sublayer *layer, const char *block,
                              struct block_init init) {
  int64_t width = tower->config->width;
  layer->kind = SUBLAYER_ATTENTION;
  layer->in = (struct linear_layer){.in = width, .out = 3 * width};
  layer->in.weight =
      parameters_declare(list, init.init, init.in, SHAPE(3 * width, width), "%s.attn.in_proj_weight", block);
  layer->in.weight->matrix = true;
  layer->in.bias = parameters_declare(list, INIT_CONSTANT, 0, SHAPE(3 * width), "%s.attn.in_proj_bias", block);
  char *out = text_format("%s.attn.out_proj", block);
  layer->out = declare_linear(list, out, width, width, init.init, init.out);
  layer->out.bias->init = INIT_CONSTANT;
  layer->out.bias->init_scale = 0;
  memory_release(out);
}

static void declare_mlp(struct parameters *list, struct tower *tower, struct sublayer *layer, const char *block,
                        struct block_init init) {
  char *fc = text_format("%s.mlp.c_fc", block), *proj = text_format("%s.mlp.c_proj", block);
  layer->kind = SUBLAYER_MLP;
  layer->in = declare_linear(list, fc, tower->config->width, tower->config->mlp_width, init.init, init.fc);
  layer->out = declare_linear(list, proj, tower->config->mlp_width, tower->config->width, init.init, init.proj);
  memory_release(fc);
  memory_release(proj);
}

static void mark_memory(struct parameters *list, int from) {
  for (int i = from; i < list->count; i++)
    list->items[i]->memory = true;
}

/* Tables of values that layers may share: the experts' first one is NULL without experts. */
struct value_tables {
  struct parameter *in, *out;
};

static struct parameter *declare_table(struct parameters *list, const struct tower *tower, const char *block,
                                       const char *name, struct parameter *shared) {
  const struct memory_config *memory = &tower->config->memory;
  const int64_t width = memory->v_dim > 0 ? memory->v_dim : tower->config->width,
                slots = (int64_t)memory->n_keys * memory->n_keys;
  if (shared) {
    parameters_declare_alias(list, shared, "%s.mlp.%s.weight", block, name);
    return shared;
  }
  struct parameter *table = parameters_declare(list, INIT_NORMAL, memory->meta_init ? 1 / sqrt((double)width) : 1,
                                               SHAPE(slots, width), "%s.mlp.%s.weight", block, name);
  table->matrix = table->values = true;
  return table;
}

static void declare_values(struct parameters *list, const struct tower *tower, struct sublayer *layer,
                           const char *block, struct value_tables *shared) {
  const struct memory_config *memory = &tower->config->memory;
  if (!memory->share_values)
    *shared = (struct value_tables){NULL, NULL};
  layer->last_use_of_values = !shared->out;
  if (memory->peer)
    layer->values_in = shared->in = declare_table(list, tower, block, "values_u", shared->in);
  layer->values = shared->out = declare_table(list, tower, block, memory->peer ? "values_v" : "values", shared->out);
}

static struct linear_layer declare_part(struct parameters *list, const char *block, const char *name, int64_t in,
                                        int64_t out, enum init init, double scale) {
  char *prefix = text_format("%s.mlp.%s", block, name);
  struct linear_layer layer = declare_linear(list, prefix, in, out, init, scale);
  memory_release(prefix);
  return layer;
}

static void declare_memory(struct parameters *list, struct tower *tower, struct sublayer *layer, const char *block,
                           struct value_tables *shared) {
  const struct memory_config *memory = &tower->config->memory;
  const int64_t width = tower->config->width, values_width = memory->v_dim > 0 ? memory->v_dim : width,
                queries = (int64_t)memory->heads * memory->k_dim;
  const bool meta = memory->meta_init;
  const enum init init = meta ? INIT_NORMAL : INIT_UNIFORM;
  const double scale_in = 1 / sqrt((double)width), scale_out = meta ? scale_in : 1 / sqrt((double)values_width),
               xavier = sqrt(6.0 / (double)(width + queries)),
               scale_keys = meta ? 1 / sqrt((double)memory->k_dim) : 0.02;
  const int from = list->count;
  layer->kind = SUBLAYER_MEMORY;
  layer->keys =
      parameters_declare(list, meta ? INIT_UNIFORM : INIT_NORMAL, scale_keys,
                         SHAPE(2 * (int64_t)memory->heads * memory->n_keys, memory->k_dim / 2), "%s.mlp.keys", block);
  layer->keys->matrix = true;
  declare_values(list, tower, layer, block, shared);
  layer->in =
      declare_part(list, block, "query_proj.query_mlps.0", width, queries, INIT_UNIFORM, meta ? xavier : scale_in);
  if (memory->swilu_projection)
    layer->gate = declare_part(list, block, "swilu_projection", width, values_width, init, scale_in);
  if (memory->swilu_projection || memory->v_dim > 0)
    layer->out = declare_part(list, block, "value_proj", values_width, width, init, scale_out);
  if (memory->gated) {
    layer->token_gate_weight = parameters_declare(list, init, scale_in, SHAPE(1, width), "%s.mlp.gating.weight", block);
    layer->token_gate_bias = parameters_declare(list, INIT_UNIFORM, scale_in, SHAPE(1), "%s.mlp.gating.bias", block);
  }
  mark_memory(list, from);
}

static void declare_sublayer(struct parameters *list, struct tower *tower, int index, const char *prefix,
                             struct value_tables *shared) {
  struct sublayer *layer = &tower->sublayers[index];
  const int block = index / 2, half = index % 2;
  char *name = text_format("%stransformer.resblocks.%d", prefix, block),
       *norm = text_format("%s.ln_%d", name, half + 1);
  declare_norm(list, norm, tower->config->width, &layer->norm_weight, &layer->norm_bias);
  if (half == 0)
    declare_attention(list, tower, layer, name, choose_init(tower));
  else if (tower->config->memory.layers[block])
    declare_memory(list, tower, layer, name, shared);
  else
    declare_mlp(list, tower, layer, name, choose_init(tower));
  static const char *const kinds[] = {
      [SUBLAYER_ATTENTION] = "attention", [SUBLAYER_MLP] = "mlp", [SUBLAYER_MEMORY] = "memory"};
  snprintf(layer->label, sizeof layer->label, "%s %d %s", tower->vision ? "vision" : "text", block, kinds[layer->kind]);
  if (tower->config->layer_scale >= 0)
    layer->layer_scale = parameters_declare(list, INIT_CONSTANT, tower->config->layer_scale,
                                            SHAPE(tower->config->width), "%s.ls_%d.gamma", name, half + 1);
  memory_release(name);
  memory_release(norm);
}

static void declare_sublayers(struct parameters *list, struct tower *tower, const char *prefix) {
  struct value_tables shared = {NULL, NULL};
  tower->count = 2 * tower->config->layers;
  tower->sublayers = memory_allocate((size_t)tower->count * sizeof *tower->sublayers, "sublayers");
  for (int i = 0; i < tower->count; i++)
    declare_sublayer(list, tower, i, prefix, &shared);
}

static void declare_vision(struct model *model) {
  const struct clip_config *config = &model->config;
  struct parameters *list = &model->parameters;
  struct tower *tower = &model->vision;
  const int64_t width = config->vision.width, pixels = 3 * (int64_t)config->patch * config->patch;
  const double scale = 1 / sqrt((double)width);
  *tower = (struct tower){.config = &config->vision,
                          .vision = true,
                          .tokens = config_vision_tokens(config),
                          .pooling = config->vision_pool,
                          .final_norm_after_pool = config->final_ln_after_pool};
  tower->class_embedding = parameters_declare(list, INIT_NORMAL, scale, SHAPE(width), "visual.class_embedding");
  tower->position =
      parameters_declare(list, INIT_NORMAL, scale, SHAPE(tower->tokens, width), "visual.positional_embedding");
  tower->projection = declare_projection(list, "visual.proj", width, config->embed_dim);
  tower->patch_embedding = (struct linear_layer){.in = pixels, .out = width};
  tower->patch_embedding.weight =
      parameters_declare(list, INIT_UNIFORM, 1 / sqrt((double)pixels), SHAPE(width, 3, config->patch, config->patch),
                         "visual.conv1.weight");
  tower->patch_embedding.weight->matrix = true;
  if (!config->no_ln_pre)
    declare_norm(list, "visual.ln_pre", width, &tower->norm_pre_weight, &tower->norm_pre_bias);
  declare_sublayers(list, tower, "visual.");
  declare_norm(list, "visual.ln_post", width, &tower->norm_weight, &tower->norm_bias);
}

/* The root parameters of the text tower come first in the file, its blocks last. */
static void declare_text_root(struct model *model) {
  const struct clip_config *config = &model->config;
  struct parameters *list = &model->parameters;
  struct tower *tower = &model->text;
  *tower = (struct tower){.config = &config->text,
                          .causal = !config->no_causal_mask,
                          .tokens = config->context_length,
                          .pooling = config->text_pool,
                          .final_norm_after_pool = true};
  tower->position = parameters_declare(list, INIT_NORMAL, 0.01, SHAPE(config->context_length, config->text.width),
                                       "positional_embedding");
  tower->projection = declare_projection(list, "text_projection", config->text.width, config->embed_dim);
  model->logit_scale = parameters_declare(list, INIT_CONSTANT, config->init_logit_scale, SHAPE(0), "logit_scale");
}

static void declare_text_blocks(struct model *model) {
  const struct clip_config *config = &model->config;
  struct parameters *list = &model->parameters;
  declare_sublayers(list, &model->text, "");
  model->text.token_embedding = parameters_declare(
      list, INIT_NORMAL, 0.02, SHAPE(config->vocab_size, config->text.width), "token_embedding.weight");
  declare_norm(list, "ln_final", config->text.width, &model->text.norm_weight, &model->text.norm_bias);
}

enum status model_create(const struct clip_config *config, struct device *device, enum dtype compute,
                         struct model_switches switches, struct model **out) {
  if (!config->activation_known)
    return error_set(
        STATUS_INPUT,
        "nothing says which activation this model was trained with: set model.activation to 'gelu' or 'quickgelu' "
        "(OpenAI's weights need 'quickgelu')");
  struct model *model = memory_allocate(sizeof *model, "model");
  model->config = *config;
  model->device = device;
  model->switches = switches;
  model->parameters.device = device;
  model->parameters.dtype = compute;
  declare_text_root(model);
  declare_vision(model);
  declare_text_blocks(model);
  parameters_set_decay(&model->parameters, NULL, 0);
  *out = model;
  return STATUS_OK;
}

void model_release(struct model *model) {
  if (!model)
    return;
  parameters_release(&model->parameters);
  memory_release(model->vision.sublayers);
  memory_release(model->text.sublayers);
  memory_release(model);
}

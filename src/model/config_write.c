/* A configuration as open_clip's JSON, and its arithmetic. */
#include "model/config.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

/* The ratio from which readers, who take the floor of width * ratio, get the MLP width back. */
static double mlp_ratio(const struct tower_config *tower) {
  double ratio = (double)tower->mlp_width / tower->width;
  return floor(tower->width * ratio) < tower->mlp_width ? nextafter(ratio, INFINITY) : ratio;
}

static json_t *floats(const float values[3]) {
  json_t *list = json_array();
  for (int i = 0; i < 3; i++)
    json_array_append_new(list, json_real(round(values[i] * 1e8) / 1e8));
  return list;
}

static json_t *memory_object(const struct memory_config *memory, const char *tower) {
  json_t *layers = json_array();
  for (int i = 0; i < LAYERS_MAX; i++)
    if (memory->layers[i])
      json_array_append_new(layers, json_integer(i));
  json_t *object =
      json_pack("{ss so si si si si si sb sb sb}", "tower", tower, "layers", layers, "n_keys", memory->n_keys, "heads",
                memory->heads, "knn", memory->knn, "k_dim", memory->k_dim, "v_dim", memory->v_dim, "share_values",
                memory->share_values, "swilu_projection", memory->swilu_projection, "gated", memory->gated);
  if (memory->peer)
    json_object_set_new(object, "peer", json_true());
  return object;
}

static json_t *vision_object(const struct clip_config *config) {
  const struct tower_config *tower = &config->vision;
  json_t *object = json_pack("{s[ii] si si si si sf}", "image_size", config->image_height, config->image_width,
                             "layers", tower->layers, "width", tower->width, "head_width", tower->width / tower->heads,
                             "patch_size", config->patch, "mlp_ratio", mlp_ratio(tower));
  if (config->image_height == config->image_width)
    json_object_set_new(object, "image_size", json_integer(config->image_height));
  if (tower->layer_scale >= 0)
    json_object_set_new(object, "ls_init_value", json_real(tower->layer_scale));
  if (config->no_ln_pre)
    json_object_set_new(object, "no_ln_pre", json_true());
  if (config->final_ln_after_pool)
    json_object_set_new(object, "final_ln_after_pool", json_true());
  if (config->patch_dropout > 0)
    json_object_set_new(object, "patch_dropout", json_real(config->patch_dropout));
  if (config->vision_pool == POOL_AVERAGE)
    json_object_set_new(object, "pool_type", json_string("avg"));
  return object;
}

static json_t *text_object(const struct clip_config *config) {
  const struct tower_config *tower = &config->text;
  json_t *object =
      json_pack("{si si si si si sf}", "context_length", config->context_length, "vocab_size", config->vocab_size,
                "width", tower->width, "heads", tower->heads, "layers", tower->layers, "mlp_ratio", mlp_ratio(tower));
  if (tower->layer_scale >= 0)
    json_object_set_new(object, "ls_init_value", json_real(tower->layer_scale));
  if (config->no_causal_mask)
    json_object_set_new(object, "no_causal_mask", json_true());
  return object;
}

void config_write(const struct clip_config *config, struct text *out) {
  json_t *model =
      json_pack("{si sf so so}", "embed_dim", config->embed_dim, "init_logit_scale", config->init_logit_scale,
                "vision_cfg", vision_object(config), "text_cfg", text_object(config));
  if (config->activation_known)
    json_object_set_new(model, "quick_gelu", json_boolean(config->activation == ACTIVATION_QUICKGELU));
  json_t *root = json_pack("{so s{so so ss ss si}}", "model_cfg", model, "preprocess_cfg", "mean",
                           floats(config->image_mean), "std", floats(config->image_std), "interpolation",
                           config->interpolation, "resize_mode", config->resize_mode, "fill_color", config->fill_color);
  if (config->vision.memory.count)
    json_object_set_new(root, "memory", memory_object(&config->vision.memory, "vision"));
  else if (config->text.memory.count)
    json_object_set_new(root, "memory", memory_object(&config->text.memory, "text"));
  char *json = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
  text_append_string(out, json);
  free(json);
  json_decref(root);
}

int config_vision_tokens(const struct clip_config *config) {
  return (config->image_height / config->patch) * (config->image_width / config->patch) + 1;
}

/* One residual branch pair per block; rows of what follows the attention scores: all tokens, or one when only the
 * pooled token is needed. */
static double flops_tower(const struct tower_config *tower, double tokens, bool causal, bool pooled_last_block) {
  const double width = tower->width, mlp = 2 * width * tower->mlp_width;
  const struct memory_config *memory = &tower->memory;
  const double values = memory->v_dim > 0 ? memory->v_dim : width, half = memory->k_dim / 2.0;
  const double tables = memory->peer ? 2 : 1;
  const double read =
      memory->heads * (memory->k_dim * width + 2 * half * memory->n_keys + tables * memory->knn * values) +
      values * width *
          (memory->swilu_projection ? 2
           : memory->v_dim > 0      ? 1
                                    : 0);
  double total = 0;
  for (int i = 0; i < tower->layers; i++) {
    const double rows = pooled_last_block && i == tower->layers - 1 ? 1 : tokens,
                 keys = causal ? (tokens + 1) / 2 : tokens;
    total += 2 * width * width * tokens + (2 * width * width + 2 * keys * width) * rows +
             (memory->layers[i] ? read : mlp) * rows;
  }
  return 2 * total;
}

double config_flops_image(const struct clip_config *config, bool pooled_last_block) {
  const double tokens = config_vision_tokens(config), width = config->vision.width;
  return flops_tower(&config->vision, tokens, false, pooled_last_block && config->vision_pool == POOL_TOKEN) +
         2 * (tokens - 1) * 3 * config->patch * config->patch * width + 2 * width * config->embed_dim;
}

double config_flops_text(const struct clip_config *config, int tokens, bool pooled_last_block) {
  return flops_tower(&config->text, tokens, !config->no_causal_mask, pooled_last_block) +
         2.0 * config->text.width * config->embed_dim;
}

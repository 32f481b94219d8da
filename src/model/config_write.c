/* A configuration as open_clip's JSON. */
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

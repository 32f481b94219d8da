#include "model/config.h"
#include "base/file.h"
#include "base/memory.h"
#include "model/config_reader.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static enum status read_mlp(const struct config_reader *reader, struct tower_config *tower) {
  double ratio = 4;
  TRY(config_read_real(reader, "mlp_ratio", &ratio));
  if (!(ratio * tower->width >= 1 && ratio * tower->width <= 1 << 24))
    return error_set(STATUS_INPUT, "%s: %s.mlp_ratio %g gives no MLP of width %d", reader->source, reader->section,
                     ratio, tower->width);
  tower->mlp_width = (int)floor(tower->width * ratio);
  return STATUS_OK;
}

static enum status read_image_size(const struct config_reader *reader, struct clip_config *config) {
  json_t *size = json_object_get(reader->object, "image_size");
  json_int_t sides[2] = {config->image_height, config->image_width};
  if (json_is_array(size) && json_array_size(size) == 2) {
    sides[0] = json_integer_value(json_array_get(size, 0));
    sides[1] = json_integer_value(json_array_get(size, 1));
  } else if (json_is_integer(size)) {
    sides[0] = sides[1] = json_integer_value(size);
  } else if (size) {
    return error_set(STATUS_INPUT, "%s: vision_cfg.image_size must be a whole number or [height, width]",
                     reader->source);
  }
  if (sides[0] < 1 || sides[1] < 1 || sides[0] > 16384 || sides[1] > 16384)
    return error_set(STATUS_INPUT, "%s: vision_cfg.image_size is out of range", reader->source);
  config->image_height = (int)sides[0];
  config->image_width = (int)sides[1];
  return STATUS_OK;
}

/* A number, or the same one twice. */
static enum status read_patch_size(const struct config_reader *reader, int *patch) {
  json_t *sides = json_object_get(reader->object, "patch_size");
  if (!json_is_array(sides))
    return config_read_integer(reader, "patch_size", 1, patch);
  const json_int_t side = json_integer_value(json_array_get(sides, 0));
  if (json_array_size(sides) != 2 || json_integer_value(json_array_get(sides, 1)) != side || side < 1 || side > 16384)
    return error_set(STATUS_INPUT, "%s: vision_cfg.patch_size: patches must be square", reader->source);
  *patch = (int)side;
  return STATUS_OK;
}

static enum status read_vision_pooling(const struct config_reader *reader, struct clip_config *config) {
  const char *pool = json_string_value(json_object_get(reader->object, "pool_type"));
  json_t *legacy = json_object_get(reader->object, "global_average_pool");
  if (!pool)
    pool = json_is_true(legacy) ? "avg" : "tok";
  if (strcmp(pool, "tok") != 0 && strcmp(pool, "avg") != 0)
    return error_set(STATUS_INPUT, "%s: vision_cfg.pool_type '%s' is not supported; 'tok' and 'avg' are",
                     reader->source, pool);
  config->vision_pool = strcmp(pool, "avg") == 0 ? POOL_AVERAGE : POOL_TOKEN;
  return STATUS_OK;
}

/* The same arithmetic in other classes, as long as nothing is added to it. */
static const char *const block_types[] = {"default", "custom", NULL};

static enum status read_vision(json_t *object, const char *source, struct clip_config *config) {
  static const char *const foreign[] = {"timm_model_name", "attentional_pool", "input_patchnorm"};
  static const char *const keys[] = {"image_size",          "width",          "layers",        "head_width",
                                     "patch_size",          "mlp_ratio",      "norm_kwargs",   "act_kwargs",
                                     "block_type",          "pos_embed_type", "ls_init_value", "patch_dropout",
                                     "no_ln_pre",           "pool_type",      "output_tokens", "final_ln_after_pool",
                                     "global_average_pool", "timm_",          "attn_pooler_"};
  struct config_reader reader = {object, source, "vision_cfg"};
  const char *block_type;
  int head_width = 64;
  if (!json_is_object(object))
    return error_set(STATUS_INPUT, "%s: vision_cfg is missing", source);
  if (json_is_array(json_object_get(object, "layers")))
    return error_set(STATUS_INPUT, "%s: vision_cfg.layers is a list: a ResNet, which is not supported", source);
  TRY(config_refuse(&reader, foreign, sizeof foreign / sizeof *foreign));
  TRY(config_know_all(&reader, keys, sizeof keys / sizeof *keys));
  config->image_height = config->image_width = 224;
  config->patch = 16;
  config->vision.width = 768;
  config->vision.layers = 12;
  TRY(read_image_size(&reader, config));
  TRY(config_read_integer(&reader, "width", 1, &config->vision.width));
  TRY(config_read_integer(&reader, "layers", 1, &config->vision.layers));
  TRY(config_read_integer(&reader, "head_width", 1, &head_width));
  TRY(read_patch_size(&reader, &config->patch));
  TRY(read_mlp(&reader, &config->vision));
  TRY(config_expect_word(&reader, "pos_embed_type", "learnable"));
  TRY(config_read_word(&reader, "block_type", block_types, &block_type));
  TRY(config_expect_argument(&reader, "norm_kwargs", "eps", 1e-5));
  TRY(config_expect_argument(&reader, "act_kwargs", "", 0));
  TRY(config_read_real(&reader, "ls_init_value", &config->vision.layer_scale));
  TRY(config_read_real(&reader, "patch_dropout", &config->patch_dropout));
  TRY(config_read_logical(&reader, "no_ln_pre", &config->no_ln_pre));
  TRY(config_read_logical(&reader, "final_ln_after_pool", &config->final_ln_after_pool));
  TRY(read_vision_pooling(&reader, config));
  if (!(config->patch_dropout >= 0 && config->patch_dropout < 1))
    return error_set(STATUS_INPUT, "%s: vision_cfg.patch_dropout %g must be at least 0 and below 1", source,
                     config->patch_dropout);
  config->vision.heads = config->vision.width / head_width; /* what is left over makes them wider */
  if (config->vision.heads == 0 || config->vision.width % config->vision.heads != 0)
    return error_set(STATUS_INPUT, "%s: vision_cfg.width %d cannot be cut into heads of head_width %d", source,
                     config->vision.width, head_width);
  if (config->patch > config->image_height || config->patch > config->image_width)
    return error_set(STATUS_INPUT, "%s: vision_cfg.patch_size %d is larger than the image", source, config->patch);
  return STATUS_OK;
}

/* Captions are cleaned in one way, open_clip's default. */
static enum status read_tokenizer(json_t *object, const char *source) {
  struct config_reader reader = {json_object_get(object, "tokenizer_kwargs"), source, "text_cfg.tokenizer_kwargs"};
  const char *word;
  TRY(config_read_word(&reader, "clean", (const char *const[]){"lower", NULL}, &word));
  TRY(config_read_word(&reader, "reduction_mask", (const char *const[]){"", NULL}, &word));
  return config_know_all(&reader, (const char *const[]){"clean", "reduction_mask", "context_length"}, 3);
}

static enum status read_text(json_t *object, const char *source, struct clip_config *config) {
  static const char *const foreign[] = {"hf_model_name", "hf_tokenizer_name", "embed_cls", "proj_bias", "text_arch"};
  /* pad_id and eos_id are for other ways of pooling; final_ln_after_pool is without effect in open_clip, too */
  static const char *const keys[] = {"context_length",
                                     "vocab_size",
                                     "width",
                                     "heads",
                                     "layers",
                                     "mlp_ratio",
                                     "norm_kwargs",
                                     "act_kwargs",
                                     "block_type",
                                     "proj_type",
                                     "ls_init_value",
                                     "pool_type",
                                     "pad_id",
                                     "eos_id",
                                     "no_causal_mask",
                                     "output_tokens",
                                     "final_ln_after_pool",
                                     "tokenizer_kwargs",
                                     "hf_"};
  struct config_reader reader = {object, source, "text_cfg"};
  const char *block_type;
  if (!json_is_object(object))
    return error_set(STATUS_INPUT, "%s: text_cfg is missing", source);
  TRY(config_refuse(&reader, foreign, sizeof foreign / sizeof *foreign));
  TRY(config_know_all(&reader, keys, sizeof keys / sizeof *keys));
  config->text.width = 512;
  config->text.layers = 12;
  config->text.heads = 8;
  TRY(config_read_integer(&reader, "context_length", 2, &config->context_length));
  TRY(config_read_integer(&reader, "vocab_size", 3, &config->vocab_size));
  TRY(config_read_integer(&reader, "width", 1, &config->text.width));
  TRY(config_read_integer(&reader, "heads", 1, &config->text.heads));
  TRY(config_read_integer(&reader, "layers", 1, &config->text.layers));
  TRY(read_mlp(&reader, &config->text));
  TRY(config_expect_word(&reader, "proj_type", "linear"));
  TRY(config_read_word(&reader, "block_type", block_types, &block_type));
  TRY(read_tokenizer(object, source));
  TRY(config_expect_argument(&reader, "norm_kwargs", "eps", 1e-5));
  TRY(config_expect_argument(&reader, "act_kwargs", "", 0));
  TRY(config_read_real(&reader, "ls_init_value", &config->text.layer_scale));
  TRY(config_read_logical(&reader, "no_causal_mask", &config->no_causal_mask));
  const char *pool = json_string_value(json_object_get(object, "pool_type"));
  if (pool && strcmp(pool, "argmax") != 0)
    return error_set(STATUS_INPUT, "%s: text_cfg.pool_type '%s' is not supported; 'argmax' is", source, pool);
  if (config->text.width % config->text.heads != 0)
    return error_set(STATUS_INPUT, "%s: text_cfg.width %d is not a multiple of heads %d", source, config->text.width,
                     config->text.heads);
  return STATUS_OK;
}

static enum status add_memory_layer(const char *source, const struct tower_config *tower, struct memory_config *memory,
                                    json_int_t layer) {
  if (layer < 0 || layer >= tower->layers || layer >= LAYERS_MAX)
    return error_set(STATUS_INPUT, "%s: memory.layers must be block numbers 0 to %d", source, tower->layers - 1);
  memory->count += !memory->layers[layer];
  memory->layers[layer] = true;
  return STATUS_OK;
}

/* A list of numbers, or the thesis's form of it: "2,4,6". */
static enum status read_memory_layers(json_t *list, const char *source, const struct tower_config *tower,
                                      struct memory_config *memory) {
  size_t i;
  json_t *item;
  const char *rest = json_string_value(list);
  while (rest && *rest) {
    char *end;
    long layer = strtol(rest, &end, 10);
    TRY(add_memory_layer(source, tower, memory, end == rest ? -1 : layer));
    rest = *end == ',' ? end + 1 : end;
  }
  json_array_foreach(list, i, item)
      TRY(add_memory_layer(source, tower, memory, json_is_integer(item) ? json_integer_value(item) : -1));
  return STATUS_OK;
}

static enum status read_memory(json_t *object, const char *source, struct clip_config *config) {
  static const char *const keys[] = {"tower", "layers",       "n_keys",           "heads", "knn", "k_dim",
                                     "v_dim", "share_values", "swilu_projection", "gated", "peer"};
  struct config_reader reader = {object, source, "memory"};
  const char *which = json_string_value(json_object_get(object, "tower"));
  if (!object || json_is_null(object))
    return STATUS_OK;
  struct tower_config *tower = which && strcmp(which, "text") == 0 ? &config->text : &config->vision;
  struct memory_config *memory = &tower->memory;
  *memory = (struct memory_config){
      .n_keys = 8, .heads = 2, .knn = 4, .k_dim = 256, .v_dim = 0, .share_values = true, .swilu_projection = true};
  TRY(config_know_all(&reader, keys, sizeof keys / sizeof *keys));
  TRY(read_memory_layers(json_object_get(object, "layers"), source, tower, memory));
  TRY(config_read_integer(&reader, "n_keys", 1, &memory->n_keys));
  TRY(config_read_integer(&reader, "heads", 1, &memory->heads));
  TRY(config_read_integer(&reader, "knn", 1, &memory->knn));
  TRY(config_read_integer(&reader, "k_dim", 2, &memory->k_dim));
  TRY(config_read_integer(&reader, "v_dim", -1, &memory->v_dim));
  TRY(config_read_logical(&reader, "share_values", &memory->share_values));
  TRY(config_read_logical(&reader, "swilu_projection", &memory->swilu_projection));
  TRY(config_read_logical(&reader, "gated", &memory->gated));
  TRY(config_read_logical(&reader, "peer", &memory->peer));
  return config_check_memory(tower, source);
}

enum status config_check_memory(struct tower_config *tower, const char *source) {
  struct memory_config *memory = &tower->memory;
  if (memory->count == 0)
    return STATUS_OK;
  if (memory->v_dim < 0)
    memory->v_dim = 0;
  if (memory->peer && memory->v_dim > 0 && memory->v_dim != tower->width)
    return error_set(STATUS_INPUT, "%s: memory.v_dim %d with peer: an expert writes the tower's width, set v_dim=0",
                     source, memory->v_dim);
  if (memory->peer) { /* experts write the result themselves */
    memory->v_dim = 0;
    memory->swilu_projection = false;
  }
  if (memory->k_dim % 2)
    return error_set(STATUS_INPUT, "%s: memory.k_dim %d must be even: it is split into two halves", source,
                     memory->k_dim);
  if (memory->knn > MEMORY_KNN_MAX)
    return error_set(STATUS_INPUT, "%s: memory.knn %d: a head reads at most %d slots", source, memory->knn,
                     MEMORY_KNN_MAX);
  if (memory->knn > memory->n_keys)
    return error_set(STATUS_INPUT, "%s: memory.knn %d is larger than n_keys %d", source, memory->knn, memory->n_keys);
  if ((int64_t)memory->n_keys * memory->n_keys > INT32_MAX)
    return error_set(STATUS_INPUT, "%s: memory.n_keys %d gives more than 2^31 slots", source, memory->n_keys);
  return STATUS_OK;
}

static enum status read_floats(json_t *list, const char *source, const char *key, float values[3]) {
  if (!list)
    return STATUS_OK;
  bool good = json_is_array(list) && json_array_size(list) == 3;
  for (size_t i = 0; i < 3 && good; i++) {
    const double value = json_number_value(json_array_get(list, i));
    good = json_is_number(json_array_get(list, i)) && fabs(value) <= 1e6;
    values[i] = good ? (float)value : 0;
  }
  return good ? STATUS_OK : error_set(STATUS_INPUT, "%s: preprocess_cfg.%s must be three numbers", source, key);
}

/* How pictures become `image_size`. */
static enum status read_resize(json_t *preprocess, const char *source, struct clip_config *config) {
  struct config_reader reader = {preprocess, source, "preprocess_cfg"};
  TRY(config_read_word(&reader, "resize_mode", (const char *const[]){"shortest", "longest", "squash", NULL},
                       &config->resize_mode));
  TRY(config_read_word(&reader, "interpolation", (const char *const[]){"bicubic", "bilinear", "random", NULL},
                       &config->interpolation));
  TRY(config_read_integer(&reader, "fill_color", 0, &config->fill_color));
  return config->fill_color <= 255
             ? STATUS_OK
             : error_set(STATUS_INPUT, "%s: preprocess_cfg.fill_color %d is above 255", source, config->fill_color);
}

static enum status read_root(json_t *root, const char *source, struct clip_config *config) {
  static const char *const foreign[] = {"multimodal_cfg", "audio_cfg", "genlip_cfg", "text_arch"};
  static const char *const keys[] = {"embed_dim",  "quick_gelu", "init_logit_scale", "init_logit_bias",
                                     "vision_cfg", "text_cfg",   "custom_text",      "nonscalar_logit_scale",
                                     "memory",     "cast_dtype", "preprocess_cfg",   "output_dict"};
  json_t *wrapped = json_object_get(root, "model_cfg"), *model = wrapped ? wrapped : root;
  json_t *preprocess = json_object_get(root, "preprocess_cfg"), *memory = json_object_get(root, "memory");
  struct config_reader reader = {model, source, "model_cfg"};
  config_set_defaults(config);
  if (!json_is_object(model))
    return error_set(STATUS_INPUT,
                     "%s: not a model configuration: a JSON object with embed_dim, vision_cfg and text_cfg is expected",
                     source);
  TRY(config_refuse(&reader, foreign, sizeof foreign / sizeof *foreign));
  TRY(config_know_all(&reader, keys, sizeof keys / sizeof *keys));
  config->embed_dim = 512;
  TRY(config_read_integer(&reader, "embed_dim", 1, &config->embed_dim));
  TRY(config_read_real(&reader, "init_logit_scale", &config->init_logit_scale));
  json_t *quick = json_object_get(model, "quick_gelu");
  if (quick) {
    bool value = false;
    TRY(config_read_logical(&reader, "quick_gelu", &value));
    config->activation = value ? ACTIVATION_QUICKGELU : ACTIVATION_GELU;
    config->activation_known = true;
  }
  if (json_object_get(model, "init_logit_bias") && !json_is_null(json_object_get(model, "init_logit_bias")))
    return error_set(STATUS_INPUT, "%s: init_logit_bias means SigLIP training, which is not supported", source);
  TRY(read_vision(json_object_get(model, "vision_cfg"), source, config));
  TRY(read_text(json_object_get(model, "text_cfg"), source, config));
  TRY(read_resize(preprocess, source, config));
  TRY(read_floats(json_object_get(preprocess, "mean"), source, "mean", config->image_mean));
  TRY(read_floats(json_object_get(preprocess, "std"), source, "std", config->image_std));
  if (!(config->image_std[0] > 0 && config->image_std[1] > 0 && config->image_std[2] > 0))
    return error_set(STATUS_INPUT, "%s: preprocess_cfg.std must be above 0", source);
  if (config->vision.layers > LAYERS_MAX || config->text.layers > LAYERS_MAX)
    return error_set(STATUS_INPUT, "%s: more than %d layers", source, LAYERS_MAX);
  return read_memory(memory ? memory : json_object_get(model, "memory"), source, config);
}

enum status config_parse(const char *json, const char *source, struct clip_config *config) {
  json_error_t error;
  json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &error);
  if (!root)
    return error_set(STATUS_INPUT, "%s:%d:%d: not JSON: %s", source, error.line, error.column, error.text);
  enum status status = read_root(root, source, config);
  json_decref(root);
  return status;
}

enum status config_read(const char *name, struct clip_config *config) {
  if (!file_exists(name))
    return config_built_in(name, config);
  struct text content = {0};
  enum status status = file_read_at_most(name, CONFIG_BYTES_MAX, &content);
  if (status == STATUS_OK)
    status = config_parse(content.data ? content.data : "", name, config);
  text_release(&content);
  return status;
}

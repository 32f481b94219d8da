#include "weight_config.h"
#include "base/file.h"
#include "base/memory.h"
#include "released.h"
#include "weight_shapes.h"
#include <jansson.h>
#include <string.h>

/* What a configuration and the shapes both say. */
static const struct {
  const char *what;
  size_t offset;
} shared_fields[] = {
    {"embed_dim", offsetof(struct clip_config, embed_dim)},
    {"vision width", offsetof(struct clip_config, vision.width)},
    {"vision layers", offsetof(struct clip_config, vision.layers)},
    {"vision MLP width", offsetof(struct clip_config, vision.mlp_width)},
    {"patch size", offsetof(struct clip_config, patch)},
    {"text width", offsetof(struct clip_config, text.width)},
    {"text layers", offsetof(struct clip_config, text.layers)},
    {"text MLP width", offsetof(struct clip_config, text.mlp_width)},
    {"vocabulary size", offsetof(struct clip_config, vocab_size)},
    {"memories in the vision tower", offsetof(struct clip_config, vision.memory.count)},
    {"memories in the text tower", offsetof(struct clip_config, text.memory.count)},
};
static const struct {
  const char *what;
  size_t offset;
} memory_fields[] = {
    {"n_keys", offsetof(struct memory_config, n_keys)},
    {"heads", offsetof(struct memory_config, heads)},
    {"k_dim", offsetof(struct memory_config, k_dim)},
    {"v_dim", offsetof(struct memory_config, v_dim)},
};

static int field(const void *config, size_t offset) {
  return *(const int *)((const char *)config + offset);
}

static enum status compare_memory(const struct memory_config *said, const struct memory_config *shaped,
                                  const char *source) {
  for (size_t i = 0; i < sizeof memory_fields / sizeof *memory_fields; i++)
    if (field(said, memory_fields[i].offset) != field(shaped, memory_fields[i].offset))
      return error_set(STATUS_INPUT, "%s says memory.%s is %d, the weights have %d", source, memory_fields[i].what,
                       field(said, memory_fields[i].offset), field(shaped, memory_fields[i].offset));
  if (memcmp(said->layers, shaped->layers, sizeof said->layers) != 0)
    return error_set(STATUS_INPUT, "%s names other memory layers than the weights have", source);
  if (said->swilu_projection != shaped->swilu_projection || said->gated != shaped->gated || said->peer != shaped->peer)
    return error_set(STATUS_INPUT, "%s and the weights disagree on memory.swilu_projection, gated or peer", source);
  if (said->count > 1 && said->share_values && !shaped->share_values)
    return error_set(STATUS_INPUT, "%s says that memories share their values, in the weights the tables differ",
                     source);
  return STATUS_OK;
}

static enum status compare_shapes(const struct clip_config *said, const struct clip_config *shaped,
                                  const char *source) {
  for (size_t i = 0; i < sizeof shared_fields / sizeof *shared_fields; i++)
    if (field(said, shared_fields[i].offset) != field(shaped, shared_fields[i].offset))
      return error_set(STATUS_INPUT, "%s says %s %d, the weights have %d: the configuration of another model", source,
                       shared_fields[i].what, field(said, shared_fields[i].offset),
                       field(shaped, shared_fields[i].offset));
  if (said->no_ln_pre != shaped->no_ln_pre || (said->vision.layer_scale >= 0) != (shaped->vision.layer_scale >= 0) ||
      (said->text.layer_scale >= 0) != (shaped->text.layer_scale >= 0))
    return error_set(STATUS_INPUT, "%s and the weights disagree on ln_pre or LayerScale", source);
  if (shaped->vision.memory.count > 0)
    TRY(compare_memory(&said->vision.memory, &shaped->vision.memory, source));
  if (shaped->text.memory.count > 0)
    TRY(compare_memory(&said->text.memory, &shaped->text.memory, source));
  return STATUS_OK;
}

/* ---- Hugging Face's config.json */

static enum status read_hugging_face_tower(json_t *tower, const char *source, struct tower_config *config) {
  json_t *heads = json_object_get(tower, "num_attention_heads"), *eps = json_object_get(tower, "layer_norm_eps");
  if (json_integer_value(heads) > 0 && json_integer_value(heads) <= config->width)
    config->heads = (int)json_integer_value(heads);
  if (eps && !(json_number_value(eps) > 0.99e-5 && json_number_value(eps) < 1.01e-5))
    return error_set(STATUS_INPUT, "%s: layer_norm_eps %g is not supported; open_clip's towers have 1e-5", source,
                     json_number_value(eps));
  return STATUS_OK;
}

/* transformers leaves out what equals its defaults; hidden_act's is quick_gelu. */
static const char *hidden_act(json_t *tower) {
  const char *name = json_string_value(json_object_get(tower, "hidden_act"));
  return name ? name : "quick_gelu";
}

static enum status read_hugging_face(json_t *root, const char *source, struct clip_config *config) {
  json_t *vision = json_object_get(root, "vision_config"), *text = json_object_get(root, "text_config");
  const char *acts[] = {hidden_act(vision), hidden_act(text)};
  if (strcmp(acts[0], acts[1]) != 0)
    return error_set(STATUS_INPUT, "%s: the towers have different activations, %.40s and %.40s: not supported", source,
                     acts[0], acts[1]);
  if (strcmp(acts[0], "quick_gelu") != 0 && strcmp(acts[0], "gelu") != 0)
    return error_set(STATUS_INPUT, "%s: hidden_act %.40s is not supported; gelu and quick_gelu are", source, acts[0]);
  config->activation = strcmp(acts[0], "gelu") == 0 ? ACTIVATION_GELU : ACTIVATION_QUICKGELU;
  config->activation_known = true;
  config->vision.heads = 12; /* transformers' defaults */
  config->text.heads = 8;
  TRY(read_hugging_face_tower(vision, source, &config->vision));
  TRY(read_hugging_face_tower(text, source, &config->text));
  const json_int_t size = json_integer_value(json_object_get(vision, "image_size"));
  if (size > 0 && size <= 16384)
    config->image_height = config->image_width = (int)size;
  /* transformers pools at eos_token_id, or at the largest id where that is 2; open_clip always at the largest */
  json_t *eos = json_object_get(text, "eos_token_id");
  if (eos && json_integer_value(eos) != 2 && json_integer_value(eos) != config->vocab_size - 1)
    return error_set(STATUS_INPUT,
                     "%s: eos_token_id %lld is not the last of the %d ids: texts are pooled at the largest", source,
                     (long long)json_integer_value(eos), config->vocab_size);
  return STATUS_OK;
}

enum status weight_config_parse_hugging_face(const char *json, const char *source, struct clip_config *config) {
  json_error_t error;
  json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &error);
  if (!root)
    return error_set(STATUS_INPUT, "%s:%d:%d: not JSON: %s", source, error.line, error.column, error.text);
  const enum status status = read_hugging_face(root, source, config);
  json_decref(root);
  return status;
}

/* ---- which configuration */

static enum status read_json(const char *path, const struct clip_config *shaped, struct clip_config *config) {
  struct text content = {0};
  TRY(file_read_at_most(path, CONFIG_BYTES_MAX, &content));
  const char *json = content.data ? content.data : "";
  enum status status;
  if (strstr(json, "\"vision_config\"") && !strstr(json, "\"vision_cfg\"")) {
    *config = *shaped;
    status = weight_config_parse_hugging_face(json, path, config);
  } else {
    status = config_parse(json, path, config);
  }
  text_release(&content);
  return status;
}

/* The file beside the weights that open_clip or transformers would read; memory_release, or NULL. */
static char *find_beside(const struct tensor_file *file) {
  static const char *const names[] = {"open_clip_config.json", "config.json"};
  char *found = NULL;
  for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++) {
    char *path = text_format("%.*s%s", (int)(text_base_name(file->path) - file->path), file->path, names[i]);
    if (file_exists(path))
      found = path;
    else
      memory_release(path);
  }
  return found;
}

/* A published model of these shapes knows its heads; else a head is 64 wide, as in all of open_clip's smaller towers.
 */
static enum status find_heads(struct clip_config *config, struct text *report) {
  const char *name;
  struct clip_config known;
  for (int i = 0; (name = config_built_in_name(i)); i++) {
    if (config_read(name, &known) != STATUS_OK)
      continue;
    known.vocab_size = config->vocab_size;
    known.vision.memory = config->vision.memory;
    known.text.memory = config->text.memory;
    if (compare_shapes(&known, config, name) != STATUS_OK)
      continue;
    config->vision.heads = known.vision.heads;
    config->text.heads = known.text.heads;
    text_append_format(report, "heads %d and %d, as %s, which has these shapes\n", known.vision.heads, known.text.heads,
                       name);
    return STATUS_OK;
  }
  if (config->vision.width % 64 != 0 || config->text.width % 64 != 0 || config->vision.width > 1024)
    return error_set(
        STATUS_INPUT,
        "the number of heads is not in the shapes, and towers %d and %d wide are not cut by the rule of 64 "
        "per head: give --config NAME or FILE.json",
        config->vision.width, config->text.width);
  if (config->no_ln_pre)
    return error_set(STATUS_INPUT, "a vision tower without ln_pre may pool in several ways: give --config FILE.json");
  config->vision.heads = config->vision.width / 64;
  config->text.heads = config->text.width / 64;
  text_append_format(report, "heads %d and %d, by the rule of 64 per head\n", config->vision.heads, config->text.heads);
  return STATUS_OK;
}

/* `*source`: where the configuration is from, for messages; memory_release. */
static enum status choose_base(const struct tensor_file *file, const struct config_request *request,
                               const struct clip_config *shaped, struct clip_config *config, char **source,
                               struct text *report) {
  char *beside = request->config ? NULL : find_beside(file);
  *source = request->config ? memory_copy_string(request->config, "source") : beside;
  if (beside)
    TRY(read_json(beside, shaped, config));
  else if (request->config && file_exists(request->config))
    TRY(read_json(request->config, shaped, config));
  else if (request->config)
    TRY(config_read(request->config, config));
  if (*source) {
    text_append_format(report, "configuration from %s\n", *source);
    return STATUS_OK;
  }
  *config = *shaped;
  *source = text_format("the shapes in %s", file->path);
  if (config->image_height == 0)
    return error_set(STATUS_INPUT, "the positional table has no square grid: give --config FILE.json with image_size");
  return find_heads(config, report);
}

static enum status choose_knn(int knn, const char *source, const struct memory_config *shaped,
                              struct tower_config *tower) {
  const bool said = tower->memory.count > 0 && tower->memory.knn > 0;
  if (shaped->count == 0)
    return STATUS_OK;
  if (tower->memory.count == 0)
    tower->memory = *shaped;
  if (said && knn > 0 && tower->memory.knn != knn)
    return error_set(STATUS_INPUT, "%s says knn %d, the command line %d", source, tower->memory.knn, knn);
  if (!said && knn == 0)
    return error_set(STATUS_INPUT, "the weights have memories, and nothing says how many slots each head reads: give "
                                   "--knn N (the thesis read 4), or --config FILE.json with memory.knn");
  tower->memory.knn = said ? tower->memory.knn : knn;
  return config_check_memory(tower, source);
}

/* ---- the activation */

static const char *activation_word(enum activation activation) {
  return activation == ACTIVATION_QUICKGELU ? "quickgelu" : "gelu";
}

static enum status ask_for_activation(const struct tensor_file *file) {
  struct text hint = {0};
  released_hint(file->path, &hint);
  const enum status status = error_set(
      STATUS_INPUT,
      "nothing says which activation these weights were trained with: give --activation quickgelu or --activation "
      "gelu. All of OpenAI's and most of MetaCLIP's and DFN's published weights have quickgelu, LAION's and DataComp's "
      "gelu (but for ViT-B-32 laion400m); --released prints the table%s",
      hint.data ? hint.data : "");
  text_release(&hint);
  return status;
}

static enum status choose_activation(const struct tensor_file *file, const struct weight_list *list,
                                     const struct config_request *request, const char *source,
                                     struct clip_config *config, struct text *report) {
  struct {
    bool says;
    enum activation activation;
    const char *who;
  } voices[] = {
      {request->activation != NULL,
       request->activation && strcmp(request->activation, "gelu") == 0 ? ACTIVATION_GELU : ACTIVATION_QUICKGELU,
       "the command line"},
      {config->activation_known, config->activation, source},
      {file->quick_gelu_class && !file->gelu_class, ACTIVATION_QUICKGELU, "a class in the archive"},
      {file->gelu_class && !file->quick_gelu_class, ACTIVATION_GELU, "a class in the archive"},
      {file->kind == TENSOR_FILE_TORCHSCRIPT && weight_find(list, "input_resolution"), ACTIVATION_QUICKGELU,
       "OpenAI's form of the archive"},
  };
  int first = -1;
  for (int i = 0; i < (int)(sizeof voices / sizeof *voices); i++) {
    if (!voices[i].says)
      continue;
    if (first >= 0 && voices[first].activation != voices[i].activation)
      return error_set(STATUS_INPUT,
                       "%s says %s, %s says %s: one of them is wrong, and the wrong activation ruins results silently. "
                       "To run weights with another activation than theirs see &parity in memclip --describe",
                       voices[first].who, activation_word(voices[first].activation), voices[i].who,
                       activation_word(voices[i].activation));
    first = first < 0 ? i : first;
  }
  if (first < 0)
    return ask_for_activation(file);
  config->activation = voices[first].activation;
  config->activation_known = true;
  text_append_format(report, "activation %s, from %s\n", activation_word(config->activation), voices[first].who);
  return STATUS_OK;
}

static enum status complete(const struct tensor_file *file, const struct weight_list *list,
                            const struct config_request *request, const struct clip_config *shaped, const char *source,
                            struct clip_config *config, struct text *report) {
  TRY(choose_knn(request->knn, source, &shaped->vision.memory, &config->vision));
  TRY(choose_knn(request->knn, source, &shaped->text.memory, &config->text));
  TRY(compare_shapes(config, shaped, source));
  /* one table for several layers is what the file shows, whatever a default of the configuration says */
  config->vision.memory.share_values = shaped->vision.memory.share_values;
  config->text.memory.share_values = shaped->text.memory.share_values;
  return choose_activation(file, list, request, source, config, report);
}

/* What the configuration may say in other words than the shapes: behind a gate's projection a value width of 0 is the
 * tower's (without it 0 also means that there is no output projection), and where every block has a memory no MLP shows
 * its width. */
static void settle_tower(struct tower_config *said, struct tower_config *shaped) {
  if (said->memory.swilu_projection && said->memory.v_dim == 0)
    said->memory.v_dim = said->width;
  if (shaped->memory.count == shaped->layers)
    shaped->mlp_width = said->mlp_width;
}

/* transformers' description of the pictures lies beside its weights; open_clip's configuration has its own. */
static enum status read_preprocessor_beside(const struct tensor_file *file, struct clip_config *config,
                                            struct text *report) {
  char *path = text_format("%.*spreprocessor_config.json", (int)(text_base_name(file->path) - file->path), file->path);
  const enum status status = file_exists(path) ? weight_config_read_preprocessor(path, config, report) : STATUS_OK;
  memory_release(path);
  return status == STATUS_OK ? status : error_context(status, "give --config to do without this file");
}

enum status weight_config_choose(const struct tensor_file *file, const struct weight_list *list,
                                 const struct config_request *request, struct clip_config *config,
                                 struct text *report) {
  struct clip_config shaped;
  char *source = NULL;
  enum status status = weight_shapes_read(list, &shaped);
  if (status != STATUS_OK)
    return error_context(status, "%s", file->path);
  status = choose_base(file, request, &shaped, config, &source, report);
  if (status == STATUS_OK) {
    settle_tower(&config->vision, &shaped.vision);
    settle_tower(&config->text, &shaped.text);
    status = complete(file, list, request, &shaped, source, config, report);
  }
  if (status == STATUS_OK && !request->config && !text_ends_with(source, "open_clip_config.json"))
    status = read_preprocessor_beside(file, config, report);
  memory_release(source);
  return status;
}

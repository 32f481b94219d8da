#include "weight_shapes.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH_MAX = 1 << 24 }; /* as config_parse has it */

/* A weight with so many axes and possible lengths. */
static enum status find_shape(const struct weight_list *list, const char *name, int axes, const int64_t **shape) {
  const struct weight *weight = weight_find(list, "%s", name);
  if (!weight)
    return error_set(STATUS_INPUT, "%s is missing: not the weights of a CLIP with two transformer towers", name);
  if (weight->axes != axes)
    return error_set(STATUS_INPUT, "%s has %d axes instead of %d", name, weight->axes, axes);
  for (int a = 0; a < axes; a++)
    if (weight->shape[a] < 1 || weight->shape[a] > LENGTH_MAX)
      return error_set(STATUS_INPUT, "%s has an impossible shape", name);
  *shape = weight->shape;
  return STATUS_OK;
}

static enum status read_values(const struct weight *values, float **read) {
  *read = memory_allocate((size_t)values->elements * sizeof **read, "memory values");
  const enum status status = weight_read(values, DTYPE_F32, *read);
  if (status != STATUS_OK)
    memory_release(*read);
  return status;
}

/* The state dict lists a shared table under each layer; separate tables differ. */
static enum status compare_values(const struct weight *first, const struct weight *other, bool *equal) {
  float *a, *b;
  *equal = first->elements == other->elements;
  if (!*equal || first->parts[0]->data == other->parts[0]->data)
    return STATUS_OK;
  TRY(read_values(first, &a));
  const enum status status = read_values(other, &b);
  if (status == STATUS_OK) {
    *equal = memcmp(a, b, (size_t)first->elements * sizeof *a) == 0;
    memory_release(b);
  }
  memory_release(a);
  return status;
}

/* The table that is read last: values, or of experts (PEER) what they write. */
static char *table_name(const struct weight_list *list, const char *block) {
  return text_format("%s.mlp.%s.weight", block,
                     weight_find(list, "%s.mlp.values_u.weight", block) ? "values_v" : "values");
}

/* keys [2 H K, k_dim / 2], queries [H k_dim, width], values [K^2, v_dim]. */
static enum status read_first_memory(const struct weight_list *list, const char *block, int64_t width,
                                     struct memory_config *memory) {
  char *name = table_name(list, block), *query = text_format("%s.mlp.query_proj.query_mlps.0.weight", block),
       *keys = text_format("%s.mlp.keys", block);
  const int64_t *values_shape = NULL, *query_shape = NULL, *keys_shape = NULL;
  enum status status = find_shape(list, keys, 2, &keys_shape);
  if (status == STATUS_OK)
    status = find_shape(list, query, 2, &query_shape);
  if (status == STATUS_OK)
    status = find_shape(list, name, 2, &values_shape);
  if (status == STATUS_OK) {
    memory->k_dim = (int)(2 * keys_shape[1]);
    memory->heads = (int)(query_shape[0] / memory->k_dim);
    memory->n_keys = (int)lround(sqrt((double)values_shape[0]));
    memory->peer = weight_find(list, "%s.mlp.values_u.weight", block) != NULL;
    /* experts write the result themselves: projections beside them are unused */
    memory->swilu_projection = !memory->peer && weight_find(list, "%s.mlp.swilu_projection.weight", block);
    memory->v_dim = !memory->peer && weight_find(list, "%s.mlp.value_proj.weight", block) ? (int)values_shape[1] : 0;
    memory->gated = weight_find(list, "%s.mlp.gating.weight", block) != NULL;
    if ((int64_t)memory->n_keys * memory->n_keys != values_shape[0] || query_shape[1] != width ||
        (int64_t)memory->heads * memory->k_dim != query_shape[0] ||
        2 * (int64_t)memory->heads * memory->n_keys != keys_shape[0])
      status = error_set(STATUS_INPUT,
                         "%s: the shapes of keys [%lld, %lld], queries [%lld, %lld] and values [%lld, %lld] do not "
                         "fit together",
                         block, (long long)keys_shape[0], (long long)keys_shape[1], (long long)query_shape[0],
                         (long long)query_shape[1], (long long)values_shape[0], (long long)values_shape[1]);
  }
  memory_release(name);
  memory_release(query);
  memory_release(keys);
  return status;
}

static enum status read_memories(const struct weight_list *list, const char *prefix, struct tower_config *tower) {
  struct memory_config *memory = &tower->memory;
  const struct weight *first = NULL;
  for (int i = 0; i < tower->layers; i++) {
    if (!weight_find(list, "%stransformer.resblocks.%d.mlp.keys", prefix, i))
      continue;
    char *block = text_format("%stransformer.resblocks.%d", prefix, i), *table = table_name(list, block);
    const struct weight *values = weight_find(list, "%s", table);
    enum status status = STATUS_OK;
    bool equal = true;
    if (memory->count == 0) {
      status = read_first_memory(list, block, tower->width, memory);
      memory->share_values = true;
      first = values;
    } else if (values && first) {
      status = compare_values(first, values, &equal);
      memory->share_values &= equal;
    }
    memory_release(block);
    memory_release(table);
    TRY(status);
    memory->layers[i] = true;
    memory->count++;
  }
  return STATUS_OK;
}

static enum status read_tower(const struct weight_list *list, const char *prefix, struct tower_config *tower) {
  tower->layers = 0;
  tower->mlp_width = 4 * tower->width;
  tower->memory = (struct memory_config){0};
  while (tower->layers < LAYERS_MAX &&
         weight_find(list, "%stransformer.resblocks.%d.ln_1.weight", prefix, tower->layers))
    tower->layers++;
  if (tower->layers == 0)
    return error_set(STATUS_INPUT, "%stransformer.resblocks.0.ln_1.weight is missing: not the weights of a CLIP",
                     prefix);
  for (int i = 0; i < tower->layers; i++) { /* of the first block that has an MLP */
    const struct weight *fc = weight_find(list, "%stransformer.resblocks.%d.mlp.c_fc.weight", prefix, i);
    if (!fc)
      continue;
    if (fc->axes != 2 || fc->shape[0] < 1 || fc->shape[0] > LENGTH_MAX)
      return error_set(STATUS_INPUT, "%s has an impossible shape", fc->name);
    tower->mlp_width = (int)fc->shape[0];
    break;
  }
  tower->layer_scale = weight_find(list, "%stransformer.resblocks.0.ls_1.gamma", prefix) ? 1 : -1;
  return read_memories(list, prefix, tower);
}

enum status weight_shapes_read(const struct weight_list *list, struct clip_config *config) {
  const int64_t *patch, *table, *projection, *text_table, *vocabulary;
  TRY(config_parse("{\"vision_cfg\": {}, \"text_cfg\": {}}", "defaults", config));
  TRY(find_shape(list, "visual.conv1.weight", 4, &patch));
  TRY(find_shape(list, "visual.positional_embedding", 2, &table));
  TRY(find_shape(list, "visual.proj", 2, &projection));
  TRY(find_shape(list, "positional_embedding", 2, &text_table));
  TRY(find_shape(list, "token_embedding.weight", 2, &vocabulary));
  if (patch[1] != 3 || patch[2] != patch[3] || table[0] < 2)
    return error_set(STATUS_INPUT, "visual.conv1.weight is no kernel for square patches of three colours, or the "
                                   "positional table has no rows for patches");
  const int64_t side = lround(sqrt((double)(table[0] - 1)));
  config->embed_dim = (int)projection[1];
  config->patch = (int)patch[2];
  config->image_height = config->image_width = side * side == table[0] - 1 ? (int)(side * patch[2]) : 0;
  config->vision.width = (int)patch[0];
  config->text.width = (int)vocabulary[1];
  config->vocab_size = (int)vocabulary[0];
  config->context_length = (int)text_table[0];
  config->vision.heads = config->text.heads = 0;
  config->no_ln_pre = !weight_find(list, "visual.ln_pre.weight");
  TRY(read_tower(list, "visual.", &config->vision));
  return read_tower(list, "", &config->text);
}

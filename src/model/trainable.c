/* What trains: words of the input file to marks on parameters, and how far down a tower a backward pass must go. */
#include "base/text.h"
#include "model/model.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_vision(const struct parameter *parameter) {
  return text_starts_with(parameter->name, "visual.");
}

static int block_of(const struct parameter *parameter) {
  const char *blocks = strstr(parameter->name, "resblocks.");
  return blocks ? atoi(blocks + strlen("resblocks.")) : -1;
}

/* "vision:last2": the last two blocks with what follows them (final norm and projection). */
static bool in_last_blocks(const struct model *model, const struct parameter *parameter, bool vision, int last) {
  const struct tower *tower = vision ? &model->vision : &model->text;
  if (is_vision(parameter) != vision)
    return false;
  const int block = block_of(parameter);
  return block >= 0 ? block >= tower->config->layers - last
                    : parameter == tower->norm_weight || parameter == tower->norm_bias ||
                          parameter == tower->projection.weight;
}

/* N of "PREFIXN" when it is at most the tower's blocks, else -1. */
static int last_blocks(const char *word, const char *prefix, const struct tower_config *config) {
  char *end;
  if (!text_starts_with(word, prefix))
    return -1;
  const long last = strtol(word + strlen(prefix), &end, 10);
  return end > word + strlen(prefix) && !*end && last >= 0 && last <= config->layers ? (int)last : -1;
}

static bool word_matches(const struct model *model, const char *word, const struct parameter *parameter) {
  if (strcmp(word, "all") == 0)
    return true;
  if (strcmp(word, "memory") == 0)
    return parameter->memory;
  if (strcmp(word, "vision") == 0)
    return is_vision(parameter);
  if (strcmp(word, "text") == 0)
    return !is_vision(parameter) && parameter != model->logit_scale;
  const int vision = last_blocks(word, "vision:last", model->vision.config),
            text = last_blocks(word, "text:last", model->text.config);
  if (vision >= 0 || text >= 0)
    return in_last_blocks(model, parameter, vision >= 0, vision >= 0 ? vision : text);
  return text_match(word, parameter->name);
}

enum status model_set_trainable(struct model *model, const char *const *words, int count) {
  struct parameters *list = &model->parameters;
  for (int i = 0; i < list->count; i++)
    list->items[i]->trainable = false;
  for (int w = 0; w < count; w++) {
    int matched = 0;
    for (int i = 0; i < list->count; i++)
      if (word_matches(model, words[w], list->items[i])) {
        list->items[i]->trainable = true;
        matched++;
      }
    if (matched == 0)
      return error_set(STATUS_INPUT,
                       "model.train: '%s' matches no parameter of this model; it takes all, memory, vision, text, "
                       "vision:lastN, text:lastN or patterns such as "
                       "'visual.transformer.resblocks.11.*'",
                       words[w]);
  }
  return STATUS_OK;
}

/* From the projection down: the last block with the final norm, ..., the first block, the embeddings with ln_pre. */
static int depth_of(const struct tower *tower, const struct parameter *parameter) {
  const int block = block_of(parameter), layers = tower->config->layers;
  if (block >= 0)
    return layers - block;
  if (parameter == tower->projection.weight || parameter == tower->projection.bias)
    return 0;
  return parameter == tower->norm_weight || parameter == tower->norm_bias ? 1 : layers + 1;
}

void model_set_layer_decay(struct model *model, double vision, double text) {
  struct parameters *list = &model->parameters;
  for (int i = 0; i < list->count; i++) {
    struct parameter *parameter = list->items[i];
    const bool image = is_vision(parameter);
    if (parameter != model->logit_scale)
      parameter->rate_scale = pow(image ? vision : text, depth_of(image ? &model->vision : &model->text, parameter));
  }
}

static bool trains(const struct parameter *parameter) {
  return parameter && parameter->trainable;
}

static bool linear_trains(const struct linear_layer *layer) {
  return trains(layer->weight) || trains(layer->bias);
}

static bool sublayer_trains(const struct sublayer *layer) {
  return trains(layer->norm_weight) || trains(layer->norm_bias) || trains(layer->layer_scale) ||
         linear_trains(&layer->in) || linear_trains(&layer->out) || linear_trains(&layer->gate) ||
         trains(layer->keys) || trains(layer->values) || trains(layer->values_in) || trains(layer->token_gate_weight) ||
         trains(layer->token_gate_bias);
}

static bool embedding_trains(const struct tower *tower) {
  return trains(tower->patch_embedding.weight) || trains(tower->class_embedding) || trains(tower->token_embedding) ||
         trains(tower->position) || trains(tower->norm_pre_weight) || trains(tower->norm_pre_bias);
}

int tower_first_trainable(const struct tower *tower, bool skip_frozen) {
  if (!skip_frozen || embedding_trains(tower))
    return -1;
  for (int i = 0; i < tower->count; i++)
    if (sublayer_trains(&tower->sublayers[i]))
      return i;
  return tower->count;
}

bool tower_trains(const struct tower *tower) {
  return tower_first_trainable(tower, true) < tower->count || trains(tower->norm_weight) || trains(tower->norm_bias) ||
         trains(tower->projection.weight);
}

int tower_first_memory(const struct tower *tower) {
  for (int i = 0; i < tower->count; i++)
    if (tower->sublayers[i].kind == SUBLAYER_MEMORY)
      return i;
  return tower->count;
}

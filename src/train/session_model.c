/* A model from the input: configuration, activation, memories, what trains, weights. */
#include "base/memory.h"
#include "comm/comm.h"
#include "report/report.h"
#include "train/plan.h"
#include "train/weights.h"
#include <string.h>

bool session_keeps_values_in_bf16(const struct settings *settings) {
  return settings->memory.present && strcmp(settings->memory.value_dtype, "bf16") == 0;
}

static const char *activation_word(enum activation activation) {
  return activation == ACTIVATION_QUICKGELU ? "quickgelu" : "gelu";
}

/* Another activation than the weights were trained with changes every number and breaks nothing visibly. */
static enum status take_activation(const struct settings *settings, const char *what, enum activation wanted,
                                   struct clip_config *config) {
  if (config->activation_known && config->activation != wanted) {
    if (!settings->parity.foreign_activation)
      return error_set(
          STATUS_INPUT,
          "%s.activation: %s is asked for, the weights or the configuration say %s, and the wrong one ruins "
          "results silently; parity.foreign_activation=.true. runs it all the same",
          what, activation_word(wanted), activation_word(config->activation));
    report_warning("%s: activation %s is asked for, the weights or the configuration say %s: results will differ from "
                   "the original model's",
                   what, activation_word(wanted), activation_word(config->activation));
  }
  config->activation = wanted;
  config->activation_known = true;
  return STATUS_OK;
}

/* A plain built-in name says nothing: the weights' file may. One that says the other one is refused. */
static enum status apply_activation(const struct settings *settings, const struct model_request *request,
                                    struct clip_config *config) {
  struct clip_config stored;
  if (request->config[0] && request->weights[0] && weights_read_config(request->weights, &stored) == STATUS_OK &&
      stored.activation_known) {
    const bool said = config->activation_known;
    const enum activation wanted = said ? config->activation : stored.activation;
    config->activation = stored.activation;
    config->activation_known = true;
    TRY(take_activation(settings, request->what, wanted, config));
  }
  if (strcmp(request->activation, "auto") == 0)
    return STATUS_OK;
  return take_activation(settings, request->what,
                         strcmp(request->activation, "quickgelu") == 0 ? ACTIVATION_QUICKGELU : ACTIVATION_GELU,
                         config);
}

static enum status apply_memory(const struct memory_settings *memory, struct clip_config *config) {
  struct tower_config *tower = strcmp(memory->tower, "text") == 0 ? &config->text : &config->vision;
  if (!memory->present)
    return STATUS_OK;
  if (memory->query_batchnorm || memory->shard_ranks > 1)
    return error_set(STATUS_INPUT, "&memory: %s is not supported yet; leave it at its default",
                     memory->query_batchnorm ? "query_batchnorm" : "shard_ranks");
  tower->memory = (struct memory_config){.n_keys = (int)memory->n_keys,
                                         .heads = (int)memory->heads,
                                         .knn = (int)memory->knn,
                                         .k_dim = (int)memory->k_dim,
                                         .v_dim = (int)memory->v_dim,
                                         .share_values = memory->share_values,
                                         .swilu_projection = memory->swilu_projection,
                                         .gated = memory->gated,
                                         .peer = memory->peer,
                                         .input_dropout = memory->input_dropout,
                                         .query_dropout = memory->query_dropout,
                                         .value_dropout = memory->value_dropout,
                                         .meta_init = strcmp(memory->init, "meta") == 0};
  for (int i = 0; i < memory->layers.count; i++) {
    const int64_t layer = memory->layers.items[i];
    if (layer < 0 || layer >= tower->layers)
      return error_set(STATUS_INPUT, "memory.layers: %lld is not a block of the %s tower, which has blocks 0 to %d",
                       (long long)layer, memory->tower, tower->layers - 1);
    tower->memory.count += !tower->memory.layers[layer];
    tower->memory.layers[layer] = true;
  }
  if (tower->memory.count == 0)
    return error_set(STATUS_INPUT, "&memory: layers is empty: name the blocks whose MLP becomes a memory");
  return config_check_memory(tower, "&memory");
}

static enum status choose_config(const struct session *session, const struct model_request *request,
                                 struct clip_config *config) {
  const struct settings *settings = session->settings;
  if (request->config[0])
    TRY(config_read(request->config, config));
  else if (request->weights[0])
    TRY(weights_read_config(request->weights, config));
  else
    return error_set(
        STATUS_INPUT,
        "%s.config and %s.weights are both empty: name a configuration ('ViT-B-16' or a JSON file), weights, or both",
        request->what, request->what);
  TRY(apply_activation(settings, request, config));
  if (request->with_memory)
    TRY(apply_memory(&settings->memory, config));
  for (int i = 0; i < 3; i++) {
    if (settings->model.image_mean.count == 3)
      config->image_mean[i] = (float)settings->model.image_mean.items[i];
    if (settings->model.image_std.count == 3)
      config->image_std[i] = (float)settings->model.image_std.items[i];
  }
  if (strcmp(settings->model.image_resize_mode, "auto") != 0)
    config->resize_mode = settings->model.image_resize_mode;
  if (strcmp(settings->model.image_interpolation, "auto") != 0)
    config->interpolation = settings->model.image_interpolation;
  return STATUS_OK;
}

/* Value tables without an fp32 master hold bf16 numbers from the beginning. */
static void round_values(struct parameters *list) {
  for (int i = 0; i < list->count; i++) {
    struct parameter *parameter = list->items[i];
    if (!parameter->values)
      continue;
    float *values = memory_allocate((size_t)parameter->count * sizeof *values, "values");
    parameter_get(list, parameter, values);
    for (int64_t j = 0; j < parameter->count; j++)
      values[j] = bf16_to_float(bf16_from_float(values[j]));
    parameter_set(list, parameter, values);
    memory_release(values);
  }
}

static enum status fill_weights(const struct model_request *request, const struct settings *settings,
                                struct model *model) {
  struct weights_summary summary;
  parameters_initialize(&model->parameters, (uint64_t)settings->run.seed);
  if (!request->weights[0])
    return STATUS_OK;
  TRY(weights_load(request->weights, model, &summary));
  report_message("%s: %d tensors from %s", request->what, summary.taken, request->weights);
  if (summary.dropped_mlp)
    report_message("%s: %d MLP tensors were left out: memories take their place", request->what, summary.dropped_mlp);
  if (summary.missing_memory)
    report_message("%s: %d memory tensors start from initial values", request->what, summary.missing_memory);
  return STATUS_OK;
}

static enum status open_model(struct session *session, const struct model_request *request, struct model **model) {
  const struct settings *settings = session->settings;
  struct clip_config config;
  TRY(choose_config(session, request, &config));
  const struct model_switches switches = {.pooled_last_block = settings->debug.pooled_last_block,
                                          .skip_frozen = settings->debug.skip_frozen,
                                          .gradient_checkpointing =
                                              request->training && settings->model.gradient_checkpointing};
  TRY(model_create(&config, session->device, session->dtype, switches, model));
  TRY(model_set_trainable(*model, request->words, request->word_count));
  parameters_set_decay(&(*model)->parameters, (const char *const *)settings->optim.no_decay.items,
                       settings->optim.no_decay.count);
  model_set_layer_decay(*model, settings->optim.vision_layer_decay, settings->optim.text_layer_decay);
  TRY(plan_memory(session, request->what, parameters_bytes(&(*model)->parameters, request->training)));
  parameters_allocate(&(*model)->parameters, request->training);
  TRY(fill_weights(request, settings, *model));
  if (session_keeps_values_in_bf16(settings) && request->with_memory)
    round_values(&(*model)->parameters);
  report_message("%s: %.3f M parameters, %.3f M of them trained", request->what,
                 1e-6 * (double)parameters_count_elements(&(*model)->parameters, false),
                 1e-6 * (double)parameters_count_elements(&(*model)->parameters, true));
  return STATUS_OK;
}

enum status session_open_model(struct session *session, const struct model_request *request, struct model **model) {
  return comm_agree(open_model(session, request, model));
}

static bool is_default(const struct text_list *words) {
  return words->count == 0 || (words->count == 1 && strcmp(words->items[0], "default") == 0);
}

const char *const *session_trainable(struct session *session, const char *fallback) {
  const struct text_list *words = &session->settings->model.train;
  session->default_words[0] = fallback;
  return is_default(words) ? session->default_words : (const char *const *)words->items;
}

int session_trainable_count(const struct session *session) {
  const struct text_list *words = &session->settings->model.train;
  return is_default(words) ? 1 : words->count;
}

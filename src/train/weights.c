#include "train/weights.h"
#include "base/memory.h"
#include <math.h>

enum status weights_read_config(const char *path, struct clip_config *config) {
  struct store *store;
  char *json = NULL;
  TRY(store_open(path, &store));
  enum status status = store_read_text(store, "run/config", &json);
  if (status != STATUS_OK)
    status = error_set(
        STATUS_INPUT,
        "%s carries no model configuration (run/config): set model.config to a built-in name or a JSON file", path);
  else
    status = config_parse(json, path, config);
  memory_release(json);
  store_close(store);
  return status;
}

enum status weights_check_shape(struct store *store, const char *path, const char *name,
                                const struct parameter *parameter) {
  enum dtype dtype;
  int axes;
  int64_t shape[TENSOR_AXES_MAX], count = 1;
  bool equal;
  TRY(store_shape(store, name, &dtype, &axes, shape));
  equal = axes == parameter->axes;
  for (int i = 0; i < axes; i++)
    count *= shape[i];
  for (int i = 0; equal && i < axes; i++)
    equal = shape[i] == parameter->shape[i];
  if (equal || (count == 1 && parameter->count == 1)) /* logit_scale may be [] or [1] */
    return STATUS_OK;
  struct text text = {0};
  for (int i = 0; i < axes; i++)
    text_append_format(&text, "%s%lld", i ? ", " : "", (long long)shape[i]);
  text_append_string(&text, "] in the file, [");
  for (int i = 0; i < parameter->axes; i++)
    text_append_format(&text, "%s%lld", i ? ", " : "", (long long)parameter->shape[i]);
  enum status status =
      error_set(STATUS_INPUT, "%s: %s has shape [%s] in the model: the weights belong to another configuration", path,
                name, text.data);
  text_release(&text);
  return status;
}

static enum status load_one(struct store *store, const char *path, const char *name, struct parameters *list,
                            struct parameter *parameter, float *buffer) {
  enum status status = store_read(store, name, DTYPE_F32, parameter->count, buffer);
  for (int64_t i = 0; status == STATUS_OK && i < parameter->count; i++)
    if (!isfinite(buffer[i]))
      status =
          error_set(STATUS_INPUT, "%s: %s holds a value that is not finite at element %lld: the weights are damaged",
                    path, parameter->name, (long long)i);
  if (status == STATUS_OK)
    parameter_set(list, parameter, buffer);
  return status;
}

/* Values are read unless `buffer` is NULL. */
static enum status take_one(struct store *store, const char *path, struct parameters *list, struct parameter *parameter,
                            float *buffer, struct weights_summary *summary) {
  char *name = text_format("model/%s", parameter->name);
  enum status status = STATUS_OK;
  if (store_has(store, name)) {
    status = weights_check_shape(store, path, name, parameter);
    if (status == STATUS_OK && buffer)
      status = load_one(store, path, name, list, parameter, buffer);
    summary->taken++;
  } else if (parameter->memory) {
    summary->missing_memory++;
  } else {
    status = error_set(STATUS_INPUT, "%s: %s is missing: the weights belong to another configuration", path,
                       parameter->name);
  }
  memory_release(name);
  return status;
}

/* MLPs that a memory replaces may stay behind. */
static bool replaced_by_memory(const struct model *model, const char *name) {
  const struct tower *towers[] = {&model->vision, &model->text};
  for (int t = 0; t < 2; t++)
    for (int i = 1; i < towers[t]->count; i += 2) {
      if (towers[t]->sublayers[i].kind != SUBLAYER_MEMORY)
        continue;
      char *prefix = text_format("%stransformer.resblocks.%d.mlp.c_", t == 0 ? "visual." : "", i / 2);
      bool found = text_starts_with(name, prefix);
      memory_release(prefix);
      if (found)
        return true;
    }
  return false;
}

static enum status check_left_over(struct store *store, const char *path, const struct model *model,
                                   struct weights_summary *summary) {
  char **names;
  int64_t count;
  enum status status = STATUS_OK;
  TRY(store_list(store, "model", &names, &count));
  for (int64_t i = 0; i < count; i++) {
    if (status == STATUS_OK && !parameters_find(&model->parameters, names[i])) {
      if (replaced_by_memory(model, names[i]))
        summary->dropped_mlp++;
      else
        status = error_set(STATUS_INPUT,
                           "%s: tensor %s has no place in this model: the weights belong to another configuration",
                           path, names[i]);
    }
    memory_release(names[i]);
  }
  memory_release(names);
  return status;
}

static enum status take_all(struct store *store, const char *path, struct model *model, float *buffer,
                            struct weights_summary *summary) {
  struct parameters *list = &model->parameters;
  *summary = (struct weights_summary){0};
  for (int i = 0; i < list->count; i++)
    TRY(take_one(store, path, list, list->items[i], buffer, summary));
  return check_left_over(store, path, model, summary);
}

enum status weights_check(const char *path, const struct model *model) {
  struct weights_summary summary;
  struct store *store;
  TRY(store_open(path, &store));
  const enum status status = take_all(store, path, (struct model *)model, NULL, &summary);
  store_close(store);
  return status;
}

enum status weights_load(const char *path, struct model *model, struct weights_summary *summary) {
  const struct parameters *list = &model->parameters;
  struct store *store;
  int64_t largest = 1;
  TRY(store_open(path, &store));
  for (int i = 0; i < list->count; i++)
    largest = list->items[i]->count > largest ? list->items[i]->count : largest;
  float *buffer = memory_allocate((size_t)largest * sizeof *buffer, "weights being read");
  const enum status status = take_all(store, path, model, buffer, summary);
  memory_release(buffer);
  store_close(store);
  if (status == STATUS_OK)
    model->device->op->forget_weights(model->device);
  return status;
}

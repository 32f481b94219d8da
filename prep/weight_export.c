#include "weight_export.h"
#include "base/file.h"
#include "base/memory.h"
#include "device/device.h"
#include "io/torch_write.h"
#include "model/model.h"
#include "train/weights.h"
#include <string.h>

struct exporting {
  const struct export_request *request;
  struct export_summary *summary;
  struct clip_config config;
  struct model *model;
  struct store *store;
  struct tensor_entry *entries;
  int64_t *storage_of;
  int64_t count, total_bytes, done_bytes;
  double epoch;
};

/* open_clip's logit_scale has no axis; the thesis's has one. */
static void shape_scalar(const struct exporting *exporting, struct tensor_entry *entry) {
  const bool memories = exporting->config.vision.memory.count + exporting->config.text.memory.count > 0;
  if (strcmp(entry->name, "logit_scale") == 0 && memories) {
    entry->axes = 1;
    entry->shape[0] = 1;
  }
}

static enum status add_entry(struct exporting *exporting, const struct parameter *parameter, const char *name) {
  struct tensor_entry *entry = &exporting->entries[exporting->count];
  int64_t stored_shape[TENSOR_AXES_MAX], elements = 1;
  int stored_axes;
  char *path = text_format("model/%s", parameter->name);
  const enum status status = store_shape(exporting->store, path, &entry->dtype, &stored_axes, stored_shape);
  memory_release(path);
  TRY(status);
  for (int a = 0; a < stored_axes; a++)
    elements *= stored_shape[a];
  if (elements != parameter->count)
    return error_set(STATUS_INPUT, "%s has %lld elements, its configuration needs %lld", parameter->name,
                     (long long)elements, (long long)parameter->count);
  if (exporting->request->convert)
    entry->dtype = exporting->request->dtype;
  entry->name = (char *)name;
  entry->axes = parameter->axes;
  memcpy(entry->shape, parameter->shape, (size_t)parameter->axes * sizeof *entry->shape);
  entry->elements = parameter->count;
  shape_scalar(exporting, entry);
  exporting->storage_of[exporting->count] = exporting->count;
  exporting->total_bytes += elements * (int64_t)dtype_size(entry->dtype);
  exporting->count++;
  return STATUS_OK;
}

/* A shared table stands under every layer that uses it; in torch's form all of them show one storage. */
static enum status list_entries(struct exporting *exporting) {
  const struct parameters *list = &exporting->model->parameters;
  const size_t most = (size_t)(list->count + list->alias_count);
  exporting->entries = memory_allocate(most * sizeof *exporting->entries, "export entries");
  exporting->storage_of = memory_allocate(most * sizeof *exporting->storage_of, "export entries");
  for (int i = 0; i < list->count; i++) {
    TRY(add_entry(exporting, list->items[i], list->items[i]->name));
    exporting->summary->parameters += list->items[i]->count;
  }
  for (int i = 0; i < list->alias_count; i++) {
    TRY(add_entry(exporting, list->aliases[i].of, list->aliases[i].name));
    exporting->storage_of[exporting->count - 1] = list->aliases[i].of->number;
  }
  return STATUS_OK;
}

static enum status read_entry(void *context, const struct tensor_entry *entry, void *data) {
  struct exporting *exporting = context;
  char *path = text_format("model/%s", entry->name);
  const enum status status = store_read(exporting->store, path, entry->dtype, entry->elements, data);
  memory_release(path);
  exporting->done_bytes += entry->elements * (int64_t)dtype_size(entry->dtype);
  if (exporting->request->progress)
    exporting->request->progress(exporting->done_bytes, exporting->total_bytes);
  return status;
}

static enum status write_weights(struct exporting *exporting) {
  const char *out = exporting->request->out;
  const struct tensor_reader reader = {read_entry, exporting};
  const bool memories = exporting->config.vision.memory.count + exporting->config.text.memory.count > 0;
  if (text_ends_with(out, ".safetensors"))
    return safetensors_write(out, exporting->entries, exporting->count, &reader);
  const struct torch_content content = {.entries = exporting->entries,
                                        .storage_of = exporting->storage_of,
                                        .count = exporting->count,
                                        .checkpoint = memories,
                                        .epoch = (int64_t)exporting->epoch,
                                        .name = "memclip",
                                        .reader = &reader};
  return torch_write(out, &content);
}

static enum status write_config(struct exporting *exporting) {
  const char *out = exporting->request->out;
  struct text json = {0};
  exporting->summary->config_path = text_format("%.*sopen_clip_config.json", (int)(text_base_name(out) - out), out);
  config_write(&exporting->config, &json);
  text_append_string(&json, "\n");
  const enum status status = file_write_atomic(exporting->summary->config_path, json.data, json.length);
  text_release(&json);
  return status;
}

static enum status export_model(struct exporting *exporting) {
  struct device *device;
  TRY(device_open("cpu", 1, &device));
  enum status status =
      model_create(&exporting->config, device, DTYPE_F32, (struct model_switches){0}, &exporting->model);
  if (status == STATUS_OK)
    status = list_entries(exporting);
  if (status == STATUS_OK)
    status = write_weights(exporting);
  if (status == STATUS_OK)
    status = write_config(exporting);
  exporting->summary->tensors = (int)exporting->count;
  exporting->summary->bytes = exporting->total_bytes;
  memory_release(exporting->entries);
  memory_release(exporting->storage_of);
  model_release(exporting->model);
  device_close(device);
  return status;
}

enum status weight_export(const struct export_request *request, struct export_summary *summary) {
  struct exporting exporting = {.request = request, .summary = summary};
  *summary = (struct export_summary){0};
  TRY(weights_read_config(request->source, &exporting.config));
  TRY(store_open(request->source, &exporting.store));
  if (store_has(exporting.store, "loader/epoch")) /* a training checkpoint */
    (void)store_read_number(exporting.store, "loader/epoch", &exporting.epoch);
  enum status status = export_model(&exporting);
  if (status == STATUS_INPUT)
    error_context(status, "%s", request->source);
  store_close(exporting.store);
  return status;
}

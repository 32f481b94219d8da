#include "weight_import.h"
#include "base/memory.h"
#include "config.h"
#include "device/device.h"
#include "model/model.h"
#include "resample.h"
#include <math.h>
#include <string.h>

struct importing {
  const struct import_request *request;
  struct tensor_file file;
  struct weight_list list;
  struct clip_config config;
  struct model *model;
  struct import_summary *summary;
  struct text *report;
  struct store *store;
};

static void say(struct importing *importing, const char *what, const char *from, const char *to, const char *how) {
  text_append_format(importing->report, "%-11s %s", what, from);
  if (to && strcmp(from, to) != 0)
    text_append_format(importing->report, " -> %s", to);
  if (how)
    text_append_format(importing->report, "  (%s)", how);
  text_append_string(importing->report, "\n");
}

/* ---- matching */

static bool is_table(const struct parameter *parameter) {
  return strcmp(parameter->name, "visual.positional_embedding") == 0 ||
         strcmp(parameter->name, "positional_embedding") == 0;
}

static bool same_shape(const struct weight *weight, const struct parameter *parameter) {
  bool equal = weight->axes == parameter->axes;
  for (int a = 0; equal && a < weight->axes; a++)
    equal = weight->shape[a] == parameter->shape[a];
  return equal || (weight->elements == 1 && parameter->count == 1); /* logit_scale may be [] or [1] */
}

/* A table of another length is resampled. An image grid must have been square. */
static bool can_resample(const struct weight *weight, const struct parameter *parameter) {
  const int64_t side = weight->axes == 2 ? lround(sqrt((double)(weight->shape[0] - 1))) : 0;
  return is_table(parameter) && weight->axes == 2 && weight->shape[1] == parameter->shape[1] &&
         (text_starts_with(parameter->name, "visual.") ? side > 0 && side * side == weight->shape[0] - 1
                                                       : weight->shape[0] > 0);
}

static void format_shape(int axes, const int64_t *shape, struct text *out) {
  text_append_string(out, "[");
  for (int a = 0; a < axes; a++)
    text_append_format(out, "%s%lld", a ? ", " : "", (long long)shape[a]);
  text_append_string(out, "]");
}

static enum status check_shape(const struct weight *weight, const struct parameter *parameter) {
  if (same_shape(weight, parameter) || can_resample(weight, parameter))
    return STATUS_OK;
  struct text text = {0};
  format_shape(weight->axes, weight->shape, &text);
  text_append_string(&text, " in the file, ");
  format_shape(parameter->axes, parameter->shape, &text);
  const enum status status =
      error_set(STATUS_INPUT, "%s has shape %s in the model: the weights belong to another configuration",
                weight->parts[0]->name, text.data);
  text_release(&text);
  return status;
}

static const char *how(const struct weight *weight) {
  switch (weight->change) {
  case WEIGHT_TRANSPOSED:
    return "transposed";
  case WEIGHT_QUERY:
    return "with k_proj and v_proj below one another";
  default:
    return NULL;
  }
}

static enum status match_parameter(struct importing *importing, const struct parameter *parameter) {
  struct weight *weight = weight_find(&importing->list, "%s", parameter->name);
  if (!weight) {
    importing->summary->missing++;
    say(importing, "missing", parameter->name, NULL, NULL);
    return STATUS_OK;
  }
  TRY(check_shape(weight, parameter));
  weight->taken = true;
  const bool resampled = !same_shape(weight, parameter),
             renamed = weight->change != WEIGHT_SAME || strcmp(weight->parts[0]->name, parameter->name) != 0;
  importing->summary->resampled += resampled;
  importing->summary->renamed += renamed && !resampled;
  importing->summary->taken += !renamed && !resampled;
  say(importing,
      resampled ? "resampled"
      : renamed ? "renamed"
                : "taken",
      weight->parts[0]->name, parameter->name, how(weight));
  return STATUS_OK;
}

/* A shared table is listed under every layer and stored once. */
static void match_alias(struct importing *importing, const struct parameter_alias *alias) {
  struct weight *weight = weight_find(&importing->list, "%s", alias->name);
  if (!weight)
    return;
  weight->taken = true;
  importing->summary->taken++;
  say(importing, "shared", weight->parts[0]->name, alias->of->name, NULL);
}

static bool may_skip(const struct import_request *request, const struct weight *weight) {
  for (int i = 0; i < request->skip_count; i++)
    if (text_match(request->skip[i], weight->name) || text_match(request->skip[i], weight->parts[0]->name))
      return true;
  return false;
}

static void account_for_rest(struct importing *importing) {
  for (int64_t i = 0; i < importing->list.count; i++) {
    const struct weight *weight = &importing->list.items[i];
    if (weight->taken)
      continue;
    if (weight->change == WEIGHT_PASSED_OVER) {
      importing->summary->passed_over++;
      say(importing, "passed over", weight->parts[0]->name, NULL, weight->reason);
    } else if (may_skip(importing->request, weight)) {
      importing->summary->skipped++;
      say(importing, "skipped", weight->parts[0]->name, NULL, "asked for");
    } else {
      importing->summary->unknown++;
      say(importing, "unknown", weight->parts[0]->name, NULL, NULL);
    }
  }
}

static const char *first_of(const struct importing *importing, bool missing) {
  const struct parameters *parameters = &importing->model->parameters;
  for (int i = 0; missing && i < parameters->count; i++)
    if (!weight_find(&importing->list, "%s", parameters->items[i]->name))
      return parameters->items[i]->name;
  for (int64_t i = 0; !missing && i < importing->list.count; i++) {
    const struct weight *weight = &importing->list.items[i];
    if (!weight->taken && weight->change != WEIGHT_PASSED_OVER && !may_skip(importing->request, weight))
      return weight->parts[0]->name;
  }
  return "";
}

/* Experts (PEER) write a memory's result themselves; the thesis's code allocates projections beside them all the same.
 */
static void pass_over_projections(struct importing *importing) {
  static const char *const patterns[] = {"*.mlp.swilu_projection.*", "*.mlp.value_proj.*"};
  const struct clip_config *config = &importing->config;
  for (int64_t i = 0; i < importing->list.count; i++) {
    struct weight *weight = &importing->list.items[i];
    const bool vision = text_starts_with(weight->name, "visual.");
    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++)
      if ((vision ? &config->vision : &config->text)->memory.peer && text_match(patterns[p], weight->name)) {
        weight->change = WEIGHT_PASSED_OVER;
        weight->reason = "not used by experts";
      }
  }
}

static enum status match_all(struct importing *importing) {
  const struct parameters *parameters = &importing->model->parameters;
  for (int i = 0; i < parameters->count; i++)
    TRY(match_parameter(importing, parameters->items[i]));
  for (int i = 0; i < parameters->alias_count; i++)
    match_alias(importing, &parameters->aliases[i]);
  pass_over_projections(importing);
  account_for_rest(importing);
  if (importing->summary->missing > 0)
    return error_set(STATUS_INPUT, "%d of the model's tensors are missing, the first is %s",
                     importing->summary->missing, first_of(importing, true));
  if (importing->summary->unknown > 0)
    return error_set(STATUS_INPUT,
                     "%d tensors have no place in the model, the first is %s: not this architecture, or leave them "
                     "out with --skip PATTERN",
                     importing->summary->unknown, first_of(importing, false));
  return STATUS_OK;
}

/* ---- writing */

/* Exponent bits all ones: infinity or not a number. */
static bool is_finite(const void *data, enum dtype dtype, int64_t count) {
  const uint16_t *narrow = data, mask = dtype == DTYPE_F16 ? 0x7c00 : 0x7f80;
  bool finite = true;
  if (dtype == DTYPE_F32 || dtype == DTYPE_F64) {
    for (int64_t i = 0; i < count; i++) {
      float f32;
      double f64;
      memcpy(&f32, (const char *)data + (size_t)i * dtype_size(dtype), sizeof f32);
      if (dtype == DTYPE_F64)
        memcpy(&f64, (const char *)data + (size_t)i * dtype_size(dtype), sizeof f64);
      finite &= dtype == DTYPE_F64 ? isfinite(f64) : isfinite(f32);
    }
    return finite;
  }
  for (int64_t i = 0; i < count; i++) {
    uint16_t bits;
    memcpy(&bits, narrow + i, sizeof bits);
    finite &= (bits & mask) != mask;
  }
  return finite;
}

static enum status resample(const struct importing *importing, const struct weight *weight,
                            const struct parameter *parameter, float **table) {
  const struct clip_config *config = &importing->config;
  float *from = memory_allocate((size_t)weight->elements * sizeof *from, "positional table");
  const enum status status = weight_read(weight, DTYPE_F32, from);
  *table = memory_allocate((size_t)parameter->count * sizeof **table, "positional table");
  if (status == STATUS_OK && text_starts_with(parameter->name, "visual."))
    resample_grid(from, lround(sqrt((double)(weight->shape[0] - 1))), *table, config->image_height / config->patch,
                  config->image_width / config->patch, parameter->shape[1]);
  else if (status == STATUS_OK)
    resample_line(from, weight->shape[0], *table, parameter->shape[0], parameter->shape[1]);
  memory_release(from);
  return status;
}

static enum status write_data(struct importing *importing, const struct parameter *parameter, enum dtype dtype,
                              const void *data) {
  char *name = text_format("model/%s", parameter->name);
  enum status status = is_finite(data, dtype, parameter->count)
                           ? store_write(importing->store, name, dtype, parameter->axes, parameter->shape, data)
                           : error_set(STATUS_INPUT, "%s: %s holds a value that is not finite: the weights are damaged",
                                       importing->file.path, parameter->name);
  memory_release(name);
  return status;
}

/* In the file's own type, so that going back changes no bit. */
static enum status write_parameter(struct importing *importing, const struct parameter *parameter) {
  const struct weight *weight = weight_find(&importing->list, "%s", parameter->name);
  enum dtype dtype = weight_dtype(weight);
  const void *data = NULL;
  void *buffer = NULL;
  enum status status = weight_in_place(weight, &data);
  if (status == STATUS_OK && !same_shape(weight, parameter)) {
    status = resample(importing, weight, parameter, (float **)&buffer);
    dtype = DTYPE_F32;
    data = buffer;
  } else if (status == STATUS_OK && !data) {
    data = buffer = memory_allocate((size_t)parameter->count * dtype_size(dtype), "weight");
    status = weight_read(weight, dtype, buffer);
  }
  if (status == STATUS_OK)
    status = write_data(importing, parameter, dtype, data);
  memory_release(buffer);
  for (int i = 0; i < WEIGHT_PARTS && weight->parts[i]; i++)
    tensor_view_forget(weight->parts[i]);
  return status;
}

static enum status write_all(struct importing *importing) {
  const struct parameters *parameters = &importing->model->parameters;
  int64_t total = 0;
  for (int i = 0; i < parameters->count; i++) {
    const struct weight *weight = weight_find(&importing->list, "%s", parameters->items[i]->name);
    total += weight->elements * (int64_t)dtype_size(weight_dtype(weight));
  }
  for (int i = 0; i < parameters->count; i++) {
    const struct weight *weight = weight_find(&importing->list, "%s", parameters->items[i]->name);
    TRY(write_parameter(importing, parameters->items[i]));
    importing->summary->bytes += weight->elements * (int64_t)dtype_size(weight_dtype(weight));
    importing->summary->parameters += parameters->items[i]->count;
    if (importing->request->progress)
      importing->request->progress(importing->summary->bytes, total);
  }
  for (int i = 0; i < parameters->alias_count; i++) {
    char *name = text_format("model/%s", parameters->aliases[i].of->name),
         *alias = text_format("model/%s", parameters->aliases[i].name);
    const enum status status = store_link(importing->store, name, alias);
    memory_release(name);
    memory_release(alias);
    TRY(status);
  }
  return STATUS_OK;
}

static enum status write_texts(struct importing *importing) {
  struct text json = {0};
  config_write(&importing->config, &json);
  char *provenance = text_format("memclip-import %s\nsource %s\nkind %s\n%s", PACKAGE_VERSION, importing->file.path,
                                 importing->file.what, importing->file.notes.data ? importing->file.notes.data : "");
  enum status status = store_write_text(importing->store, "run/config", json.data);
  if (status == STATUS_OK)
    status = store_write_text(importing->store, "run/provenance", provenance);
  if (status == STATUS_OK)
    status = store_write_text(importing->store, "run/import", importing->report->data);
  memory_release(provenance);
  text_release(&json);
  return status;
}

static enum status write_file(struct importing *importing) {
  TRY(store_create(importing->request->out, &importing->store));
  enum status status = write_all(importing);
  if (status == STATUS_OK)
    status = write_texts(importing);
  if (status == STATUS_OK)
    return store_publish(importing->store);
  store_close(importing->store);
  return status;
}

/* ---- all of it */

/* The model is declared for its names and shapes; it gets no weights. */
static enum status import_into_model(struct importing *importing) {
  struct device *device;
  TRY(device_open("cpu", 1, &device));
  enum status status =
      model_create(&importing->config, device, DTYPE_F32, (struct model_switches){0}, &importing->model);
  if (status == STATUS_OK) {
    status = match_all(importing);
    if (status != STATUS_OK)
      error_context(status, "%s", importing->file.path);
  }
  if (status == STATUS_OK)
    status = write_file(importing);
  model_release(importing->model);
  device_close(device);
  return status;
}

static enum status import_open_file(struct importing *importing) {
  const struct import_request *request = importing->request;
  TRY(weight_list_make(&importing->file, &importing->list));
  text_append_format(importing->report, "%s: %s\n%s", importing->file.path, importing->file.what,
                     importing->file.notes.data ? importing->file.notes.data : "");
  TRY(weight_config_choose(&importing->file, &importing->list, &request->config, &importing->config,
                           importing->report));
  return import_into_model(importing);
}

enum status weight_import(const struct import_request *request, struct import_summary *summary, struct text *report) {
  struct importing importing = {.request = request, .summary = summary, .report = report};
  *summary = (struct import_summary){0};
  TRY(tensor_file_open(request->source, request->key, &importing.file));
  const enum status status = import_open_file(&importing);
  weight_list_release(&importing.list);
  tensor_file_close(&importing.file);
  return status;
}

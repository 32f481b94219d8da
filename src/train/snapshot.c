#include "train/snapshot.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "report/provenance.h"
#include "train/weights.h"
#include <math.h>

/* One table for writing and reading: the name in the file and the place in struct progress. */
static const struct {
  const char *name;
  size_t offset;
  bool whole;
} progress_fields[] = {
    {"progress/step", offsetof(struct progress, step), true},
    {"progress/samples", offsetof(struct progress, samples), true},
    {"progress/updates", offsetof(struct progress, updates), true},
    {"loader/epoch", offsetof(struct progress, epoch), true},
    {"loader/epoch_step", offsetof(struct progress, epoch_step), true},
    {"progress/best_metric", offsetof(struct progress, best), false},
    {"progress/best_step", offsetof(struct progress, best_step), false},
    {"progress/validations_without_gain", offsetof(struct progress, waits), false},
    {"progress/last_validation_step", offsetof(struct progress, last_validation), false},
};
enum { PROGRESS_FIELDS = sizeof progress_fields / sizeof *progress_fields, EXTRA_NUMBERS = 2, KINDS = 3 };
static const char *const kind_prefix[KINDS] = {"model/", "optimizer/exp_avg/", "optimizer/exp_avg_sq/"};

struct snapshot {
  struct session *session;
  struct checkpoint_tensor *tensors;
  struct checkpoint_number numbers[PROGRESS_FIELDS + EXTRA_NUMBERS];
  struct checkpoint_text texts[5];
  struct checkpoint_content content;
  struct text config, provenance;
  char *choices;   /* of matrix products, at the last snapshot; NULL where the device has none */
  float **buffers; /* [tensor_count], NULL for aliases */
};

static void add_tensor(struct snapshot *snapshot, const struct parameter *parameter, const char *name, int kind,
                       const char *alias_of) {
  struct checkpoint_tensor *tensor = &snapshot->tensors[snapshot->content.tensor_count];
  *tensor = (struct checkpoint_tensor){.name = text_format("%s%s", kind_prefix[kind], name),
                                       .dtype = DTYPE_F32,
                                       .bf16_numbers = kind == 0 && parameter->values &&
                                                       session_keeps_values_in_bf16(snapshot->session->settings),
                                       .axes = parameter->axes};
  memcpy(tensor->shape, parameter->shape, (size_t)parameter->axes * sizeof *tensor->shape);
  if (alias_of)
    tensor->alias_of = text_format("%s%s", kind_prefix[kind], alias_of);
  else
    snapshot->buffers[snapshot->content.tensor_count] =
        memory_allocate((size_t)parameter->count * sizeof(float), "checkpoint tensor");
  tensor->data = snapshot->buffers[snapshot->content.tensor_count];
  snapshot->content.tensor_count++;
}

static void list_tensors(struct snapshot *snapshot) {
  const struct parameters *list = &snapshot->session->model->parameters;
  const size_t most = (size_t)(KINDS * (list->count + list->alias_count));
  snapshot->tensors = memory_allocate(most * sizeof *snapshot->tensors, "checkpoint list");
  snapshot->buffers = memory_allocate(most * sizeof *snapshot->buffers, "checkpoint list");
  for (int kind = 0; kind < KINDS; kind++) {
    for (int i = 0; i < list->count; i++)
      if (kind == 0 || list->items[i]->trainable)
        add_tensor(snapshot, list->items[i], list->items[i]->name, kind, NULL);
    for (int i = 0; i < list->alias_count; i++)
      if (kind == 0)
        add_tensor(snapshot, list->aliases[i].of, list->aliases[i].name, kind, list->aliases[i].of->name);
  }
}

struct snapshot *snapshot_open(struct session *session) {
  struct snapshot *snapshot = memory_allocate(sizeof *snapshot, "snapshot");
  snapshot->session = session;
  list_tensors(snapshot);
  config_write(&session->model->config, &snapshot->config);
  provenance_write((const char *const[]){comm_library(), store_library()}, 2, session->device->description, comm_host(),
                   &snapshot->provenance);
  snapshot->texts[0] = (struct checkpoint_text){"run/config", snapshot->config.data};
  snapshot->texts[1] = (struct checkpoint_text){"run/provenance", snapshot->provenance.data};
  snapshot->texts[2] = (struct checkpoint_text){"run/input", session->run->input.data ? session->run->input.data : ""};
  snapshot->texts[3] = (struct checkpoint_text){"run/used", session->run->used.data};
  return snapshot;
}

void snapshot_close(struct snapshot *snapshot) {
  if (!snapshot)
    return;
  for (int64_t i = 0; i < snapshot->content.tensor_count; i++) {
    memory_release((char *)snapshot->tensors[i].name);
    memory_release((char *)snapshot->tensors[i].alias_of);
    memory_release(snapshot->buffers[i]);
  }
  memory_release(snapshot->tensors);
  memory_release(snapshot->buffers);
  text_release(&snapshot->config);
  text_release(&snapshot->provenance);
  memory_release(snapshot->choices);
  memory_release(snapshot);
}

static void copy_tensors(struct snapshot *snapshot) {
  struct parameters *list = &snapshot->session->model->parameters;
  struct device *device = list->device;
  const float *arenas[KINDS] = {NULL, list->first_moment, list->second_moment};
  int64_t at = 0;
  for (int kind = 0; kind < KINDS; kind++)
    for (int i = 0; i < list->count + (kind == 0 ? list->alias_count : 0); i++) {
      const struct parameter *parameter = i < list->count ? list->items[i] : NULL;
      if (kind > 0 && !parameter->trainable)
        continue;
      float *buffer = snapshot->buffers[at++];
      if (buffer)
        device->op->copy_out(device, buffer, kind == 0 ? parameter->master : arenas[kind] + parameter->offset,
                             (size_t)parameter->count * sizeof *buffer);
    }
}

static void add_choices(struct snapshot *snapshot) {
  struct device *device = snapshot->session->device;
  if (!device->choices)
    return;
  memory_release(snapshot->choices);
  snapshot->choices = device->choices->write(device, 0);
  snapshot->texts[snapshot->content.text_count++] = (struct checkpoint_text){"run/products", snapshot->choices};
}

const struct checkpoint_content *snapshot_take(struct snapshot *snapshot, const struct progress *progress) {
  copy_tensors(snapshot);
  for (int i = 0; i < PROGRESS_FIELDS; i++) {
    const char *place = (const char *)progress + progress_fields[i].offset;
    snapshot->numbers[i] = (struct checkpoint_number){
        progress_fields[i].name, progress_fields[i].whole ? (double)*(const int64_t *)place : *(const double *)place};
  }
  snapshot->numbers[PROGRESS_FIELDS] =
      (struct checkpoint_number){"progress/global_batch", (double)snapshot->session->global_batch};
  /* 52 bits are exact in a double: enough to notice other data */
  snapshot->numbers[PROGRESS_FIELDS + 1] =
      (struct checkpoint_number){"loader/fingerprint", (double)(source_fingerprint(snapshot->session->train) >> 12)};
  snapshot->content.tensors = snapshot->tensors;
  snapshot->content.numbers = snapshot->numbers;
  snapshot->content.number_count = PROGRESS_FIELDS + EXTRA_NUMBERS;
  snapshot->content.texts = snapshot->texts;
  snapshot->content.text_count = 4;
  add_choices(snapshot);
  return &snapshot->content;
}

static enum status restore_progress(struct store *store, struct progress *progress) {
  for (int i = 0; i < PROGRESS_FIELDS; i++) {
    double value;
    TRY(store_read_number(store, progress_fields[i].name, &value));
    char *place = (char *)progress + progress_fields[i].offset;
    if (progress_fields[i].whole)
      *(int64_t *)place = (int64_t)value;
    else
      *(double *)place = value;
  }
  return STATUS_OK;
}

static enum status restore_moments(struct store *store, struct parameters *list) {
  float *arenas[KINDS] = {NULL, list->first_moment, list->second_moment};
  enum status status = STATUS_OK;
  for (int kind = 1; kind < KINDS; kind++)
    for (int i = 0; i < list->count && status == STATUS_OK; i++) {
      const struct parameter *parameter = list->items[i];
      if (!parameter->trainable)
        continue;
      char *name = text_format("%s%s", kind_prefix[kind], parameter->name);
      float *buffer = memory_allocate((size_t)parameter->count * sizeof *buffer, "moments being read");
      status = store_read(store, name, DTYPE_F32, parameter->count, buffer);
      if (status == STATUS_OK)
        list->device->op->copy_in(list->device, arenas[kind] + parameter->offset, buffer,
                                  (size_t)parameter->count * sizeof *buffer);
      memory_release(buffer);
      memory_release(name);
    }
  return status;
}

static enum status check_data(struct store *store, const struct session *session) {
  double batch, fingerprint;
  TRY(store_read_number(store, "progress/global_batch", &batch));
  TRY(store_read_number(store, "loader/fingerprint", &fingerprint));
  if (run_resets(session->run, "data"))
    return STATUS_OK;
  if ((int64_t)batch != session->global_batch)
    return error_set(
        STATUS_INPUT,
        "the checkpoint was made with a global batch of %lld, this run has %lld: set data.global_batch = %lld",
        (long long)batch, (long long)session->global_batch, (long long)batch);
  if (fingerprint != (double)(source_fingerprint(session->train) >> 12))
    return error_set(STATUS_INPUT, "data.train are not the samples that the checkpoint was made with (names, sizes or "
                                   "counts differ): restore them, or branch with run.resume_reset = 'data'");
  return STATUS_OK;
}

static void start_anew(const struct run *run, struct progress *progress) {
  if (run->branched) {
    progress->best = NAN;
    progress->best_step = progress->waits = 0;
    progress->last_validation = -1;
  }
  if (run_resets(run, "data"))
    progress->epoch = progress->epoch_step = 0;
  if (run_resets(run, "schedule"))
    progress->step = 0;
  if (run_resets(run, "optimizer"))
    progress->updates = 0;
}

static enum status restore(struct store *store, struct session *session, struct progress *progress) {
  TRY(check_data(store, session));
  TRY(restore_progress(store, progress));
  if (!run_resets(session->run, "optimizer"))
    TRY(restore_moments(store, &session->model->parameters));
  start_anew(session->run, progress);
  return STATUS_OK;
}

enum status snapshot_restore(const char *path, struct session *session, struct progress *progress) {
  struct weights_summary summary;
  struct store *store;
  TRY(weights_load(path, session->model, &summary));
  TRY(store_open(path, &store));
  enum status status = restore(store, session, progress);
  store_close(store);
  return status == STATUS_OK ? STATUS_OK : error_context(status, "%s", path);
}

static enum status check_moments(struct store *store, const char *path, const struct parameters *list) {
  for (int kind = 1; kind < KINDS; kind++)
    for (int i = 0; i < list->count; i++) {
      if (!list->items[i]->trainable)
        continue;
      char *name = text_format("%s%s", kind_prefix[kind], list->items[i]->name);
      const enum status status = weights_check_shape(store, path, name, list->items[i]);
      memory_release(name);
      TRY(status);
    }
  return STATUS_OK;
}

enum status snapshot_check(const char *path, const struct session *session) {
  struct store *store;
  struct progress progress;
  double batch;
  TRY(weights_check(path, session->model));
  TRY(store_open(path, &store));
  enum status status = restore_progress(store, &progress);
  if (status == STATUS_OK)
    status = store_read_number(store, "progress/global_batch", &batch);
  if (status == STATUS_OK && !run_resets(session->run, "optimizer"))
    status = check_moments(store, path, &session->model->parameters);
  store_close(store);
  return status;
}

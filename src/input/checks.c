/* The keys against each other: what can be known from the input alone, before any file is opened. */
#include "base/memory.h"
#include "input/reading.h"
#include "input/value.h"
#include <string.h>

/* Blames the key: with its place if the input gives it, by name if it stands at its default. */
static enum status blame(const struct reading *reading, const char *group, const char *name, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static enum status blame(const struct reading *reading, const char *group, const char *name, const char *format, ...) {
  const struct key *key = key_find(group, name);
  if (!key)
    fatal("there is no key %s.%s", group, name);
  struct text what = {0};
  va_list arguments;
  va_start(arguments, format);
  char *rest = text_format_list(format, arguments);
  va_end(arguments);
  text_append_format(&what, "%s.%s %s", group, name, rest);
  const struct namelist_item *item = reading->given[key - key_table];
  enum status status =
      item ? value_fail(item, NULL, "%s", what.data) : error_set(STATUS_INPUT, "%s: %s", reading->source, what.data);
  text_release(&what);
  memory_release(rest);
  return status;
}

static bool is(const char *a, const char *b) {
  return strcmp(a, b) == 0;
}

static bool empty(const char *text) {
  return text[0] == '\0';
}

static bool is_training(const struct settings *s) {
  return is(s->run.stage, "pretrain") || is(s->run.stage, "distill") || is(s->run.stage, "finetune");
}

static enum status check_reset(const struct reading *reading) {
  const struct run_settings *run = &reading->settings->run;
  for (const char *p = run->resume_reset; *p; p += strspn(p, ", ")) {
    size_t length = strcspn(p, ", ");
    bool known = (length == 4 && !strncmp(p, "data", 4)) || (length == 8 && !strncmp(p, "schedule", 8)) ||
                 (length == 9 && !strncmp(p, "optimizer", 9));
    if (!known)
      return blame(reading, "run", "resume_reset",
                   "holds '%.*s', but takes data, schedule and optimizer, separated by commas", (int)length, p);
    p += length;
  }
  if (!empty(run->resume_reset) && is(run->resume, "auto"))
    return blame(reading, "run", "resume_reset", "needs run.resume='PATH' of the checkpoint to branch from");
  return STATUS_OK;
}

static enum status check_run(const struct reading *reading) {
  const struct settings *s = reading->settings;
  if (empty(s->run.stage))
    return blame(reading, "run", "stage", "must be given: one of pretrain, distill, finetune, eval, segment");
  if (empty(s->run.directory))
    return blame(reading, "run", "directory", "must be given: the folder for the run's files");
  return is_training(s) ? check_reset(reading) : STATUS_OK;
}

static enum status check_model(const struct reading *reading) {
  const struct settings *s = reading->settings;
  const struct model_settings *model = &s->model;
  bool from_teacher = is(s->run.stage, "distill"),
       from_checkpoints = is(s->run.stage, "eval") && s->eval.checkpoints.count > 0;
  if (is(s->run.stage, "pretrain") && empty(model->config) && empty(model->weights))
    return blame(reading, "model", "config", "must be given when there are no weights to begin with");
  if (!is(s->run.stage, "pretrain") && empty(model->weights) && !from_teacher && !from_checkpoints)
    return blame(reading, "model", "weights", "must be given for the stage %s", s->run.stage);
  if (model->image_mean.count != 0 && model->image_mean.count != 3)
    return blame(reading, "model", "image_mean", "takes three values (red, green, blue), not %d",
                 model->image_mean.count);
  if (model->image_std.count != 0 && model->image_std.count != 3)
    return blame(reading, "model", "image_std", "takes three values (red, green, blue), not %d",
                 model->image_std.count);
  if (model->train.count == 0)
    return blame(reading, "model", "train", "is empty: nothing would be trained");
  return STATUS_OK;
}

static enum status check_teacher(const struct reading *reading) {
  const struct settings *s = reading->settings;
  bool asked = false;
  for (int i = 0; is(s->run.stage, "eval") && i < s->eval.text.count; i++)
    asked |= is(s->eval.text.items[i], "teacher");
  if ((is(s->run.stage, "distill") || asked) && empty(s->teacher.weights))
    return blame(reading, "teacher", "weights", "must be given: %s",
                 asked ? "eval.text asks for the teacher's text tower" : "distill imitates it");
  if (!is(s->run.stage, "distill"))
    return STATUS_OK;
  if (!empty(s->teacher.cache) && is(s->data.augment, "crop"))
    return blame(reading, "teacher", "cache",
                 "needs data.augment='crop_fixed' or 'none': with 'crop' every epoch shows the teacher other images");
  if (!s->memory.present && s->model.train.count == 1 && is(s->model.train.items[0], "default"))
    return blame(reading, "model", "train",
                 "is 'default', which trains the memory in distill, but there is no group &memory");
  return STATUS_OK;
}

static enum status check_memory(const struct reading *reading) {
  const struct memory_settings *memory = &reading->settings->memory;
  if (!memory->present)
    return STATUS_OK;
  if (memory->layers.count == 0)
    return blame(reading, "memory", "layers", "must be given, such as layers = 2,4,6,8,10");
  for (int i = 0; i < memory->layers.count; i++)
    for (int j = 0; j < i; j++)
      if (memory->layers.items[i] == memory->layers.items[j])
        return blame(reading, "memory", "layers", "names block %lld twice", (long long)memory->layers.items[i]);
  if (memory->knn > memory->n_keys)
    return blame(reading, "memory", "knn", "is %lld, but must not exceed n_keys (%lld)", (long long)memory->knn,
                 (long long)memory->n_keys);
  if (memory->k_dim % 2 != 0)
    return blame(reading, "memory", "k_dim", "is %lld, but must be even: a query has two halves",
                 (long long)memory->k_dim);
  if (memory->peer && memory->v_dim != 0)
    return blame(reading, "memory", "v_dim", "must be 0 with peer: experts are as wide as the tower");
  if (memory->peer && memory->shard_ranks != 1)
    return blame(reading, "memory", "shard_ranks", "must be 1 with peer");
  if (memory->v_dim % memory->shard_ranks != 0)
    return blame(reading, "memory", "shard_ranks", "is %lld, but must divide v_dim (%lld)",
                 (long long)memory->shard_ranks, (long long)memory->v_dim);
  return STATUS_OK;
}

static enum status check_pair(const struct reading *reading, const char *name, const struct real_list *list) {
  if (list->count != 2)
    return blame(reading, "data", name, "takes two values, the smallest and the largest, not %d", list->count);
  if (list->items[0] > list->items[1])
    return blame(reading, "data", name, "begins with %g, which is larger than its end %g", list->items[0],
                 list->items[1]);
  return STATUS_OK;
}

static enum status check_weights(const struct reading *reading) {
  const struct data_settings *data = &reading->settings->data;
  double sum = 0;
  for (int i = 0; i < data->weights.count; i++)
    sum += data->weights.items[i];
  if (data->weights.count == 0)
    return STATUS_OK;
  if (data->weights.count != data->train.count)
    return blame(reading, "data", "weights", "has %d values for %d patterns in data.train", data->weights.count,
                 data->train.count);
  if (!data->resampled)
    return blame(reading, "data", "weights",
                 "needs data.resampled=.true.: without it every sample is seen once per epoch");
  if (!(sum > 0))
    return blame(reading, "data", "weights", "must not all be 0");
  return STATUS_OK;
}

static enum status check_colors(const struct reading *reading) {
  const struct data_settings *data = &reading->settings->data;
  if (data->color_jitter.count != 0 && data->color_jitter.count != 4)
    return blame(reading, "data", "color_jitter", "takes four values (brightness, contrast, saturation, hue), not %d",
                 data->color_jitter.count);
  if (data->color_jitter.count == 4 && data->color_jitter.items[3] > 0.5)
    return blame(reading, "data", "color_jitter", "turns the hue by up to %g; half a turn, 0.5, reaches every hue",
                 data->color_jitter.items[3]);
  if (data->color_jitter_prob > 0 && data->color_jitter.count == 0)
    return blame(reading, "data", "color_jitter_prob", "is %g, but data.color_jitter is not given",
                 data->color_jitter_prob);
  if ((data->color_jitter_prob > 0 || data->gray_scale_prob > 0) && is(data->augment, "none"))
    return blame(reading, "data", data->color_jitter_prob > 0 ? "color_jitter_prob" : "gray_scale_prob",
                 "changes training crops, but data.augment is 'none'");
  return STATUS_OK;
}

static enum status check_data(const struct reading *reading) {
  const struct settings *s = reading->settings;
  const struct data_settings *data = &s->data;
  if (strlen(data->csv_separator) > 1)
    return blame(reading, "data", "csv_separator", "takes one character, not '%s'", data->csv_separator);
  if (!is_training(s))
    return STATUS_OK;
  if (data->train.count == 0)
    return blame(reading, "data", "train", "must be given for the stage %s", s->run.stage);
  if (data->global_batch % data->batch_size != 0)
    return blame(reading, "data", "global_batch", "is %lld, but must be a multiple of batch_size (%lld)",
                 (long long)data->global_batch, (long long)data->batch_size);
  TRY(check_weights(reading));
  TRY(check_pair(reading, "crop_scale", &data->crop_scale));
  TRY(check_pair(reading, "crop_ratio", &data->crop_ratio));
  return check_colors(reading);
}

static enum status check_loss(const struct reading *reading) {
  const struct settings *s = reading->settings;
  if (!is_training(s) || is(s->run.stage, "distill"))
    return STATUS_OK;
  if (!(s->loss.long_weight + s->loss.short_weight > 0))
    return blame(reading, "loss", "long_weight", "and short_weight are both 0: there is nothing to minimise");
  if (s->loss.short_weight > 0 && is(s->data.short_caption, "none"))
    return blame(reading, "loss", "short_weight", "is %g, but data.short_caption is 'none'", s->loss.short_weight);
  return STATUS_OK;
}

static enum status check_optim(const struct reading *reading) {
  const struct settings *s = reading->settings;
  const struct optim_settings *optim = &s->optim;
  if (!is_training(s))
    return STATUS_OK;
  if (optim->max_steps > 0 && optim->warmup_steps >= optim->max_steps)
    return blame(reading, "optim", "warmup_steps", "is %lld, but the run ends at step %lld (optim.max_steps)",
                 (long long)optim->warmup_steps, (long long)optim->max_steps);
  if (is(optim->schedule, "const-cooldown") && (optim->cooldown_epochs < 1 || optim->cooldown_epochs > optim->epochs))
    return blame(reading, "optim", "cooldown_epochs", "is %lld, but const-cooldown needs 1 to %lld (optim.epochs)",
                 (long long)optim->cooldown_epochs, (long long)optim->epochs);
  if (!is(s->early_stop.metric, "auto") && !text_starts_with(s->early_stop.metric, "val/"))
    return blame(reading, "early_stop", "metric", "is '%s', but must be 'auto' or begin with val/",
                 s->early_stop.metric);
  if (s->early_stop.patience > 0 && s->data.val.count == 0)
    return blame(reading, "early_stop", "patience", "needs held-out samples in data.val");
  return STATUS_OK;
}

static const char *root_of(const struct eval_settings *eval, const char *dataset) {
  const struct {
    const char *name, *root;
  } roots[] = {{"coco", eval->coco_root},
               {"flickr30k", eval->flickr30k_root},
               {"iiw", eval->iiw_root},
               {"docci", eval->docci_root},
               {"urban1k", eval->urban1k_root},
               {"dci", eval->dci_root},
               {"sharegpt4v-1k", eval->sharegpt4v_root},
               {"sharegpt4v-10k", eval->sharegpt4v_root}};
  for (size_t i = 0; i < sizeof roots / sizeof roots[0]; i++)
    if (is(roots[i].name, dataset) && !empty(roots[i].root))
      return roots[i].root;
  return eval->root;
}

static enum status check_eval(const struct reading *reading) {
  const struct settings *s = reading->settings;
  const struct eval_settings *eval = &s->eval;
  if (!is(s->run.stage, "eval"))
    return STATUS_OK;
  bool own = eval->datasets.count == 0;
  for (int i = 0; i < eval->datasets.count; i++) {
    const char *name = eval->datasets.items[i];
    const bool shards = text_starts_with(name, "val") || is(name, "csv");
    own |= shards;
    if (!shards && empty(root_of(eval, name)))
      return blame(reading, "eval", "root", "must be given, or the root of %s itself", name);
  }
  if (own && s->data.val.count == 0)
    return blame(reading, "data", "val", "must be given, or data sets in eval.datasets");
  int models = eval->checkpoints.count > 0 ? eval->checkpoints.count : 1;
  if (eval->labels.count != 0 && eval->labels.count != models)
    return blame(reading, "eval", "labels", "has %d names for %d models", eval->labels.count, models);
  for (int i = 0; i < eval->labels.count; i++)
    if (empty(eval->labels.items[i]) || strchr(eval->labels.items[i], '/'))
      return blame(reading, "eval", "labels", "holds '%s', which cannot be part of a file name", eval->labels.items[i]);
  return STATUS_OK;
}

static enum status check_segment(const struct reading *reading) {
  const struct settings *s = reading->settings;
  if (!is(s->run.stage, "segment"))
    return STATUS_OK;
  if (empty(s->segment.root))
    return blame(reading, "segment", "root", "must be given: the folder of %s", s->segment.dataset);
  if (empty(s->segment.classes))
    return blame(reading, "segment", "classes", "must be given: a text file with a class per line");
  return STATUS_OK;
}

enum status checks_run(const struct reading *reading) {
  static enum status (*const checks[])(const struct reading *) = {check_run,    check_model, check_teacher,
                                                                  check_memory, check_data,  check_loss,
                                                                  check_optim,  check_eval,  check_segment};
  for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
    TRY(checks[i](reading));
  return STATUS_OK;
}

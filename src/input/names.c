/* What to say about a group or a key that does not exist. */
#include "base/memory.h"
#include "input/reading.h"
#include "input/value.h"
#include <string.h>

/* Names under which people look for a key, from other programs of the field. */
static const struct {
  const char *other, *group, *key;
} synonyms[] = {
    {"learning_rate", "optim", "lr"},
    {"wd", "optim", "weight_decay"},
    {"warmup", "optim", "warmup_steps"},
    {"accum_freq", "optim", "accumulation"},
    {"grad_clip_norm", "optim", "clip_norm"},
    {"lr_scheduler", "optim", "schedule"},
    {"lr_cooldown_end", "optim", "cooldown_end"},
    {"lr_cooldown_power", "optim", "cooldown_power"},
    {"epochs_cooldown", "optim", "cooldown_epochs"},
    {"wd_exclude", "optim", "no_decay"},
    {"image_layer_decay", "optim", "vision_layer_decay"},
    {"visual_layer_decay", "optim", "vision_layer_decay"},
    {"train_data", "data", "train"},
    {"val_data", "data", "val"},
    {"train_num_samples", "data", "samples_per_epoch"},
    {"train_data_upsampling_factors", "data", "weights"},
    {"dataset_type", "data", "format"},
    {"dataset_resampled", "data", "resampled"},
    {"workers", "data", "loader_threads"},
    {"json_text_key", "data", "caption"},
    {"json_text_key_probs", "data", "caption_weights"},
    {"csv_img_key", "data", "csv_image"},
    {"csv_caption_key", "data", "csv_caption"},
    {"context_len", "data", "context_length"},
    {"pretrained", "model", "weights"},
    {"model", "model", "config"},
    {"grad_checkpointing", "model", "gradient_checkpointing"},
    {"force_patch_dropout", "model", "patch_dropout"},
    {"force_quick_gelu", "model", "activation"},
    {"student_model", "model", "weights"},
    {"distill_model", "teacher", "config"},
    {"distill_pretrained", "teacher", "weights"},
    {"loss_type", "loss", "distill"},
    {"logs", "run", "directory"},
    {"output_dir", "run", "directory"},
    {"log_every_n_steps", "run", "log_every"},
    {"save_frequency", "checkpoint", "every_epochs"},
    {"val_frequency", "validation", "every_epochs"},
    {"early_stop_patience", "early_stop", "patience"},
    {"early_stop_min_delta", "early_stop", "min_delta"},
    {"mem_layers", "memory", "layers"},
    {"value_fixed_lr", "memory", "value_lr"},
};

enum status name_unknown_group(const char *place, const char *name) {
  const char *names[32];
  struct text all = {0};
  for (size_t i = 0; i < key_group_count; i++) {
    names[i] = key_group_table[i].name;
    text_append_format(&all, "%s&%s", i > 0 ? ", " : "", names[i]);
  }
  const char *nearest = text_nearest(name, names, key_group_count);
  if (nearest)
    error_set(STATUS_INPUT, "%s: there is no group &%s; did you mean &%s?", place, name, nearest);
  else
    error_set(STATUS_INPUT, "%s: there is no group &%s; the groups are %s", place, name, all.data);
  text_release(&all);
  return STATUS_INPUT;
}

static const struct key *find_synonym(const char *name) {
  for (size_t i = 0; i < sizeof synonyms / sizeof synonyms[0]; i++)
    if (strcmp(synonyms[i].other, name) == 0)
      return key_find(synonyms[i].group, synonyms[i].key);
  return text_starts_with(name, "mem_") ? key_find("memory", name + 4) : NULL;
}

static const struct key *find_elsewhere(const char *name) {
  for (size_t i = 0; i < key_table_count; i++)
    if (strcmp(key_table[i].name, name) == 0)
      return &key_table[i];
  return NULL;
}

/* The nearest name among the keys of a group, or of all groups when `group` is NULL. */
static const struct key *find_nearest(const char *group, const char *name) {
  const char **names = memory_allocate(key_table_count * sizeof *names, "names");
  const struct key *found = NULL;
  size_t count = 0;
  for (size_t i = 0; i < key_table_count; i++)
    if (!group || strcmp(key_table[i].group, group) == 0)
      names[count++] = key_table[i].name;
  const char *nearest = text_nearest(name, names, count);
  for (size_t i = 0; i < key_table_count && nearest && !found; i++)
    if (key_table[i].name == nearest && (!group || strcmp(key_table[i].group, group) == 0))
      found = &key_table[i];
  memory_release(names);
  return found;
}

enum status name_unknown_key(const struct namelist_item *item) {
  const struct key *elsewhere = find_elsewhere(item->key);
  if (elsewhere)
    return value_fail(item, NULL, "there is no key %s in &%s: it belongs to &%s", item->key, item->group,
                      elsewhere->group);
  const struct key *near = find_nearest(item->group, item->key);
  if (!near)
    near = find_synonym(item->key);
  if (!near)
    near = find_nearest(NULL, item->key);
  if (!near)
    return value_fail(item, NULL, "there is no key %s in &%s; \"memclip --describe %s\" lists them", item->key,
                      item->group, item->group);
  if (strcmp(near->group, item->group) == 0)
    return value_fail(item, NULL, "there is no key %s in &%s; did you mean %s?", item->key, item->group, near->name);
  return value_fail(item, NULL, "there is no key %s in &%s; did you mean %s of &%s?", item->key, item->group,
                    near->name, near->group);
}

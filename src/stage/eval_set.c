/* The list of data sets that eval knows, and how each is opened. */
#include "stage/eval_set.h"
#include "base/checksum.h"
#include "base/file.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "data/captions.h"
#include "train/bad_samples.h"
#include "report/report.h"
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

static enum status open_val(struct session *session, struct eval_set *set);
static enum status open_csv(struct session *session, struct eval_set *set);
static enum status open_benchmark(struct session *session, struct eval_set *set);

static const struct set_kind {
  const char *name, *result_name; /* result_name: of the thesis's evaluators */
  enum status (*open)(struct session *session, struct eval_set *set);
  size_t root; /* of a benchmark: the place of its root in struct eval_settings */
} kinds[] = {
    {"coco", "coco", open_benchmark, offsetof(struct eval_settings, coco_root)},
    {"flickr30k", "flickr", open_benchmark, offsetof(struct eval_settings, flickr30k_root)},
    {"iiw", "iiw", open_benchmark, offsetof(struct eval_settings, iiw_root)},
    {"docci", "docci", open_benchmark, offsetof(struct eval_settings, docci_root)},
    {"urban1k", "urban_1k", open_benchmark, offsetof(struct eval_settings, urban1k_root)},
    {"dci", "dci", open_benchmark, offsetof(struct eval_settings, dci_root)},
    {"sharegpt4v-1k", "sharegpt4v-1k", open_benchmark, offsetof(struct eval_settings, sharegpt4v_root)},
    {"sharegpt4v-10k", "sharegpt4v-10k", open_benchmark, offsetof(struct eval_settings, sharegpt4v_root)},
    {"val", "val", open_val, 0},
    {"val-short", "val-short", open_val, 0},
    {"val-lines", "val-lines", open_val, 0},
    {"csv", "csv", open_csv, 0},
};

static const struct set_kind *find_kind(const char *name) {
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
    if (strcmp(kinds[i].name, name) == 0)
      return &kinds[i];
  return NULL;
}

static void add_text(struct eval_set *set, int64_t image, const char *words) {
  const int64_t number = set->text_count++;
  if ((number & (number - 1)) == 0) {
    const size_t capacity = number ? 2 * (size_t)number : 1;
    set->texts = memory_resize(set->texts, capacity * sizeof *set->texts, "evaluation texts");
    set->image_of_text = memory_resize(set->image_of_text, capacity * sizeof *set->image_of_text, "evaluation texts");
  }
  set->texts[number] = memory_copy_string(words, "evaluation texts");
  set->image_of_text[number] = image;
}

/* Whole captions, first sentences, or (CLIP_benchmark's form) one caption per line. */
static void add_caption(struct eval_set *set, int64_t image, struct text *caption) {
  if (strcmp(set->name, "val-lines") == 0) {
    char *rest = caption->data;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;)
      if (line[0] && strcmp(line, "\r") != 0)
        add_text(set, image, line);
    return;
  }
  if (strcmp(set->name, "val-short") == 0)
    caption_shorten(caption);
  add_text(set, image, caption->data);
}

static void read_captions(struct eval_set *set) {
  struct text caption = {0};
  for (int64_t i = 0; i < set->image_count; i++) {
    text_clear(&caption);
    text_append_string(&caption, "");
    if (source_read(set->source, i, NULL, &caption) == STATUS_OK) {
      add_caption(set, i, &caption);
      continue;
    }
    bad_samples_note_failure(set->source, i);
    set->bad_texts++;
    add_text(set, i, "");
  }
  text_release(&caption);
}

static enum status open_val(struct session *session, struct eval_set *set) {
  if (!session->val)
    TRY(session_open_validation_data(session));
  if (!session->val)
    return error_set(STATUS_INPUT, "eval.datasets names '%s', but data.val is empty", set->name);
  set->source = session->val;
  set->source_is_borrowed = true;
  set->image_count = source_count(session->val);
  set->origin = memory_copy_string(session->settings->data.val.items[0], "origin");
  set->note = strcmp(set->name, "val") == 0         ? "whole captions of data.val"
              : strcmp(set->name, "val-short") == 0 ? "first sentences of data.val's captions"
                                                    : "lines of data.val's captions, each one caption of its image";
  read_captions(set);
  TRY(bad_samples_check((double)set->bad_texts, (double)set->image_count, session->settings->data.bad_sample_limit,
                        set->name));
  if (strcmp(set->name, "val") == 0)
    eval_set_read_facts(set);
  return STATUS_OK;
}

/* The annotations become the set: images are files, texts and owners are taken over. */
static enum status adopt_annotations(struct eval_set *set) {
  struct annotations *annotations = &set->annotations;
  set->image_count = annotations->image_count;
  set->text_count = annotations->text_count;
  set->texts = annotations->texts;
  set->image_of_text = annotations->image_of_text;
  set->origin = memory_copy_string(annotations->origin, "origin");
  set->note = annotations->note;
  return source_open_files(annotations->names, annotations->files, annotations->image_count, &set->source);
}

static enum status open_csv(struct session *session, struct eval_set *set) {
  const struct data_settings *data = &session->settings->data;
  if (data->val.count != 1 || strcmp(data->format, "webdataset") == 0)
    return error_set(STATUS_INPUT, "eval.datasets names 'csv': data.val must be one csv file");
  TRY(annotations_read_csv(data->val.items[0],
                           &(struct csv_form){data->csv_separator, data->csv_image, data->csv_caption},
                           &set->annotations));
  return adopt_annotations(set);
}

/* The set's own root; else eval.root, or its subfolder of the set's name when several sets share it. TULIP's data
 * folder holds all of them in Datasets/. */
static char *root_of(const struct settings *settings, const struct set_kind *kind) {
  const struct eval_settings *eval = &settings->eval;
  const char *own = *(char *const *)((const char *)eval + kind->root);
  if (own[0])
    return memory_copy_string(own, "root");
  char *folder = memory_copy_string(kind->name, "root"), *shared = text_join_path(eval->root, "Datasets");
  folder[strcspn(folder, "-")] = '\0'; /* both of sharegpt4v share a folder */
  char *below = text_join_path(eval->root, folder);
  const bool whole = strcmp(eval->protocol, "tulip") == 0 && file_is_directory(shared);
  const bool alone = eval->datasets.count == 1 && !file_is_directory(below);
  char *root = whole || alone ? memory_copy_string(eval->root, "root") : memory_copy_string(below, "root");
  memory_release(folder);
  memory_release(shared);
  memory_release(below);
  return root;
}

static void compare_counts(const struct eval_set *set) {
  const struct annotations *annotations = &set->annotations;
  if (annotations->published_images && annotations->published_images != set->image_count)
    report_warning("%s: %" PRId64 " images, the published files have %" PRId64, set->name, set->image_count,
                   annotations->published_images);
  if (annotations->published_texts && annotations->published_texts != set->text_count)
    report_warning("%s: %" PRId64 " captions, the published files have %" PRId64, set->name, set->text_count,
                   annotations->published_texts);
}

static enum status open_benchmark(struct session *session, struct eval_set *set) {
  const struct settings *settings = session->settings;
  char *root = root_of(settings, find_kind(set->name));
  const enum protocol protocol = strcmp(settings->eval.protocol, "tulip") == 0 ? PROTOCOL_TULIP : PROTOCOL_FLAIR;
  enum status status = annotations_read(set->name, root, protocol, &set->annotations);
  memory_release(root);
  TRY(status);
  TRY(adopt_annotations(set));
  compare_counts(set);
  return STATUS_OK;
}

static uint32_t checksum_strings(uint32_t checksum, char *const *strings, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    checksum = checksum_crc32c(checksum, strings[i], strlen(strings[i]) + 1);
  return checksum;
}

static uint32_t checksum_of(const struct eval_set *set) {
  uint32_t checksum = checksum_strings(0, set->texts, set->text_count);
  checksum = checksum_strings(checksum, set->negatives, set->negative_count);
  for (int64_t i = 0; i < set->image_count; i++) {
    const char *key = source_key(set->source, i);
    checksum = checksum_crc32c(checksum, key, strlen(key) + 1);
  }
  return checksum_crc32c(checksum, set->image_of_text, (size_t)set->text_count * sizeof *set->image_of_text);
}

/* Hosts may hold different files, and a file may be unreadable on one alone: what the ranks count together must be the
 * same. */
static enum status compare_ranks(const struct eval_set *set) {
  const int64_t mine[] = {set->image_count, set->text_count, set->negative_count, set->checksum, set->group != NULL};
  enum { COUNT = sizeof mine / sizeof *mine };
  int64_t range[2 * COUNT];
  for (int i = 0; i < COUNT; i++) {
    range[i] = mine[i];
    range[COUNT + i] = -mine[i];
  }
  comm_all_reduce(range, 2 * COUNT, DTYPE_I64, COMM_MAX);
  for (int i = 0; i < COUNT; i++)
    if (range[i] != -range[COUNT + i])
      return error_set(STATUS_INPUT, "%s: the ranks read different images or captions from %s: give all hosts the same",
                       set->name, set->origin);
  return STATUS_OK;
}

static enum status open_set(struct session *session, const char *name, struct eval_set *set) {
  const struct set_kind *kind = find_kind(name);
  if (!kind)
    return error_set(STATUS_INPUT, "eval.datasets: '%s' is not known", name);
  *set = (struct eval_set){.name = kind->name, .result_name = kind->result_name, .in_training = -1};
  TRY(comm_agree(kind->open(session, set))); /* a file may be missing on one host alone */
  if (set->text_count == 0)
    return error_set(STATUS_INPUT, "%s: no captions in %s", name, set->origin);
  set->checksum = checksum_of(set);
  TRY(compare_ranks(set));
  report_message("%s: %" PRId64 " images, %" PRId64 " captions from %s: %s", name, set->image_count, set->text_count,
                 set->origin, set->note);
  return STATUS_OK;
}

enum status eval_sets_open(struct session *session, struct eval_set **sets, int *count) {
  static char *const only_val[] = {"val"};
  const struct text_list *names = &session->settings->eval.datasets;
  const int wanted = names->count ? names->count : 1;
  *sets = memory_allocate((size_t)wanted * sizeof **sets, "evaluation sets");
  for (*count = 0; *count < wanted; ++*count) {
    enum status status = open_set(session, (names->count ? names->items : only_val)[*count], &(*sets)[*count]);
    if (status != STATUS_OK) {
      ++*count;
      return status;
    }
  }
  return eval_sets_find_leaks(session, *sets, *count);
}

static void release_strings(char **strings, int64_t count) {
  for (int64_t i = 0; strings && i < count; i++)
    memory_release(strings[i]);
  memory_release(strings);
}

void eval_set_close(struct eval_set *set) {
  if (!set->source_is_borrowed)
    source_close(set->source);
  if (set->annotations.texts) { /* texts and owners are theirs */
    set->texts = NULL;
    set->image_of_text = NULL;
  }
  annotations_release(&set->annotations);
  release_strings(set->texts, set->text_count);
  release_strings(set->negatives, set->negative_count);
  release_strings(set->kinds, set->negative_count);
  void *blocks[] = {set->image_of_text,
                    set->image_of_negative,
                    set->text_of_negative,
                    set->group,
                    set->ids,
                    set->end,
                    set->unique,
                    set->tokens,
                    set->origin};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    memory_release(blocks[i]);
}

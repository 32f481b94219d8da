#include "stage/eval_set.h"
#include "base/memory.h"
#include "data/captions.h"
#include "train/encode.h"
#include <jansson.h>

static enum status read_texts(struct eval_set *set, bool short_captions) {
  struct text caption = {0};
  enum status status = STATUS_OK;
  for (int64_t i = 0; i < set->image_count && status == STATUS_OK; i++) {
    text_clear(&caption);
    text_append_string(&caption, "");
    status = source_read(set->source, i, NULL, &caption);
    if (status == STATUS_OK && short_captions)
      caption_shorten(&caption);
    set->texts[i] = memory_copy_string(status == STATUS_OK ? caption.data : "", "evaluation texts");
    set->image_of_text[i] = i;
  }
  text_release(&caption);
  return status;
}

static void add_negative(struct eval_set *set, int64_t image, const char *wrong, const char *kind) {
  const size_t count = (size_t)set->negative_count + 1;
  set->negatives = memory_resize(set->negatives, count * sizeof *set->negatives, "negatives");
  set->kinds = memory_resize(set->kinds, count * sizeof *set->kinds, "negatives");
  set->image_of_negative = memory_resize(set->image_of_negative, count * sizeof *set->image_of_negative, "negatives");
  set->text_of_negative = memory_resize(set->text_of_negative, count * sizeof *set->text_of_negative, "negatives");
  set->negatives[count - 1] = memory_copy_string(wrong, "negatives");
  set->kinds[count - 1] = memory_copy_string(kind, "negatives");
  set->image_of_negative[count - 1] = set->text_of_negative[count - 1] = image;
  set->negative_count++;
}

/* Facts of a drawn scene from its JSON member; a sample without them ends the search. */
static bool read_facts(struct eval_set *set, int64_t image) {
  struct text bytes = {0};
  bool found = false;
  if (source_read_member(set->source, image, "json", &bytes) == STATUS_OK) {
    json_t *root = json_loadb(bytes.data, bytes.length, 0, NULL), *group = json_object_get(root, "group"),
           *negatives = json_object_get(root, "negatives"), *item;
    size_t i;
    found = json_is_integer(group) && json_is_array(negatives);
    if (found)
      set->group[image] = json_integer_value(group);
    json_array_foreach(negatives, i, item) {
      const char *wrong = json_string_value(json_object_get(item, "wrong")),
                 *kind = json_string_value(json_object_get(item, "kind"));
      if (found && wrong && kind)
        add_negative(set, image, wrong, kind);
    }
    json_decref(root);
  }
  text_release(&bytes);
  return found;
}

static void read_all_facts(struct eval_set *set) {
  set->group = memory_allocate((size_t)set->image_count * sizeof *set->group, "groups");
  for (int64_t i = 0; i < set->image_count; i++)
    if (!read_facts(set, i)) {
      memory_release(set->group);
      set->group = NULL;
      return;
    }
}

static enum status open_set(struct session *session, const char *name, struct eval_set *set) {
  const bool short_captions = strcmp(name, "val-short") == 0;
  if (!short_captions && strcmp(name, "val") != 0)
    return error_set(STATUS_INPUT,
                     "eval.datasets: '%s' is not available in this version; 'val' (the shards of data.val) and "
                     "'val-short' (their first sentences) are",
                     name);
  if (!session->val)
    TRY(session_open_validation_data(session));
  if (!session->val)
    return error_set(STATUS_INPUT, "eval.datasets names '%s', but data.val is empty", name);
  const size_t count = (size_t)source_count(session->val);
  *set = (struct eval_set){.name = short_captions ? "val-short" : "val",
                           .source = session->val,
                           .image_count = (int64_t)count,
                           .text_count = (int64_t)count};
  set->texts = memory_allocate(count * sizeof *set->texts, "evaluation texts");
  set->image_of_text = memory_allocate(count * sizeof *set->image_of_text, "evaluation texts");
  TRY(read_texts(set, short_captions));
  if (!short_captions)
    read_all_facts(set);
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
  return STATUS_OK;
}

static void release_strings(char **strings, int64_t count) {
  for (int64_t i = 0; strings && i < count; i++)
    memory_release(strings[i]);
  memory_release(strings);
}

void eval_set_close(struct eval_set *set) {
  release_strings(set->texts, set->text_count);
  release_strings(set->negatives, set->negative_count);
  release_strings(set->kinds, set->negative_count);
  void *blocks[] = {set->image_of_text, set->image_of_negative, set->text_of_negative, set->group, set->ids,
                    set->end,           set->negative_ids,      set->negative_end};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    memory_release(blocks[i]);
}

enum status eval_set_tokenize(struct eval_set *set, struct session *session) {
  const size_t context = (size_t)session->model->config.context_length, texts = (size_t)set->text_count,
               negatives = (size_t)set->negative_count;
  if (set->ids)
    return STATUS_OK;
  int32_t *lengths = memory_allocate((texts + 1) * sizeof *lengths, "token counts");
  set->ids = memory_allocate(texts * context * sizeof *set->ids, "token ids");
  set->end = memory_allocate(texts * sizeof *set->end, "token ids");
  encode_tokenize(session, (const char *const *)set->texts, set->text_count, set->ids, set->end, lengths);
  for (size_t i = 0; i < texts; i++)
    set->truncated += lengths[i] > (int32_t)context;
  if (negatives) {
    set->negative_ids = memory_allocate(negatives * context * sizeof *set->ids, "token ids");
    set->negative_end = memory_allocate(negatives * sizeof *set->end, "token ids");
    encode_tokenize(session, (const char *const *)set->negatives, set->negative_count, set->negative_ids,
                    set->negative_end, NULL);
  }
  memory_release(lengths);
  return STATUS_OK;
}

void eval_features_allocate(struct eval_features *features, const struct eval_set *set, int64_t width) {
  features->images = memory_allocate((size_t)(set->image_count * width) * sizeof(float), "image features");
  features->texts = memory_allocate((size_t)(set->text_count * width) * sizeof(float), "text features");
  features->negatives =
      memory_allocate((size_t)((set->negative_count + 1) * width) * sizeof(float), "negative features");
}

void eval_features_release(struct eval_features *features) {
  memory_release(features->images);
  memory_release(features->texts);
  memory_release(features->negatives);
}

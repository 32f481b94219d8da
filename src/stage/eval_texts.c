/* Captions: tokenised once, each distinct row of ids encoded once. */
#include "base/key_map.h"
#include "base/memory.h"
#include "stage/eval_set.h"
#include "train/encode.h"
#include <string.h>

static void forget_tokens(struct eval_set *set) {
  void **blocks[] = {(void **)&set->ids, (void **)&set->end, (void **)&set->unique, (void **)&set->tokens};
  for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
    memory_release(*blocks[i]);
    *blocks[i] = NULL;
  }
  set->unique_count = set->truncated = 0;
}

static const char *text_of(const struct eval_set *set, int64_t number) {
  return number < set->text_count ? set->texts[number] : set->negatives[number - set->text_count];
}

/* The distinct texts in order of appearance: distinct[unique[i]] is text i. */
static int64_t find_distinct(const struct eval_set *set, int64_t *unique, const char **distinct) {
  const int64_t count = set->text_count + set->negative_count;
  struct key_map seen = {0};
  int64_t found = 0;
  for (int64_t i = 0; i < count; i++) {
    const char *words = text_of(set, i);
    unique[i] = key_map_add(&seen, words, strlen(words), found);
    if (unique[i] == found)
      distinct[found++] = words;
  }
  key_map_release(&seen);
  return found;
}

/* Rows of equal ids (captions that differ behind the context, or in white space) become one: row[i] of distinct text
 * i. */
static void merge_equal_rows(struct eval_set *set, int64_t distinct, int64_t *row) {
  const size_t bytes = (size_t)set->context * sizeof *set->ids;
  struct key_map seen = {0};
  set->unique_count = 0;
  for (int64_t i = 0; i < distinct; i++) {
    const int64_t next = set->unique_count;
    int32_t *to = set->ids + next * set->context;
    if (next != i)
      memcpy(to, set->ids + i * set->context, bytes);
    row[i] = key_map_add(&seen, to, bytes, next);
    if (row[i] != next)
      continue;
    set->end[next] = set->end[i];
    set->unique_count++;
  }
  key_map_release(&seen);
}

void eval_set_tokenize(struct eval_set *set, struct session *session, int context) {
  if (set->context == context)
    return;
  forget_tokens(set);
  set->context = context;
  const size_t count = (size_t)(set->text_count + set->negative_count);
  set->unique = memory_allocate(count * sizeof *set->unique, "distinct texts");
  set->tokens = memory_allocate((size_t)set->text_count * sizeof *set->tokens, "token counts");
  const char **distinct = memory_allocate(count * sizeof *distinct, "distinct texts");
  const int64_t found = find_distinct(set, set->unique, distinct);
  set->ids = memory_allocate((size_t)found * (size_t)context * sizeof *set->ids, "token ids");
  set->end = memory_allocate((size_t)found * sizeof *set->end, "token ids");
  int32_t *lengths = memory_allocate((size_t)found * sizeof *lengths, "token counts");
  int64_t *row = memory_allocate((size_t)found * sizeof *row, "distinct texts");
  encode_tokenize(session, distinct, found, context, set->ids, set->end, lengths);
  merge_equal_rows(set, found, row);
  for (int64_t i = 0; i < set->text_count; i++) {
    set->tokens[i] = lengths[set->unique[i]];
    set->truncated += set->tokens[i] > context;
  }
  for (size_t i = 0; i < count; i++)
    set->unique[i] = row[set->unique[i]];
  memory_release(row);
  memory_release(lengths);
  memory_release(distinct);
}

static float *spread(const float *rows, const int64_t *row, int64_t count, int64_t width, const char *label) {
  float *all = memory_allocate((size_t)((count + 1) * width) * sizeof *all, label);
  for (int64_t i = 0; i < count; i++)
    memcpy(all + i * width, rows + row[i] * width, (size_t)width * sizeof *all);
  return all;
}

enum status eval_set_encode_texts(struct eval_set *set, struct session *session, struct model *model,
                                  struct eval_features *features) {
  const int64_t width = model->config.embed_dim;
  const struct encode_request request = {.session = session,
                                         .model = model,
                                         .batch = (int)session->settings->eval.batch_size,
                                         .progress = true,
                                         .run = session->run};
  eval_set_tokenize(set, session, model->config.context_length);
  float *rows = memory_allocate((size_t)(set->unique_count * width) * sizeof *rows, "distinct text features");
  enum status status = encode_texts(&request, set->ids, set->end, set->unique_count, rows);
  if (status == STATUS_OK) {
    features->width = width;
    features->texts = spread(rows, set->unique, set->text_count, width, "text features");
    features->negatives = spread(rows, set->unique + set->text_count, set->negative_count, width, "negative features");
  }
  memory_release(rows);
  return status;
}

void eval_features_release(struct eval_features *features) {
  memory_release(features->images);
  memory_release(features->texts);
  memory_release(features->negatives);
  *features = (struct eval_features){0};
}

/* Recalls by the length of captions: bins of 16 tokens up to the context, longer ones together; and apart for queries
 * whose captions were cut. */
#include "base/memory.h"
#include "metric/measure_private.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>

enum { BIN_TOKENS = 16, RECALLS = 3 };
static const int recalls[RECALLS] = {1, 5, 10};

struct queries { /* of one direction */
  const char *prefix;
  int64_t count;
  const int64_t *ranks, *image; /* image NULL: query i is image i */
  const int32_t *tokens;        /* [count]; 0: no text */
  const bool *cut;
};
struct bin {
  char name[32];
  int from, to;
  int truncated; /* 1, 0: queries with, without a cut text; -1: by tokens */
};

static bool holds(const struct bin *bin, const struct queries *queries, int64_t query) {
  if (queries->ranks[query] < 0)
    return false;
  return bin->truncated >= 0 ? queries->cut[query] == (bin->truncated == 1)
                             : queries->tokens[query] >= bin->from && queries->tokens[query] <= bin->to;
}

static void add_bin(struct measure_list *list, const struct queries *queries, const struct bin *bin) {
  int64_t count = 0;
  for (int64_t i = 0; i < queries->count; i++)
    count += holds(bin, queries, i);
  for (int r = 0; count > 0 && r < RECALLS; r++) {
    char name[MEASURE_NAME_BYTES];
    snprintf(name, sizeof name, "R@%d_%s", recalls[r], bin->name);
    struct measure *measure = measure_add(list, queries->prefix, name, count);
    measure->by_length = bin->truncated < 0;
    measure->by_truncation = bin->truncated >= 0;
    measure->tokens_from = bin->from;
    measure->tokens_to = bin->to;
    measure->chance = NAN;
    for (int64_t i = 0; i < queries->count; i++)
      if (holds(bin, queries, i))
        measure_add_value(measure, queries->ranks[i] < recalls[r], queries->image ? queries->image[i] : i);
  }
}

static void add_bins(struct measure_list *list, const struct queries *queries, int context) {
  for (int from = 1; from <= context; from += BIN_TOKENS) {
    struct bin bin = {.from = from, .to = from + BIN_TOKENS - 1 < context ? from + BIN_TOKENS - 1 : context};
    bin.truncated = -1;
    snprintf(bin.name, sizeof bin.name, "tokens_%d-%d", bin.from, bin.to);
    add_bin(list, queries, &bin);
  }
  struct bin beyond = {.from = context + 1, .to = INT_MAX, .truncated = -1};
  snprintf(beyond.name, sizeof beyond.name, "tokens_above_%d", context);
  add_bin(list, queries, &beyond);
  add_bin(list, queries, &(struct bin){.name = "whole", .truncated = 0});
  add_bin(list, queries, &(struct bin){.name = "truncated", .truncated = 1});
}

/* An image has the mean length of its texts, rounded, and counts as cut when one of them was. */
static void lengths_of_images(const struct retrieval *set, const bool *text_cut, const int32_t *text_tokens,
                              int32_t *tokens, bool *cut) {
  int64_t *sum = memory_allocate((size_t)(2 * set->image_count + 1) * sizeof *sum, "caption lengths"),
          *texts = sum + set->image_count;
  for (int64_t j = 0; j < set->text_count; j++) {
    const int64_t image = set->image_of_text[j];
    sum[image] += text_tokens[j];
    texts[image]++;
    cut[image] |= text_cut[j];
  }
  for (int64_t i = 0; i < set->image_count; i++)
    tokens[i] = texts[i] ? (int32_t)((2 * sum[i] + texts[i]) / (2 * texts[i])) : 0;
  memory_release(sum);
}

void measure_add_lengths(struct measure_list *list, const struct retrieval *set, const struct measure_extras *extras,
                         const int64_t *text_ranks, const int64_t *image_ranks) {
  bool *text_cut = memory_allocate((size_t)(set->text_count + set->image_count + 1) * sizeof *text_cut, "cut captions"),
       *image_cut = text_cut + set->text_count;
  int32_t *image_tokens = memory_allocate((size_t)(set->image_count + 1) * sizeof *image_tokens, "caption lengths");
  for (int64_t j = 0; j < set->text_count; j++)
    text_cut[j] = extras->tokens[j] > extras->context;
  lengths_of_images(set, text_cut, extras->tokens, image_tokens, image_cut);
  add_bins(list, &(struct queries){"image_to_text_", set->image_count, image_ranks, NULL, image_tokens, image_cut},
           extras->context);
  add_bins(
      list,
      &(struct queries){"text_to_image_", set->text_count, text_ranks, set->image_of_text, extras->tokens, text_cut},
      extras->context);
  memory_release(image_tokens);
  memory_release(text_cut);
}

#include "metric/measure_private.h"
#include "base/memory.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

struct measure *measure_add(struct measure_list *list, const char *prefix, const char *name, int64_t capacity) {
  list->items = memory_resize(list->items, (size_t)(list->count + 1) * sizeof *list->items, "measures");
  struct measure *measure = &list->items[list->count++];
  *measure = (struct measure){0};
  snprintf(measure->name, sizeof measure->name, "%s%s", prefix, name);
  measure->values = memory_allocate((size_t)(capacity + 1) * sizeof *measure->values, "measure");
  measure->image = memory_allocate((size_t)(capacity + 1) * sizeof *measure->image, "measure images");
  return measure;
}

void measure_add_value(struct measure *measure, double value, int64_t image) {
  measure->values[measure->count] = value;
  measure->image[measure->count++] = image;
}

/* Five measures of one direction. image_of_query NULL: query i is image i. chance[k]: of a rank below k. */
static void add_direction(struct measure_list *list, const char *prefix, const int64_t *ranks, int64_t count,
                          const int64_t *image_of_query, const double *chance) {
  static const struct {
    const char *name;
    int64_t below; /* hit: rank < below; 0: the rank itself */
    bool median;
  } statistics[] = {
      {"R@1", 1, false}, {"R@5", 5, false}, {"R@10", 10, false}, {"mean_rank", 0, false}, {"median_rank", 0, true}};
  for (size_t s = 0; s < sizeof statistics / sizeof statistics[0]; s++) {
    struct measure *measure = measure_add(list, prefix, statistics[s].name, count);
    measure->rank = statistics[s].below == 0;
    measure->median = statistics[s].median;
    measure->chance = measure->rank ? NAN : chance[statistics[s].below];
    for (int64_t i = 0; i < count; i++)
      if (ranks[i] >= 0)
        measure_add_value(measure, measure->rank ? (double)(ranks[i] + 1) : ranks[i] < statistics[s].below,
                          image_of_query ? image_of_query[i] : i);
  }
}

enum { RECALL_MAX = 10 };
/* chance[k] = mean over images with c of the M texts of 1 - prod_{m < k} (M - c - m) / (M - m): k drawn texts hold one
 * of the c. */
static void chance_of_images(const struct retrieval *set, double chance[RECALL_MAX + 1]) {
  int64_t *texts = memory_allocate((size_t)(set->image_count + 1) * sizeof *texts, "texts of images"), asked = 0;
  for (int64_t j = 0; j < set->text_count; j++)
    texts[set->image_of_text[j]]++;
  for (int64_t i = 0; i < set->image_count; i++) {
    double missed = 1;
    asked += texts[i] > 0;
    for (int k = 1; k <= RECALL_MAX && texts[i] > 0; k++) {
      double left = (double)(set->text_count - k + 1), others = left - (double)texts[i];
      missed *= others > 0 ? others / left : 0;
      chance[k] += 1 - missed;
    }
  }
  for (int k = 1; k <= RECALL_MAX && asked > 0; k++)
    chance[k] /= (double)asked;
  memory_release(texts);
}

/* A plain sum in order: equal features give equal scores here too. */
static double score(const float *a, const float *b, int64_t width) {
  double sum = 0;
  for (int64_t e = 0; e < width; e++)
    sum += (double)a[e] * (double)b[e];
  return sum;
}

static int64_t greatest_group(const int64_t *group, int64_t count) {
  int64_t greatest = -1;
  for (int64_t i = 0; i < count; i++)
    greatest = group[i] > greatest ? group[i] : greatest;
  return greatest;
}

/* first[g] and next[i] chain the members of each group in ascending order; -1 ends a chain. Items are images, or texts
 * through image_of. */
static void chain_members(const int64_t *group, int64_t groups, int64_t count, const int64_t *image_of, int64_t *first,
                          int64_t *next) {
  for (int64_t g = 0; g < groups; g++)
    first[g] = -1;
  for (int64_t i = count - 1; i >= 0; i--) {
    int64_t g = group[image_of ? image_of[i] : i];
    if (g < 0)
      continue;
    next[i] = first[g];
    first[g] = i;
  }
}

/* 1 when the text's image scores more than every other image of its group, chained from `first`. */
static double text_hits(const struct retrieval *set, int64_t text, int64_t first, const int64_t *next) {
  const float *feature = set->texts + text * set->width;
  int64_t own = set->image_of_text[text];
  double own_score = score(set->images + own * set->width, feature, set->width);
  for (int64_t i = first; i >= 0; i = next[i])
    if (i != own && !(own_score > score(set->images + i * set->width, feature, set->width)))
      return 0;
  return 1;
}

/* 1 when a text of the image scores more than every text of the other images of its group. */
static double image_hits(const struct retrieval *set, int64_t image, int64_t first, const int64_t *next) {
  double best_own = -INFINITY, best_other = -INFINITY;
  for (int64_t j = first; j >= 0; j = next[j]) {
    double s = score(set->images + image * set->width, set->texts + j * set->width, set->width);
    double *best = set->image_of_text[j] == image ? &best_own : &best_other;
    *best = s > *best ? s : *best;
  }
  return best_own > best_other;
}

static int64_t count_chain(int64_t first, const int64_t *next) {
  int64_t count = 0;
  for (int64_t i = first; i >= 0; i = next[i])
    count++;
  return count;
}

static int64_t count_own_texts(const struct retrieval *set, int64_t image, int64_t first, const int64_t *next) {
  int64_t count = 0;
  for (int64_t j = first; j >= 0; j = next[j])
    count += set->image_of_text[j] == image;
  return count;
}

/* Groups of one image ask nothing and are left out. */
static void add_groups(struct measure_list *list, const struct retrieval *set, const int64_t *group) {
  int64_t groups = greatest_group(group, set->image_count) + 1, images = set->image_count, texts = set->text_count;
  int64_t *first_image = memory_allocate((size_t)(2 * groups + images + texts + 1) * sizeof(int64_t), "groups");
  int64_t *first_text = first_image + groups, *next_image = first_text + groups, *next_text = next_image + images;
  chain_members(group, groups, images, NULL, first_image, next_image);
  chain_members(group, groups, texts, set->image_of_text, first_text, next_text);
  struct measure *measure = measure_add(list, "within_group_", "R@1", texts);
  for (int64_t j = 0; j < texts; j++) {
    int64_t image = set->image_of_text[j], g = group[image];
    if (g < 0 || next_image[first_image[g]] < 0)
      continue;
    measure_add_value(measure, text_hits(set, j, first_image[g], next_image), image);
    measure->chance += 1.0 / (double)count_chain(first_image[g], next_image);
  }
  measure = measure_add(list, "within_group_image_to_text_", "R@1", images);
  for (int64_t i = 0; i < images; i++) {
    int64_t g = group[i];
    if (g < 0 || next_image[first_image[g]] < 0 || first_text[g] < 0)
      continue;
    measure_add_value(measure, image_hits(set, i, first_text[g], next_text), i);
    measure->chance +=
        (double)count_own_texts(set, i, first_text[g], next_text) / (double)count_chain(first_text[g], next_text);
  }
  for (int m = list->count - 2; m < list->count; m++)
    list->items[m].chance /= list->items[m].count > 0 ? (double)list->items[m].count : 1;
  memory_release(first_image);
}

static struct measure *find_or_add(struct measure_list *list, const char *prefix, const char *name, int64_t capacity) {
  char full[MEASURE_NAME_BYTES];
  snprintf(full, sizeof full, "%s%s", prefix, name);
  for (int i = 0; i < list->count; i++)
    if (strcmp(list->items[i].name, full) == 0)
      return &list->items[i];
  return measure_add(list, prefix, name, capacity);
}

static void add_negatives(struct measure_list *list, const struct retrieval *set, const struct measure_extras *extras) {
  for (int kinds = 0; kinds <= (extras->negative_kind != NULL); kinds++)
    for (int64_t q = 0; q < extras->negative_count; q++) {
      char kind[MEASURE_NAME_BYTES] = "";
      if (kinds)
        snprintf(kind, sizeof kind, "_%s", extras->negative_kind[q]);
      struct measure *measure = find_or_add(list, "negative_accuracy", kind, extras->negative_count);
      const float *image = set->images + extras->negative_image[q] * set->width;
      const double right = score(image, set->texts + extras->right_text[q] * set->width, set->width);
      const double wrong = score(image, extras->negatives + q * set->width, set->width);
      measure_add_value(measure, right == wrong ? 0.5 : right > wrong, extras->negative_image[q]);
      measure->chance = 0.5;
    }
}

static void finish_median(struct measure *measure, int64_t images, int draws, uint64_t seed) {
  int64_t *ranks = memory_allocate((size_t)(measure->count + 1) * sizeof *ranks, "ranks");
  for (int64_t i = 0; i < measure->count; i++)
    ranks[i] = (int64_t)measure->values[i] - 1;
  measure->value = metric_summarize_ranks(ranks, measure->count).median_rank;
  measure->interval = metric_bootstrap_median(ranks, measure->image, measure->count, images, draws, seed);
  memory_release(ranks);
}

static void finish_measure(struct measure *measure, int64_t images, int draws, uint64_t seed) {
  if (measure->median) {
    finish_median(measure, images, draws, seed);
  } else {
    double sum = 0;
    for (int64_t i = 0; i < measure->count; i++)
      sum += measure->values[i];
    measure->value = measure->count > 0 ? sum / (double)measure->count : 0;
    measure->interval = metric_bootstrap_mean(measure->values, measure->image, measure->count, images, draws, seed);
  }
  if (draws == 0)
    measure->interval = (struct interval){measure->value, measure->value};
}

void measure_ranked(const struct retrieval *set, const struct measure_extras *extras, const int64_t *text_ranks,
                    const int64_t *image_ranks, int draws, uint64_t seed, struct measure_list *list) {
  *list = (struct measure_list){0};
  double image_chance[RECALL_MAX + 1] = {0}, text_chance[RECALL_MAX + 1] = {0};
  chance_of_images(set, image_chance);
  for (int k = 1; k <= RECALL_MAX; k++)
    text_chance[k] = fmin(1, k / (double)set->image_count);
  add_direction(list, "image_to_text_", image_ranks, set->image_count, NULL, image_chance);
  add_direction(list, "text_to_image_", text_ranks, set->text_count, set->image_of_text, text_chance);
  if (extras && extras->group)
    add_groups(list, set, extras->group);
  if (extras && extras->negative_count > 0)
    add_negatives(list, set, extras);
  if (extras && extras->tokens)
    measure_add_lengths(list, set, extras, text_ranks, image_ranks);
  for (int i = 0; i < list->count; i++)
    finish_measure(&list->items[i], set->image_count, draws, seed);
}

void measure_retrieval(const struct retrieval *set, const struct measure_extras *extras, int draws, uint64_t seed,
                       struct measure_list *list) {
  int64_t *text_ranks = memory_allocate((size_t)(set->text_count + set->image_count + 1) * sizeof *text_ranks, "ranks");
  metric_ranks(set, text_ranks, text_ranks + set->text_count);
  measure_ranked(set, extras, text_ranks, text_ranks + set->text_count, draws, seed, list);
  memory_release(text_ranks);
}

const struct measure *measure_find(const struct measure_list *list, const char *name) {
  for (int i = 0; i < list->count; i++)
    if (strcmp(list->items[i].name, name) == 0)
      return &list->items[i];
  return NULL;
}

void measure_release(struct measure_list *list) {
  for (int i = 0; i < list->count; i++) {
    memory_release(list->items[i].values);
    memory_release(list->items[i].image);
  }
  memory_release(list->items);
  *list = (struct measure_list){0};
}

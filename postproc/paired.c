#include "paired.h"
#include "base/memory.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static enum status compare_strings(const char *what, char **a, char **b, int64_t count) {
  for (int64_t i = 0; a && b && i < count; i++)
    if (strcmp(a[i], b[i]) != 0)
      return error_set(STATUS_INPUT,
                       "%s %" PRId64
                       " is '%s' in one file and '%s' in the other; only models on the same data can be compared",
                       what, i, a[i], b[i]);
  return STATUS_OK;
}

static enum status check_same_data(const struct features *a, const struct features *b) {
  if (a->set.image_count != b->set.image_count || a->set.text_count != b->set.text_count ||
      a->negative_count != b->negative_count)
    return error_set(STATUS_INPUT,
                     "%s holds %" PRId64 " images, %" PRId64 " texts and %" PRId64 " wrong captions, %s %" PRId64
                     ", %" PRId64 " and %" PRId64 "; only models on the same data can be compared",
                     a->path, a->set.image_count, a->set.text_count, a->negative_count, b->path, b->set.image_count,
                     b->set.text_count, b->negative_count);
  if (memcmp(a->image_of_text, b->image_of_text, (size_t)a->set.text_count * sizeof *a->image_of_text) != 0)
    return error_set(STATUS_INPUT, "%s and %s pair their texts with other images", a->path, b->path);
  if ((a->group != NULL) != (b->group != NULL) ||
      (a->group && memcmp(a->group, b->group, (size_t)a->set.image_count * sizeof *a->group) != 0))
    return error_set(STATUS_INPUT, "%s and %s put their images into other groups", a->path, b->path);
  TRY(compare_strings("image", a->keys, b->keys, a->set.image_count));
  TRY(compare_strings("kind of wrong caption", a->kinds, b->kinds, a->negative_count));
  return compare_strings("text", a->captions, b->captions, a->set.text_count);
}

/* p is 1 where every query is equal. */
static void compare_measure(const struct measure *a, const struct measure *b, int64_t images, int draws, uint64_t seed,
                            struct paired *pair) {
  double *difference = memory_allocate((size_t)(a->count + 1) * sizeof *difference, "differences");
  bool any = false;
  for (int64_t i = 0; i < a->count; i++) {
    difference[i] = b->values[i] - a->values[i];
    any |= difference[i] != 0;
  }
  memcpy(pair->name, a->name, sizeof pair->name);
  pair->rank = a->rank;
  pair->a = a->value;
  pair->b = b->value;
  pair->difference = b->value - a->value;
  pair->interval = metric_bootstrap_mean(difference, a->image, a->count, images, draws, seed);
  pair->p = any ? metric_bootstrap_sign(difference, a->image, a->count, images, draws, seed) : 1;
  memory_release(difference);
}

static int compare_p(const void *a, const void *b) {
  const struct paired *x = *(struct paired *const *)a, *y = *(struct paired *const *)b;
  return (x->p > y->p) - (x->p < y->p);
}

/* The i-th smallest of n gets max over j <= i of (n - j) p_j, at most 1. */
static void adjust_by_holm(struct paired **order, int count) {
  double greatest = 0;
  qsort(order, (size_t)count, sizeof *order, compare_p);
  for (int i = 0; i < count; i++) {
    greatest = fmax(greatest, (count - i) * order[i]->p);
    order[i]->adjusted_p = fmin(1, greatest);
  }
}

static struct paired *find_pair(const struct comparison *comparison, const char *name) {
  for (int i = 0; i < comparison->count; i++)
    if (strcmp(comparison->pairs[i].name, name) == 0)
      return &comparison->pairs[i];
  return NULL;
}

void paired_adjust(struct comparison *comparisons, int count) {
  struct paired **family = memory_allocate((size_t)(count + 1) * sizeof *family, "comparisons");
  for (int c = 0; c < count; c++)
    for (int i = 0; i < comparisons[c].count; i++) {
      int members = 0;
      for (int other = 0; other < count; other++) {
        struct paired *pair = find_pair(&comparisons[other], comparisons[c].pairs[i].name);
        if (pair)
          family[members++] = pair;
      }
      adjust_by_holm(family, members);
    }
  memory_release(family);
}

const char *paired_verdict(const struct paired *pair) {
  if (pair->adjusted_p > PAIRED_LEVEL)
    return "not distinguishable";
  return (pair->difference > 0) == !pair->rank ? "better" : "worse";
}

enum status paired_compare(const struct features *a, const struct features *b, int draws, uint64_t seed,
                           struct paired **pairs, int *count) {
  TRY(check_same_data(a, b));
  struct measure_list of_a, of_b;
  struct measure_extras extras_a = features_extras(a), extras_b = features_extras(b);
  measure_retrieval(&a->set, &extras_a, 0, seed, &of_a);
  measure_retrieval(&b->set, &extras_b, 0, seed, &of_b);
  *pairs = memory_allocate((size_t)(of_a.count + 1) * sizeof **pairs, "pairs");
  *count = 0;
  for (int m = 0; m < of_a.count; m++)
    if (!of_a.items[m].median && !of_a.items[m].by_length && !of_a.items[m].by_truncation)
      compare_measure(&of_a.items[m], &of_b.items[m], a->set.image_count, draws, seed, &(*pairs)[(*count)++]);
  measure_release(&of_a);
  measure_release(&of_b);
  return STATUS_OK;
}

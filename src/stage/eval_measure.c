/* Metrics of an evaluation set and its features file. */
#include "base/memory.h"
#include "comm/comm.h"
#include "io/store.h"
#include "metric/metric.h"
#include "stage/eval_set.h"
#include <math.h>

static void put(struct eval_metrics *metrics, const char *name, double value) {
  if (metrics->count < EVAL_METRICS_MAX)
    metrics->values[metrics->count++] = (struct report_value){name, value};
}

double eval_metric(const struct eval_metrics *metrics, const char *name) {
  for (int i = 0; i < metrics->count; i++)
    if (strcmp(metrics->values[i].name, name) == 0)
      return metrics->values[i].value;
  return NAN;
}

enum { BOOTSTRAP_DRAWS = 1000 };

/* Names of one direction: recalls with their intervals. */
struct direction_names { const char *recall[3], *low[3], *high[3], *mean, *median, *count; };
static const struct direction_names directions[2] = {
    {{"image_to_text_R@1", "image_to_text_R@5", "image_to_text_R@10"},
     {"image_to_text_R@1_low", "image_to_text_R@5_low", "image_to_text_R@10_low"},
     {"image_to_text_R@1_high", "image_to_text_R@5_high", "image_to_text_R@10_high"},
     "image_to_text_mean_rank", "image_to_text_median_rank", "num_image_samples"},
    {{"text_to_image_R@1", "text_to_image_R@5", "text_to_image_R@10"},
     {"text_to_image_R@1_low", "text_to_image_R@5_low", "text_to_image_R@10_low"},
     {"text_to_image_R@1_high", "text_to_image_R@5_high", "text_to_image_R@10_high"},
     "text_to_image_mean_rank", "text_to_image_median_rank", "num_text_samples"}};

/* Queries are resampled by image: several captions of one image are not independent. */
static void put_direction(struct eval_metrics *metrics, const struct direction_names *names, const int64_t *ranks, const int64_t *image_of_query, int64_t count, int64_t images) {
  static const int64_t cut[3] = {1, 5, 10};
  const struct recall_summary summary = metric_summarize_ranks(ranks, count);
  const double recall[3] = {summary.recall_1, summary.recall_5, summary.recall_10};
  double *hit = memory_allocate((size_t)count * sizeof *hit, "hits");
  for (int k = 0; k < 3; k++) {
    for (int64_t i = 0; i < count; i++)
      hit[i] = ranks[i] >= 0 && ranks[i] < cut[k];
    const struct interval interval = metric_bootstrap_mean(hit, image_of_query, count, images, BOOTSTRAP_DRAWS, 1);
    put(metrics, names->recall[k], recall[k]);
    put(metrics, names->low[k], interval.low);
    put(metrics, names->high[k], interval.high);
  }
  put(metrics, names->mean, summary.mean_rank);
  put(metrics, names->median, summary.median_rank);
  put(metrics, names->count, (double)count);
  memory_release(hit);
}

static void put_ranks(const struct retrieval *set, bool text_to_image, struct eval_metrics *metrics) {
  const int64_t count = text_to_image ? set->text_count : set->image_count;
  const int64_t first = count * comm_rank() / comm_size(), end = count * (comm_rank() + 1) / comm_size();
  int64_t *ranks = memory_allocate((size_t)count * sizeof *ranks, "ranks"), *own = memory_allocate((size_t)count * sizeof *own, "ranks");
  (text_to_image ? metric_text_to_image_ranks : metric_image_to_text_ranks)(set, first, end - first, ranks + first);
  comm_all_reduce(ranks, (size_t)count, DTYPE_I64, COMM_SUM);
  for (int64_t i = 0; i < count; i++)
    own[i] = text_to_image ? set->image_of_text[i] : i;
  put_direction(metrics, &directions[text_to_image], ranks, own, count, set->image_count);
  memory_release(ranks);
  memory_release(own);
}

static double dot(const float *a, const float *b, int64_t width) {
  double sum = 0;
  for (int64_t i = 0; i < width; i++)
    sum += (double)a[i] * (double)b[i];
  return sum;
}

/* Share of (image, right text, wrong text) in which the right one scores higher; a tie is a miss. */
static void put_negatives(const struct eval_set *set, const struct eval_features *features, int64_t width, struct eval_metrics *metrics) {
  if (set->negative_count == 0)
    return;
  double *right = memory_allocate((size_t)set->negative_count * sizeof *right, "negatives");
  for (int64_t i = 0; i < set->negative_count; i++) {
    const float *image = features->images + set->image_of_negative[i] * width;
    right[i] = dot(image, features->texts + set->text_of_negative[i] * width, width) > dot(image, features->negatives + i * width, width);
  }
  double sum = 0;
  for (int64_t i = 0; i < set->negative_count; i++)
    sum += right[i];
  const struct interval interval = metric_bootstrap_mean(right, set->image_of_negative, set->negative_count, set->image_count, BOOTSTRAP_DRAWS, 1);
  put(metrics, "negative_accuracy", sum / (double)set->negative_count);
  put(metrics, "negative_accuracy_low", interval.low);
  put(metrics, "negative_accuracy_high", interval.high);
  memory_release(right);
}

/* R@1 of each long text among the images of its own group (same short caption); groups of one are left out. */
static void put_groups(const struct eval_set *set, const struct eval_features *features, int64_t width, struct eval_metrics *metrics) {
  if (!set->group)
    return;
  double *hit = memory_allocate((size_t)set->text_count * sizeof *hit, "groups"), chance = 0, hits = 0;
  int64_t *image = memory_allocate((size_t)set->text_count * sizeof *image, "groups"), count = 0;
  for (int64_t t = 0; t < set->text_count; t++) {
    const int64_t own = set->image_of_text[t];
    const double score = dot(features->images + own * width, features->texts + t * width, width);
    int64_t members = 0;
    bool best = true;
    for (int64_t i = 0; i < set->image_count; i++) {
      if (set->group[i] != set->group[own])
        continue;
      members++;
      if (i != own && dot(features->images + i * width, features->texts + t * width, width) >= score)
        best = false;
    }
    if (members < 2)
      continue;
    hit[count] = best;
    image[count++] = own;
    hits += best;
    chance += 1.0 / (double)members;
  }
  if (count) {
    const struct interval interval = metric_bootstrap_mean(hit, image, count, set->image_count, BOOTSTRAP_DRAWS, 1);
    put(metrics, "within_group_R@1", hits / (double)count);
    put(metrics, "within_group_R@1_low", interval.low);
    put(metrics, "within_group_R@1_high", interval.high);
    put(metrics, "within_group_chance", chance / (double)count);
  }
  memory_release(hit);
  memory_release(image);
}

void eval_set_measure(const struct eval_set *set, const struct eval_features *features, int64_t width, struct eval_metrics *metrics) {
  const struct retrieval retrieval = {features->images, features->texts, set->image_count, set->text_count, width, set->image_of_text};
  metrics->count = 0;
  put_ranks(&retrieval, true, metrics);
  put_ranks(&retrieval, false, metrics);
  put_negatives(set, features, width, metrics);
  put_groups(set, features, width, metrics);
}

static enum status write_features(struct store *store, const struct eval_set *set, const struct eval_features *features, int64_t width) {
  const char **keys = memory_allocate((size_t)set->image_count * sizeof *keys, "keys");
  for (int64_t i = 0; i < set->image_count; i++)
    keys[i] = source_key(set->source, i);
  enum status status = store_write(store, "image/features", DTYPE_F32, 2, (int64_t[]){set->image_count, width}, features->images);
  if (status == STATUS_OK)
    status = store_write_strings(store, "image/key", keys, set->image_count);
  memory_release(keys);
  TRY(status);
  TRY(store_write(store, "text/features", DTYPE_F32, 2, (int64_t[]){set->text_count, width}, features->texts));
  TRY(store_write(store, "text/image", DTYPE_I64, 1, &set->text_count, set->image_of_text));
  TRY(store_write_strings(store, "text/caption", (const char *const *)set->texts, set->text_count));
  if (set->group)
    TRY(store_write(store, "image/group", DTYPE_I64, 1, &set->image_count, set->group));
  if (set->negative_count == 0)
    return STATUS_OK;
  TRY(store_write(store, "negative/features", DTYPE_F32, 2, (int64_t[]){set->negative_count, width}, features->negatives));
  TRY(store_write(store, "negative/image", DTYPE_I64, 1, &set->negative_count, set->image_of_negative));
  TRY(store_write(store, "negative/right_text", DTYPE_I64, 1, &set->negative_count, set->text_of_negative));
  return store_write_strings(store, "negative/kind", (const char *const *)set->kinds, set->negative_count);
}

enum status eval_set_write_features(const char *path, const struct eval_set *set, const struct eval_features *features, const char *label, int64_t width) {
  struct store *store;
  TRY(store_create(path, &store));
  enum status status = write_features(store, set, features, width);
  if (status == STATUS_OK)
    status = store_write_attribute(store, "data_set", set->name);
  if (status == STATUS_OK)
    status = store_write_attribute(store, "model", label);
  if (status == STATUS_OK)
    return store_publish(store);
  store_close(store);
  return status;
}

/* Ranks against brute force and the peers' numbers, ties, intervals, the contrastive loss, groups and negatives. */
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include "io/safetensors.h"
#include "metric/measure.h"
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint64_t random_number(uint64_t seed, uint64_t index, uint64_t bound) {
  return random_below(&(struct random_key){.seed = seed, .use = RANDOM_TEST}, index, bound);
}

/* Features of small whole numbers: scores are exact, and ties are common. */
struct sample {
  struct retrieval set;
  float *images, *texts;
  int64_t *owner;
};

static struct sample make_sample(int64_t images, int64_t texts, int64_t width, uint64_t seed) {
  struct sample sample = {.images = memory_allocate((size_t)(images * width + 1) * sizeof(float), "images"),
                          .texts = memory_allocate((size_t)(texts * width + 1) * sizeof(float), "texts"),
                          .owner = memory_allocate((size_t)(texts + 1) * sizeof(int64_t), "owner")};
  for (int64_t i = 0; i < images * width; i++)
    sample.images[i] = (float)random_number(seed, (uint64_t)i, 5) - 2;
  for (int64_t i = 0; i < texts * width; i++)
    sample.texts[i] = (float)random_number(seed + 1, (uint64_t)i, 5) - 2;
  for (int64_t j = 0; j < texts; j++)
    sample.owner[j] = (int64_t)random_number(seed + 2, (uint64_t)j, (uint64_t)images);
  sample.set = (struct retrieval){sample.images, sample.texts, images, texts, width, sample.owner};
  return sample;
}

static void release_sample(struct sample *sample) {
  memory_release(sample->images);
  memory_release(sample->texts);
  memory_release(sample->owner);
}

static double score(const struct retrieval *set, int64_t image, int64_t text) {
  double sum = 0;
  for (int64_t e = 0; e < set->width; e++)
    sum += (double)set->images[image * set->width + e] * (double)set->texts[text * set->width + e];
  return sum;
}

static int64_t plain_text_rank(const struct retrieval *set, int64_t text) {
  int64_t rank = 0, own = set->image_of_text[text];
  for (int64_t i = 0; i < set->image_count; i++)
    rank += score(set, i, text) > score(set, own, text) || (score(set, i, text) == score(set, own, text) && i < own);
  return rank;
}

static int64_t plain_image_rank(const struct retrieval *set, int64_t image) {
  int64_t least = -1;
  for (int64_t own = 0; own < set->text_count; own++) {
    int64_t rank = 0;
    if (set->image_of_text[own] != image)
      continue;
    for (int64_t j = 0; j < set->text_count; j++)
      rank +=
          score(set, image, j) > score(set, image, own) || (score(set, image, j) == score(set, image, own) && j < own);
    least = least < 0 || rank < least ? rank : least;
  }
  return least;
}

static void check_sample(int64_t images, int64_t texts, int64_t width, uint64_t seed) {
  struct sample sample = make_sample(images, texts, width, seed);
  int64_t *text_ranks = memory_allocate((size_t)(texts + 1) * sizeof(int64_t), "ranks");
  int64_t *image_ranks = memory_allocate((size_t)(images + 1) * sizeof(int64_t), "ranks");
  metric_ranks(&sample.set, text_ranks, image_ranks);
  for (int64_t j = 0; j < texts; j++)
    assert_int_equal(text_ranks[j], plain_text_rank(&sample.set, j));
  for (int64_t i = 0; i < images; i++)
    assert_int_equal(image_ranks[i], plain_image_rank(&sample.set, i));
  int64_t first = texts / 3, count = texts - first, part[128];
  metric_text_to_image_ranks(&sample.set, first, count, part);
  assert_memory_equal(part, text_ranks + first, (size_t)count * sizeof part[0]);
  first = images / 3;
  count = images - first;
  metric_image_to_text_ranks(&sample.set, first, count, part);
  assert_memory_equal(part, image_ranks + first, (size_t)count * sizeof part[0]);
  memory_release(image_ranks);
  memory_release(text_ranks);
  release_sample(&sample);
}

static const char *const instruction_sets[] = {"generic", "avx2", "avx512"};

static void test_brute_force(void **state) {
  (void)state;
  for (size_t isa = 0; isa < 3; isa++) {
    setenv("MEMCLIP_ISA", instruction_sets[isa], 1);
    for (uint64_t seed = 0; seed < 40; seed++)
      check_sample(1 + (int64_t)random_number(7, seed, 60), (int64_t)random_number(8, seed, 100),
                   1 + (int64_t)random_number(9, seed, 20), seed);
  }
  unsetenv("MEMCLIP_ISA");
}

/* Copies of one random row score equally wherever they lie in a tile: each text's rank is the index of its image. */
static void test_equal_features(void **state) {
  (void)state;
  enum { IMAGES = 97, TEXTS = 131, WIDTH = 67 };
  static float images[IMAGES * WIDTH], texts[TEXTS * WIDTH];
  static int64_t owner[TEXTS], text_ranks[TEXTS], image_ranks[IMAGES];
  struct random_key key = {.use = RANDOM_TEST};
  for (int i = 0; i < IMAGES * WIDTH; i++)
    images[i] = (float)random_normal(&key, (uint64_t)(i % WIDTH));
  for (int i = 0; i < TEXTS * WIDTH; i++)
    texts[i] = (float)random_normal(&key, (uint64_t)(1000 + i % WIDTH));
  for (int j = 0; j < TEXTS; j++)
    owner[j] = j % IMAGES;
  for (size_t isa = 0; isa < 3; isa++) {
    setenv("MEMCLIP_ISA", instruction_sets[isa], 1);
    metric_ranks(&(struct retrieval){images, texts, IMAGES, TEXTS, WIDTH, owner}, text_ranks, image_ranks);
    for (int j = 0; j < TEXTS; j++)
      assert_int_equal(text_ranks[j], j % IMAGES);
    for (int i = 0; i < IMAGES; i++)
      assert_int_equal(image_ranks[i], i);
  }
  unsetenv("MEMCLIP_ISA");
}

static void test_not_a_number(void **state) {
  (void)state;
  struct sample sample = make_sample(20, 50, 8, 3);
  int64_t text_ranks[50], image_ranks[20];
  sample.texts[7 * 8 + 3] = NAN;
  metric_ranks(&sample.set, text_ranks, image_ranks);
  assert_int_equal(text_ranks[7], 19);
  for (int j = 0; j < 50; j++)
    assert_true(text_ranks[j] >= 0 && text_ranks[j] < 20);
  for (int i = 0; i < 20; i++)
    assert_true(image_ranks[i] >= -1 && image_ranks[i] < 50);
  release_sample(&sample);
}

static void test_summary(void **state) {
  (void)state;
  const int64_t ranks[] = {0, 9, 4, -1, 10};
  struct recall_summary summary = metric_summarize_ranks(ranks, 5);
  assert_int_equal(summary.count, 4);
  assert_true(summary.recall_1 == 0.25 && summary.recall_5 == 0.5 && summary.recall_10 == 0.75);
  assert_true(summary.mean_rank == 6.75 && summary.median_rank == 7);
  assert_int_equal(metric_summarize_ranks(ranks, 0).count, 0);
  assert_true(metric_median((const float[]){3, 1, 2, 8}, 4) == 2.5 && metric_mean((const float[]){3, 1}, 2) == 2);
}

/* The interval of a share p of n single values is close to p +- 1.96 sqrt(p (1 - p) / n); whole groups that agree widen
 * it. */
static void test_bootstrap(void **state) {
  (void)state;
  enum { COUNT = 1000 };
  double values[COUNT], clustered[COUNT];
  int64_t single[COUNT], group[COUNT], ranks[COUNT];
  for (int i = 0; i < COUNT; i++) {
    values[i] = i % 4 == 0;
    clustered[i] = i / 10 % 4 == 0;
    single[i] = i;
    group[i] = i / 10;
    ranks[i] = i;
  }
  double half = 1.96 * sqrt(0.25 * 0.75 / COUNT);
  struct interval interval = metric_bootstrap_mean(values, single, COUNT, COUNT, 2000, 1);
  assert_true(fabs(interval.low - (0.25 - half)) <= 0.2 * half && fabs(interval.high - (0.25 + half)) <= 0.2 * half);
  struct interval wide = metric_bootstrap_mean(clustered, group, COUNT, COUNT / 10, 2000, 1);
  assert_true(fabs((wide.high - wide.low) / (interval.high - interval.low) - sqrt(10)) <= 0.3);
  struct interval again = metric_bootstrap_mean(clustered, group, COUNT, COUNT / 10, 2000, 1);
  assert_true(again.low == wide.low && again.high == wide.high);
  struct interval median = metric_bootstrap_median(ranks, single, COUNT, COUNT, 500, 1);
  assert_true(median.low > 440 && median.low < 490 && median.high > 510 && median.high < 560);
}

static double plain_loss(const struct retrieval *set, double scale) {
  double loss = 0;
  for (int64_t i = 0; i < set->image_count; i++) {
    double row = 0, column = 0;
    for (int64_t j = 0; j < set->text_count; j++) {
      row += exp(scale * score(set, i, j));
      column += exp(scale * score(set, j, i));
    }
    loss += (log(row) + log(column)) / 2 - scale * score(set, i, i);
  }
  return loss / (double)set->image_count;
}

static void test_loss(void **state) {
  (void)state;
  struct sample sample = make_sample(45, 45, 12, 5);
  for (int i = 0; i < 45 * 12; i++) {
    sample.images[i] *= 0.2f;
    sample.texts[i] *= 0.2f;
  }
  double ours = metric_contrastive_loss(sample.images, sample.texts, 45, 12, 14.3),
         plain = plain_loss(&sample.set, 14.3);
  assert_true(fabs(ours - plain) <= 1e-5 * plain);
  release_sample(&sample);
}

/* Images on the axes; each has its own text. Image 2 is closest to the text of 3, its companion in group 1; image 4 is
 * alone. The second negative has the features of the right text, as when they differ only behind the cut. */
static void test_groups_and_negatives(void **state) {
  (void)state;
  const float images[5 * 3] = {1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0.6f, 0.8f, 1, 0, 0};
  const float texts[5 * 3] = {1, 0, 0, 0, 1, 0, 0, 0.8f, 0.6f, 0, 0, 1, 1, 0, 0};
  const int64_t owner[] = {0, 1, 2, 3, 4}, group[] = {7, 7, 1, 1, 2};
  const float negatives[3 * 3] = {0, 1, 0, 0, 1, 0, 0, 0, 1};
  const int64_t right[] = {0, 1, 2}, image[] = {0, 1, 2};
  const char *const kinds[] = {"swap", "swap", "attribute"};
  struct measure_list list;
  measure_retrieval(&(struct retrieval){images, texts, 5, 5, 3, owner},
                    &(struct measure_extras){.group = group,
                                             .negatives = negatives,
                                             .right_text = right,
                                             .negative_image = image,
                                             .negative_kind = kinds,
                                             .negative_count = 3},
                    100, 0, &list);
  const struct measure *measure = measure_find(&list, "within_group_R@1");
  assert_non_null(measure);
  assert_true(measure->count == 4 && measure->value == 0.5);
  measure = measure_find(&list, "within_group_image_to_text_R@1");
  assert_true(measure->count == 4 && measure->value == 0.5 && measure->interval.low < 0.5 &&
              measure->interval.high > 0.5);
  measure = measure_find(&list, "negative_accuracy_swap");
  assert_true(measure->count == 2 && measure->value == 0.75);
  measure = measure_find(&list, "negative_accuracy_attribute");
  assert_true(measure->count == 1 && measure->value == 0);
  assert_null(measure_find(&list, "negative_accuracy_object"));
  measure = measure_find(&list, "negative_accuracy");
  assert_true(measure->count == 3 && measure->value == 0.5 && measure->chance == 0.5);
  assert_true(fabs(measure_find(&list, "image_to_text_R@1")->chance - 0.2) <= 1e-12 &&
              measure_find(&list, "text_to_image_R@5")->chance == 1);
  assert_true(measure_find(&list, "within_group_R@1")->chance == 0.5);
  measure = measure_find(&list, "image_to_text_median_rank");
  assert_true(measure->rank && measure->value >= 1);
  measure_release(&list);
}

static char *reference_path(const char *name) {
  const char *given = getenv("MEMCLIP_REFERENCE"), *source = getenv("top_srcdir");
  char *beside = text_format("%s/../shared/reference", source ? source : "..");
  char *path = text_join_path(given ? given : beside, name);
  memory_release(beside);
  return path;
}

static void *read_tensor(const struct safetensors *file, const char *name, enum dtype dtype) {
  const struct tensor_entry *entry = safetensors_find(file, name);
  assert_non_null(entry);
  void *data = memory_allocate((size_t)entry->elements * dtype_size(dtype), name);
  assert_int_equal(tensor_entry_read(entry, dtype, entry->elements, data), STATUS_OK);
  return data;
}

static void compare_reference(const struct safetensors *file, const json_t *expected) {
  float *images = read_tensor(file, "image_features", DTYPE_F32),
        *texts = read_tensor(file, "text_features", DTYPE_F32);
  int64_t *owner = read_tensor(file, "owner", DTYPE_I64);
  const int64_t *image_shape = safetensors_find(file, "image_features")->shape;
  const struct retrieval set = {images,         texts, image_shape[0], safetensors_find(file, "owner")->elements,
                                image_shape[1], owner};
  struct measure_list list;
  measure_retrieval(&set, NULL, 10, 0, &list);
  assert_int_equal(list.count, 10);
  for (int i = 0; i < list.count; i++) {
    double value = json_real_value(json_object_get(expected, list.items[i].name));
    assert_true(fabs(list.items[i].value - value) <= 1e-12 * value);
  }
  const char *const lists[] = {"image_ranks", "text_ranks"};
  for (int d = 0; d < 2; d++) {
    const struct measure *ranks = measure_find(&list, d == 0 ? "image_to_text_mean_rank" : "text_to_image_mean_rank");
    for (int64_t i = 0; i < ranks->count; i++)
      assert_int_equal((int64_t)ranks->values[i],
                       json_integer_value(json_array_get(json_object_get(expected, lists[d]), (size_t)i)));
  }
  measure_release(&list);
  memory_release(images);
  memory_release(texts);
  memory_release(owner);
}

static void test_reference(void **state) {
  (void)state;
  char *features = reference_path("retrieval.safetensors"), *numbers = reference_path("retrieval.json");
  bool present = file_exists(features) && file_exists(numbers);
  if (present) {
    struct safetensors file;
    json_t *expected = json_load_file(numbers, 0, NULL);
    assert_int_equal(safetensors_open(features, &file), STATUS_OK);
    compare_reference(&file, expected);
    json_decref(expected);
    safetensors_close(&file);
  }
  memory_release(features);
  memory_release(numbers);
  if (!present)
    skip();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_brute_force),  cmocka_unit_test(test_equal_features),
      cmocka_unit_test(test_not_a_number), cmocka_unit_test(test_summary),
      cmocka_unit_test(test_bootstrap),    cmocka_unit_test(test_loss),
      cmocka_unit_test(test_reference),    cmocka_unit_test(test_groups_and_negatives),
  };
  int failed = cmocka_run_group_tests_name("metric", tests, NULL, NULL);
  return failed ? failed : (int)memory_report_live(true);
}

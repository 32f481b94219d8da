/* Orders are permutations, whatever the counts; they are functions of the position alone. */
#include "data/order.h"
#include "base/memory.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

/* Every sample of a pass exactly once. */
static void assert_permutation(const struct order *order, int64_t first) {
  bool *seen = memory_allocate((size_t)order->count, "seen");
  for (int64_t i = 0; i < order->count; i++) {
    int64_t sample = order_sample(order, 0, first + i);
    assert_in_range(sample, 0, order->count - 1);
    assert_false(seen[sample]);
    seen[sample] = true;
  }
  memory_release(seen);
}

static void test_permutations(void **state) {
  (void)state;
  static const int64_t counts[] = {1, 2, 3, 7, 64, 1000, 1023}, windows[] = {0, 1, 2, 5, 100, 1000, 5000};
  for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
    for (size_t w = 0; w < sizeof windows / sizeof windows[0]; w++)
      for (int shuffle = SHUFFLE_NONE; shuffle <= SHUFFLE_WINDOW; shuffle++)
        for (uint64_t seed = 0; seed < 3; seed++) {
          struct order order = {
              .seed = seed, .count = counts[c], .shuffle = (enum shuffle)shuffle, .window = windows[w]};
          assert_permutation(&order, 0);
          assert_permutation(&order, counts[c]); /* the next pass */
        }
}

static void test_passes_differ(void **state) {
  (void)state;
  for (int shuffle = SHUFFLE_GLOBAL; shuffle <= SHUFFLE_WINDOW; shuffle++) {
    struct order order = {.seed = 5, .count = 1000, .shuffle = (enum shuffle)shuffle, .window = 100}, other = order;
    other.seed = 6;
    int same_epoch = 0, same_seed = 0, in_place = 0;
    for (int64_t i = 0; i < 1000; i++) {
      int64_t sample = order_sample(&order, 0, i);
      same_epoch += sample == order_sample(&order, 1, i);
      same_seed += sample == order_sample(&other, 0, i);
      in_place += sample == i;
    }
    assert_in_range(same_epoch + same_seed + in_place, 0, 100);
  }
}

/* Samples of a window stay together. */
static void test_windows(void **state) {
  (void)state;
  struct order order = {.seed = 1, .count = 1050, .shuffle = SHUFFLE_WINDOW, .window = 100};
  int changes = 0, rest_places[11] = {0};
  for (int64_t i = 1; i < 1050; i++)
    changes += order_sample(&order, 0, i) / 100 != order_sample(&order, 0, i - 1) / 100;
  assert_int_equal(changes, 10);
  for (order.seed = 0; order.seed < 300; order.seed++)
    for (int64_t place = 0; place < 11; place++)
      rest_places[place] += order_sample(&order, 0, place * 100) / 100 == 10;
  for (int place = 0; place < 11; place++)
    assert_in_range(rest_places[place], 5, 80); /* 27 on average: the short window has no favourite place */
}

/* Virtual epochs cut one endless row of permutations. */
static void test_virtual_epochs(void **state) {
  (void)state;
  struct order order = {.seed = 3, .count = 100, .shuffle = SHUFFLE_GLOBAL}, virtual = order;
  virtual.samples_per_epoch = 30;
  for (int64_t i = 0; i < 300; i++)
    assert_int_equal(order_sample(&order, i / 100, i % 100), order_sample(&virtual, i / 30, i % 30));
}

static void test_resampled(void **state) {
  (void)state;
  static const int64_t bounds[] = {0, 100, 100, 400};
  static const double weights[] = {3, 7, 1};
  struct order order = {
      .seed = 2, .count = 400, .resampled = true, .path_bounds = bounds, .path_weights = weights, .paths = 3};
  int first = 0;
  for (int64_t i = 0; i < 20000; i++) {
    int64_t sample = order_sample(&order, 0, i);
    assert_in_range(sample, 0, 399);
    first += sample < 100;
  }
  assert_in_range(first, 9700, 10300); /* 3 x 100 against 1 x 300; six standard deviations are 424 */
  order.path_weights = NULL;
  for (int64_t i = first = 0; i < 20000; i++)
    first += order_sample(&order, 0, i) < 100;
  assert_in_range(first, 4700, 5300);
}

static void test_replacement(void **state) {
  (void)state;
  struct order order = {.seed = 2, .count = 1000, .shuffle = SHUFFLE_GLOBAL};
  int repeats = 0;
  for (int attempt = 1; attempt <= 100; attempt++) {
    int64_t sample = order_replacement(&order, 4, 17, attempt);
    assert_in_range(sample, 0, 999);
    assert_int_equal(sample, order_replacement(&order, 4, 17, attempt));
    repeats +=
        sample == order_replacement(&order, 4, 17, attempt + 1) || sample == order_replacement(&order, 4, 18, attempt);
  }
  assert_in_range(repeats, 0, 5);
}

/* Windows of whole shards: each sample once; the shards of a window change from pass to pass; a sample never leaves its
 * window's shards. */
static void test_shard_windows(void **state) {
  (void)state;
  static const int64_t bounds[] = {0, 10, 10, 35, 36, 60, 71, 90, 97, 120};
  enum { SHARDS = 9, SAMPLES = 120 };
  int first_shards[SHARDS] = {0};
  for (uint64_t seed = 0; seed < 200; seed++) {
    struct order order = {.seed = seed,
                          .count = SAMPLES,
                          .shuffle = SHUFFLE_WINDOW,
                          .window = 1 + (int64_t)(seed % 50),
                          .shard_bounds = bounds,
                          .shards = SHARDS};
    order.windows = order_windows_new(&order);
    for (int pass = 2; pass >= 0; pass--) /* not in order: what is remembered must not matter */
      assert_permutation(&order, pass * SAMPLES);
    const int64_t sample = order_sample(&order, 0, 5), again = order_sample(&order, 0, SAMPLES + 5);
    assert_int_equal(order_sample(&order, 0, 5), sample);
    assert_int_equal(order_sample(&order, 1, 5), again);
    int shard = 0, changes = 0, last = -1;
    for (int64_t i = 0; i < SAMPLES; i++) {
      for (shard = 0; bounds[shard + 1] <= order_sample(&order, 0, i); shard++)
        ;
      first_shards[shard] += i == 0;
      changes += shard != last;
      last = shard;
    }
    assert_true(order.window > 1 || changes == SHARDS - 1); /* windows of one shard: it is read whole (one is empty) */
    order_windows_release(order.windows);
  }
  for (int shard = 0; shard < SHARDS; shard++)
    assert_true(shard == 1 ? first_shards[shard] == 0 : first_shards[shard] > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_shard_windows),  cmocka_unit_test(test_permutations),
                                     cmocka_unit_test(test_passes_differ),  cmocka_unit_test(test_windows),
                                     cmocka_unit_test(test_virtual_epochs), cmocka_unit_test(test_resampled),
                                     cmocka_unit_test(test_replacement)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Learning rates step by step against the peers' numbers, and the rules where there are no numbers. */
#include "reference.h"
#include "train/schedule.h"
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

static double number(const json_t *object, const char *key) {
  return json_number_value(json_object_get(object, key));
}

static struct schedule schedule_of(const char *name, const json_t *object) {
  return (struct schedule){.kind = schedule_kind_of(name),
                           .base = number(object, "base"),
                           .warmup = (int64_t)number(object, "warmup"),
                           .total = (int64_t)number(object, "total"),
                           .cooldown = (int64_t)number(object, "cooldown_steps"),
                           .cooldown_power = number(object, "cooldown_power"),
                           .cooldown_end = number(object, "cooldown_end_lr")};
}

static void rates_are_the_peers(void **state) {
  (void)state;
  char *path = reference_path("schedules.json");
  if (!path)
    skip();
  json_t *file = json_load_file(path, 0, NULL), *object;
  const char *name;
  memory_release(path);
  assert_int_equal(json_object_size(file), 3);
  json_object_foreach(file, name, object) {
    const struct schedule schedule = schedule_of(name, object);
    const json_t *rates = json_object_get(object, "lr");
    assert_int_equal(json_array_size(rates), schedule.total);
    for (size_t step = 0; step < json_array_size(rates); step++) {
      const double expected = json_number_value(json_array_get(rates, step)),
                   actual = schedule_rate(&schedule, (int64_t)step);
      if (!(fabs(actual - expected) <= 1e-12 * schedule.base))
        fail_msg("%s, step %d: %.15g instead of %.15g", name, (int)step, actual, expected);
    }
  }
  json_decref(file);
}

static void edges(void **state) {
  (void)state;
  struct schedule schedule = {.kind = SCHEDULE_COSINE, .base = 2, .total = 10};
  assert_true(schedule_rate(&schedule, 0) == 2); /* no warm-up: the peak at once */
  assert_true(schedule_rate(&schedule, 9) > 0);  /* never exactly 0 */
  schedule = (struct schedule){.kind = SCHEDULE_CONST_COOLDOWN, .base = 2, .total = 10};
  assert_true(schedule_rate(&schedule, 9) == 2); /* a cooldown of no steps */
  schedule = (struct schedule){
      .kind = SCHEDULE_CONST_COOLDOWN, .base = 2, .total = 10, .cooldown = 4, .cooldown_power = 1, .cooldown_end = 1};
  assert_true(schedule_rate(&schedule, 5) == 2 && schedule_rate(&schedule, 6) == 2);
  assert_true(fabs(schedule_rate(&schedule, 8) - 1.5) < 1e-12);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(rates_are_the_peers), cmocka_unit_test(edges)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}

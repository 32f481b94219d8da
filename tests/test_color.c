/* Changes of colour: bit for bit torchvision's (parity/make_parity.py), and drawn as often and as strongly as asked. */
#include "base/memory.h"
#include "base/text.h"
#include "data/image.h"
#include "fixture.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { PIXELS = 36, BYTES = 3 * PIXELS, KEYS = 4000 };
static const char *const kinds[IMAGE_COLORS] = {"brightness.", "contrast.", "saturation.", "hue."};
static uint8_t pixels[BYTES];

static struct random_key key_of(int index) {
  return (struct random_key){.seed = 3, .index = (uint64_t)index, .use = RANDOM_COLOR};
}

static void change(const char *name, uint8_t *changed) {
  int kind = 0;
  while (kind < IMAGE_COLORS && !text_starts_with(name, kinds[kind]))
    kind++;
  memcpy(changed, pixels, BYTES);
  if (kind == IMAGE_COLORS)
    image_make_gray(changed, PIXELS);
  else
    image_adjust_color((enum image_color)kind, atof(name + strlen(kinds[kind])), changed, PIXELS);
}

static void changes_are_torchvisions(void **state) {
  (void)state;
  struct safetensors file;
  char *path = unpacked_path("parity/colors.safetensors");
  if (safetensors_open(path, &file) != STATUS_OK)
    fail_msg("%s", error_message());
  memcpy(pixels, safetensors_find(&file, "pixels")->data, BYTES);
  assert_int_equal(file.count, 10);
  for (int64_t i = 0; i < file.count; i++) {
    uint8_t changed[BYTES];
    if (strcmp(file.entries[i].name, "pixels") == 0)
      continue;
    change(file.entries[i].name, changed);
    if (memcmp(changed, file.entries[i].data, BYTES) != 0)
      fail_msg("%s is not torchvision's", file.entries[i].name);
  }
  safetensors_close(&file);
  memory_release(path);
}

/* How many of KEYS pictures change, and how many become gray. */
static void count_changes(const struct color_jitter *jitter, int *changed, int *gray) {
  *changed = *gray = 0;
  for (int k = 0; k < KEYS; k++) {
    uint8_t first[BYTES], again[BYTES];
    bool colorless = true;
    memcpy(first, pixels, BYTES);
    memcpy(again, pixels, BYTES);
    const struct random_key key = key_of(k);
    image_jitter(jitter, &key, first, PIXELS);
    image_jitter(jitter, &key, again, PIXELS);
    assert_memory_equal(first, again, BYTES);
    for (int i = 0; i < BYTES; i++)
      colorless &= first[i] == first[i / 3 * 3];
    *gray += colorless;
    *changed += memcmp(first, pixels, BYTES) != 0;
  }
}

static void expect_share(int count, double share) {
  if (!(fabs((double)count / KEYS - share) <= 4 * sqrt(share * (1 - share) / KEYS) + 1e-9))
    fail_msg("%d of %d, not a share of %g", count, KEYS, share);
}

static void shares_are_as_asked(void **state) {
  (void)state;
  int changed, gray;
  count_changes(&(struct color_jitter){.strength = {0.4, 0.4, 0.4, 0.1}}, &changed, &gray);
  assert_true(changed == 0 && gray == 0);
  count_changes(&(struct color_jitter){.probability = 1}, &changed, &gray);
  assert_true(changed == 0 && gray == 0);
  count_changes(&(struct color_jitter){.gray_probability = 0.2}, &changed, &gray);
  assert_int_equal(changed, gray);
  expect_share(gray, 0.2);
  count_changes(&(struct color_jitter){.strength = {0.4, 0.4, 0.4, 0.1}, .probability = 0.8}, &changed, &gray);
  expect_share(changed, 0.8);
  assert_int_equal(gray, 0);
}

/* Brightness alone: a white pixel tells the factor below one, uniform from 1 - strength up. */
static void factors_are_uniform(void **state) {
  (void)state;
  const struct color_jitter jitter = {.strength = {0.5}, .probability = 1};
  int darker = 0, dark = 0;
  for (int k = 0; k < KEYS; k++) {
    uint8_t white[3] = {255, 255, 255};
    const struct random_key key = key_of(k);
    image_jitter(&jitter, &key, white, 1);
    assert_true(white[0] >= 127);
    darker += white[0] < 255;
    dark += white[0] < 191;
  }
  expect_share(darker, 0.5);
  expect_share(dark, 0.25);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(changes_are_torchvisions), cmocka_unit_test(shares_are_as_asked),
                                     cmocka_unit_test(factors_are_uniform)};
  return cmocka_run_group_tests_name("colors", tests, NULL, NULL);
}

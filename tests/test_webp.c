/* WebP: Pillow's pixels to the bit (parity/make_parity.py), truncated files refused; refused by name where the build
 * has no libwebp. */
#include "base/memory.h"
#include "base/text.h"
#include "data/image.h"
#include "fixture.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static struct safetensors file;

static const struct tensor_entry *find(const char *name, const char *suffix) {
  char *full = text_format("%s%s", name, suffix);
  const struct tensor_entry *entry = safetensors_find(&file, full);
  if (!entry)
    fail_msg("%s is missing", full);
  memory_release(full);
  return entry;
}

static const char *const names[] = {"lossy", "lossless", "turned", "alpha", "exact", "moving"};
enum { NAMES = sizeof names / sizeof *names };

static void pixels_are_pillows(void **state) {
  (void)state;
  struct image image = {0};
  for (int i = 0; i < NAMES && image_reads_webp(); i++) {
    const struct tensor_entry *bytes = find(names[i], ""), *pixels = find(names[i], ".pixels");
    int width = 0, height = 0;
    if (image_decode(bytes->data, (size_t)bytes->elements, NULL, &image) != STATUS_OK)
      fail_msg("%s: %s", names[i], error_message());
    assert_int_equal(image.height, pixels->shape[0]);
    assert_int_equal(image.width, pixels->shape[1]);
    assert_memory_equal(image.pixels, pixels->data, (size_t)pixels->elements);
    assert_int_equal(image_peek(bytes->data, (size_t)bytes->elements, &width, &height), STATUS_OK);
    assert_true(width == image.width && height == image.height);
  }
  image_release(&image);
}

static void orientation_on_request(void **state) {
  (void)state;
  struct image image = {0};
  const struct image_limits limits = {.exif_orientation = true};
  const struct tensor_entry *bytes = find("turned", ""), *pixels = find("turned", ".pixels");
  if (!image_reads_webp())
    return;
  assert_int_equal(image_decode(bytes->data, (size_t)bytes->elements, &limits, &image), STATUS_OK);
  assert_true(image.width == pixels->shape[0] && image.height == pixels->shape[1]);
  /* a quarter turn to the right: the lower left corner comes to the upper left */
  assert_memory_equal(image.pixels, (const uint8_t *)pixels->data + (pixels->shape[0] - 1) * pixels->shape[1] * 3, 3);
  image_release(&image);
}

static void refusals(void **state) {
  (void)state;
  struct image image = {0};
  for (int i = 0; i < NAMES; i++) {
    const struct tensor_entry *bytes = find(names[i], "");
    const size_t end = (size_t)bytes->elements - (image_reads_webp() ? 1 : 0);
    for (size_t size = 12; size <= end; size++)
      if (image_decode(bytes->data, size, NULL, &image) != STATUS_INPUT || !strstr(error_message(), "WebP"))
        fail_msg("%s, %zu bytes: taken, or refused by another name", names[i], size);
  }
  const struct image_limits limits = {.max_pixels = 98};
  const struct tensor_entry *bytes = find("lossy", "");
  assert_int_equal(image_decode(bytes->data, (size_t)bytes->elements, &limits, &image), STATUS_INPUT);
  image_release(&image);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(pixels_are_pillows), cmocka_unit_test(orientation_on_request),
                                     cmocka_unit_test(refusals)};
  char *path = unpacked_path("parity/webp.safetensors");
  if (safetensors_open(path, &file) != STATUS_OK)
    fatal("%s", error_message());
  const int failed = cmocka_run_group_tests_name("webp", tests, NULL, NULL);
  safetensors_close(&file);
  memory_release(path);
  return failed;
}

/* Pictures: decoding, resizing with every instruction set, crops, damage; and the pixels of the reference where it is
 * at hand. */
#include "config.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/image.h"
#include "data/image_kernels.h"
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const struct random_key key = {.seed = 1, .use = RANDOM_TEST};

static struct image noise_image(int width, int height, uint64_t counter) {
  struct image image = {.width = width, .height = height, .capacity_bytes = (size_t)width * height * 3};
  image.pixels = memory_allocate(image.capacity_bytes, "test");
  for (size_t i = 0; i < image.capacity_bytes; i++)
    image.pixels[i] = (uint8_t)random_bits(&key, counter * 1000003 + i);
  return image;
}

static double cubic(double x) {
  x = fabs(x);
  return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

/* One pass along an axis in the plainest form: in [lines, in, step] -> out [lines, out, step]. */
static void plain_pass(const uint8_t *from, int lines, int in, int out, size_t line_bytes, size_t step, uint8_t *to,
                       size_t to_line_bytes, size_t to_step) {
  const double scale = (double)in / out, width = scale > 1 ? scale : 1;
  for (int x = 0; x < out; x++) {
    const double centre = (x + 0.5) * scale;
    const int first = (int)fmax(0, centre - 2 * width + 0.5), end = (int)fmin(in, centre + 2 * width + 0.5);
    double sum = 0;
    for (int i = first; i < end; i++)
      sum += cubic((i - centre + 0.5) / width);
    for (int line = 0; line < lines; line++)
      for (int c = 0; c < 3; c++) {
        int64_t total = 1 << 21;
        for (int i = first; i < end; i++)
          total += (int64_t)round(cubic((i - centre + 0.5) / width) / sum * (1 << 22)) *
                   from[line * line_bytes + i * step + c];
        total >>= 22;
        to[line * to_line_bytes + x * to_step + c] = (uint8_t)(total < 0 ? 0 : total > 255 ? 255 : total);
      }
  }
}

static void plain_resize(const struct image *from, int width, int height, bool rows_first, uint8_t *out) {
  uint8_t *middle =
      memory_allocate((size_t)3 * (rows_first ? from->width : width) * (rows_first ? height : from->height), "test");
  const size_t in_bytes = (size_t)from->width * 3, out_bytes = (size_t)width * 3;
  if (rows_first) {
    plain_pass(from->pixels, from->width, from->height, height, 3, in_bytes, middle, 3, in_bytes);
    plain_pass(middle, height, from->width, width, in_bytes, 3, out, out_bytes, 3);
  } else {
    plain_pass(from->pixels, from->height, from->width, width, in_bytes, 3, middle, out_bytes, 3);
    plain_pass(middle, width, from->height, height, 3, out_bytes, out, 3, out_bytes);
  }
  memory_release(middle);
}

static int below(uint64_t counter, int bound) {
  return (int)random_below(&key, counter, (uint64_t)bound);
}

static void test_resize_is_the_formula(void **state) {
  (void)state;
  struct image_workspace workspace = {0};
  struct image out = {0};
  for (uint64_t i = 0; i < 60; i++) {
    struct image image = noise_image(1 + below(i * 8, 90), 1 + below(i * 8 + 1, 90), i);
    const int width = 1 + below(i * 8 + 2, 70), height = 1 + below(i * 8 + 3, 70);
    const int narrower = image.width > width ? image.width - width : 0;
    const struct image_box whole = {0, 0, image.width, image.height};
    assert_int_equal(image_resize(&image, &whole, width, height, &workspace, &out), STATUS_OK);
    uint8_t *expected = memory_allocate((size_t)width * height * 3, "test");
    plain_resize(&image, width, height, image.height - height > 2 * narrower, expected);
    int worst = 0; /* a weight a hair from one half may round the other way: one level */
    for (int p = 0; p < width * height * 3; p++)
      worst = abs(out.pixels[p] - expected[p]) > worst ? abs(out.pixels[p] - expected[p]) : worst;
    assert_true(worst <= 1);
    memory_release(expected);
    image_release(&image);
  }
  image_release(&out);
  image_workspace_release(&workspace);
}

static void compare_kernels(const struct image_kernels *kernels, uint64_t trial) {
  const int count = 1 + below(trial, 40), groups = 1 + below(trial + 1, 5), columns = 60 + groups * IMAGE_TAP_GROUP;
  const size_t weights = (size_t)groups * 2 * IMAGE_TAP_GROUP, row_bytes = (size_t)columns * 3 + 64;
  struct image_taps taps = {.count = count, .groups = groups};
  taps.first = memory_allocate(sizeof *taps.first * (size_t)count, "test");
  taps.weights = memory_allocate(sizeof *taps.weights * (size_t)count * weights, "test");
  for (int x = 0; x < count; x++)
    taps.first[x] = below(trial * 1000 + (uint64_t)x, 60);
  for (size_t i = 0; i < (size_t)count * weights; i++) {
    const bool high = i % (2 * IMAGE_TAP_GROUP) < IMAGE_TAP_GROUP;
    taps.weights[i] = (int16_t)(high ? below(trial * 7 + i, 1000) - 400 : below(trial * 7 + i, 2048));
  }
  struct image source = noise_image((int)row_bytes, groups * IMAGE_TAP_GROUP, trial);
  uint8_t *results[2], *outs[2][IMAGE_ROW_BLOCK];
  const uint8_t *from[IMAGE_ROW_BLOCK], *rows[64];
  for (int r = 0; r < IMAGE_ROW_BLOCK; r++)
    from[r] = source.pixels + (size_t)r * row_bytes;
  for (int r = 0; r < groups * IMAGE_TAP_GROUP; r++)
    rows[r] = source.pixels + (size_t)r * row_bytes;
  const struct image_kernels *both[2] = {&image_kernels_generic, kernels};
  const int bytes = count * 3 < (int)row_bytes - 64 ? count * 3 : (int)row_bytes - 64;
  for (int k = 0; k < 2; k++) {
    results[k] = memory_allocate(5 * 512, "test");
    for (int r = 0; r < IMAGE_ROW_BLOCK; r++)
      outs[k][r] = results[k] + r * 512;
    both[k]->horizontal(from, &taps, outs[k]);
    both[k]->vertical(rows, taps.weights, groups, results[k] + 4 * 512, bytes);
  }
  for (int r = 0; r < IMAGE_ROW_BLOCK; r++)
    assert_memory_equal(outs[0][r], outs[1][r], (size_t)count * 3);
  assert_memory_equal(results[0] + 4 * 512, results[1] + 4 * 512, (size_t)bytes);
  for (int k = 0; k < 2; k++)
    memory_release(results[k]);
  memory_release(taps.first);
  memory_release(taps.weights);
  image_release(&source);
}

static void test_kernels_agree(void **state) {
  (void)state;
#ifdef HAVE_X86_KERNELS
  __builtin_cpu_init();
  for (uint64_t trial = 0; trial < 200; trial++) {
    if (__builtin_cpu_supports("avx2"))
      compare_kernels(&image_kernels_avx2, trial);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
      compare_kernels(&image_kernels_avx512, trial);
  }
#else
  compare_kernels(&image_kernels_generic, 0);
#endif
}

static void test_transform_is_resize_and_cut(void **state) {
  (void)state;
  struct image_workspace workspace = {0};
  for (uint64_t i = 0; i < 20; i++) {
    struct image image = noise_image(20 + below(i * 4, 80), 20 + below(i * 4 + 1, 80), i), out = {0};
    const int size = 8 + below(i * 4 + 2, 30), shorter = image.width < image.height ? image.width : image.height;
    const int width = size * image.width / shorter, height = size * image.height / shorter;
    const int left = (int)rint((width - size) / 2.0), top = (int)rint((height - size) / 2.0);
    uint8_t *cut = memory_allocate((size_t)size * size * 3, "test");
    assert_int_equal(image_transform_eval(&image, size, &workspace, cut), STATUS_OK);
    assert_int_equal(
        image_resize(&image, &(struct image_box){0, 0, image.width, image.height}, width, height, &workspace, &out),
        STATUS_OK);
    for (int y = 0; y < size; y++)
      assert_memory_equal(cut + (size_t)y * size * 3, out.pixels + ((size_t)(top + y) * width + left) * 3,
                          (size_t)size * 3);
    memory_release(cut);
    image_release(&image);
    image_release(&out);
  }
  image_workspace_release(&workspace);
}

/* A plain resize of the whole picture to width x height, its middle cut out or its margins filled. */
static void check_transform(const struct image *image, const struct image_transform *transform, int width, int height) {
  struct image_workspace workspace = {0};
  struct image whole = {0};
  const struct image_box box = {0, 0, image->width, image->height};
  uint8_t *out = memory_allocate((size_t)transform->width * (size_t)transform->height * 3, "test");
  if (width < 1 || height < 1) {
    assert_int_equal(image_transform(image, transform, &workspace, out), STATUS_INPUT);
  } else {
    assert_int_equal(image_transform(image, transform, &workspace, out), STATUS_OK);
    assert_int_equal(image_resize(image, &box, width, height, &workspace, &whole), STATUS_OK);
    const int left = width < transform->width ? (transform->width - width) / 2
                                              : -(int)rint((width - transform->width) / 2.0),
              top = height < transform->height ? (transform->height - height) / 2
                                               : -(int)rint((height - transform->height) / 2.0);
    for (int y = 0; y < transform->height; y++)
      for (int x = 0; x < transform->width; x++) {
        const bool shown = x >= left && x < left + width && y >= top && y < top + height;
        const size_t at = shown ? ((size_t)(y - top) * (size_t)width + (size_t)(x - left)) * 3 : 0;
        assert_int_equal(out[(y * transform->width + x) * 3 + 1], shown ? whole.pixels[at + 1] : transform->fill);
      }
  }
  memory_release(out);
  image_release(&whole);
  image_workspace_release(&workspace);
}

/* The other ways of evaluation, and oblong pictures. */
static void test_transform_modes(void **state) {
  (void)state;
  static const int sides[][2] = {{40, 30}, {9, 31}, {16, 16}, {3, 200}, {11, 7}, {48, 20}},
                   targets[][2] = {{16, 16}, {24, 10}, {8, 40}};
  for (size_t i = 0; i < sizeof sides / sizeof sides[0]; i++) {
    struct image image = noise_image(sides[i][0], sides[i][1], 40 + i);
    for (size_t t = 0; t < sizeof targets / sizeof targets[0]; t++) {
      struct image_transform transform = {targets[t][0], targets[t][1], RESIZE_SQUASH, false, 77};
      const double wide = (double)image.width / transform.width, high = (double)image.height / transform.height;
      check_transform(&image, &transform, transform.width, transform.height);
      transform.mode = RESIZE_LONGEST;
      check_transform(&image, &transform, (int)rint(image.width / fmax(wide, high)),
                      (int)rint(image.height / fmax(wide, high)));
      transform.mode = RESIZE_SHORTEST;
      transform.bilinear = transform.width != transform.height; /* which is passed over there */
      if (transform.bilinear)
        check_transform(&image, &transform, (int)rint(image.width / fmin(wide, high)),
                        (int)rint(image.height / fmin(wide, high)));
    }
    image_release(&image);
  }
  struct image_transform transform = {0};
  assert_int_equal(image_transform_parse("squash", "bilinear", &transform), STATUS_OK);
  assert_true(transform.mode == RESIZE_SQUASH && transform.bilinear);
  assert_int_equal(image_transform_parse("crop", "bicubic", &transform), STATUS_INPUT);
  assert_int_equal(image_transform_parse("longest", "nearest", &transform), STATUS_INPUT);
}

/* Bilinear of a ramp is the ramp, and of two pixels into four what one computes by hand. */
static void test_bilinear(void **state) {
  (void)state;
  uint8_t pixels[2 * 2 * 3 + 64] = {0, 0, 0, 200, 200, 200, 0, 0, 0, 200, 200, 200}, out[4 * 4 * 3];
  const struct image image = {.pixels = pixels, .width = 2, .height = 2, .capacity_bytes = sizeof pixels};
  struct image_workspace workspace = {0};
  const struct image_transform transform = {.width = 4, .height = 4, .bilinear = true};
  assert_int_equal(image_transform(&image, &transform, &workspace, out), STATUS_OK);
  for (int i = 0; i < 16; i++)
    assert_int_equal(out[3 * i], ((const int[]){0, 50, 150, 200})[i % 4]);
  image_workspace_release(&workspace);
}

static void test_crop_box(void **state) {
  (void)state;
  const struct crop_range range = {{0.9, 1.0}, {0.75, 4.0 / 3}};
  for (uint64_t i = 0; i < 2000; i++) {
    const int width = 1 + below(i * 2, 300), height = 1 + below(i * 2 + 1, 300);
    const struct random_key sample = {.seed = 3, .index = i, .use = RANDOM_CROP};
    const struct image_box box = image_crop_box(width, height, &range, &sample),
                           again = image_crop_box(width, height, &range, &sample);
    assert_memory_equal(&box, &again, sizeof box);
    assert_true(box.left >= 0 && box.top >= 0 && box.width > 0 && box.height > 0);
    assert_true(box.left + box.width <= width && box.top + box.height <= height);
  }
  const struct image_box thin = image_crop_box(1000, 10, &range, &key);
  assert_int_equal(thin.width, 13);
  assert_int_equal(thin.left, 493);
  assert_int_equal(thin.height, 10);
}

static void test_encode_and_damage(void **state) {
  (void)state;
  struct image image = noise_image(61, 47, 5), back = {0};
  void *bytes;
  size_t size;
  assert_int_equal(image_encode_jpeg(&image, 90, &bytes, &size), STATUS_OK);
  int width, height;
  assert_int_equal(image_peek(bytes, size, &width, &height), STATUS_OK);
  assert_int_equal(width, 61);
  assert_int_equal(height, 47);
  assert_int_equal(image_decode(bytes, size, NULL, &back), STATUS_OK);
  for (size_t cut = 0; cut < size - 1; cut += 1 + size / 97) {
    char *part = memory_allocate(cut, "test"); /* a block of its own, so that reads past its end are seen */
    memcpy(part, bytes, cut);
    assert_int_equal(image_decode(part, cut, NULL, &back), STATUS_INPUT);
    memory_release(part);
  }
  for (uint64_t i = 0; i < 300; i++) { /* any status, no crash */
    uint8_t *hurt = memory_allocate(size, "test");
    memcpy(hurt, bytes, size);
    for (uint64_t k = 0; k < 4; k++)
      hurt[random_below(&key, i * 8 + k, size)] = (uint8_t)random_bits(&key, i * 8 + k + 4);
    const enum status status = image_decode(hurt, size, &(struct image_limits){100000, i % 2 == 0}, &back);
    assert_true(status == STATUS_OK || status == STATUS_INPUT);
    memory_release(hurt);
  }
  memory_release(bytes);
  image_release(&image);
  image_release(&back);
}

static void test_limits(void **state) {
  (void)state;
  struct image image = {0};
  static const uint8_t huge[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0,    0, 0,    13,
                                 'I',  'H', 'D', 'R', 0,    0,    0x4e, 0x20, 0,    0, 0x4e, 0x20,
                                 8,    2,   0,   0,   0,    0x6c, 0x12, 0xd1, 0x6e, 0, 0,    0,
                                 0,    'I', 'D', 'A', 'T',  0x35, 0xaf, 0x06, 0x1e};
  assert_int_equal(image_decode(huge, sizeof huge, NULL, &image), STATUS_INPUT);
  assert_non_null(strstr(error_message(), "20000 x 20000"));
  assert_non_null(strstr(error_message(), "data.max_image_megapixels"));
  uint8_t wrong[sizeof huge];
  memcpy(wrong, huge, sizeof huge);
  wrong[32] ^= 1;
  assert_int_equal(image_decode(wrong, sizeof wrong, NULL, &image), STATUS_INPUT);
  assert_non_null(strstr(error_message(), "checksum"));
  assert_int_equal(image_decode("", 0, NULL, &image), STATUS_INPUT);
  assert_null(image.pixels);
}

/* What is no picture that we read is named. */
static void test_other_formats(void **state) {
  (void)state;
  static const struct {
    const char *bytes; /* of eight or more */
    const char *name;
  } formats[] = {{"GIF89a..", "GIF"},         {"RIFF....WEBPVP8 ", "WebP"}, {"BM......", "BMP"},
                 {"II*\0....", "TIFF"},       {"MM\0*....", "TIFF"},        {"....ftypavif....", "AVIF"},
                 {"....ftypheic", "HEIF"},    {"....ftypmif1", "HEIF"},     {"%PDF-1.7 ....", "PDF"},
                 {"<!DOCTYPE html>", "HTML"}, {"\n<html>....", "HTML"},     {"....jP  ", "JPEG 2000"},
                 {"some words ", "neither"}};
  struct image image = {0};
  for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
    const size_t length = strlen(formats[i].bytes), size = length < 8 ? 8 : length;
    assert_int_equal(image_decode(formats[i].bytes, size, NULL, &image), STATUS_INPUT);
    if (!strstr(error_message(), formats[i].name))
      fail_msg("%s: %s", formats[i].name, error_message());
  }
}

/* A file that ends behind the last row is read, as Pillow does it: 12 bytes of the end, 4 and 4 of two checksums, and
 * the last bits of the packed data may be missing. */
static void test_png_ends_early(void **state) {
  (void)state;
  static const char path[] = "test_image_early.png";
  struct image image = noise_image(9, 7, 2), back = {0};
  struct text file = {0};
  assert_int_equal(image_write_png(path, &image), STATUS_OK);
  assert_int_equal(file_read(path, &file), STATUS_OK);
  unlink(path);
  for (size_t missing = 0; missing < file.length - 8; missing++) {
    const enum status status = image_decode(file.data, file.length - missing, NULL, &back);
    if (missing <= 20)
      assert_int_equal(status, STATUS_OK);
    if (missing > 22)
      assert_int_equal(status, STATUS_INPUT);
    if (status == STATUS_OK)
      assert_memory_equal(back.pixels, image.pixels, 9 * 7 * 3);
  }
  text_release(&file);
  image_release(&image);
  image_release(&back);
}

static void test_png_file(void **state) {
  (void)state;
  struct image image = noise_image(9, 7, 2), back = {0};
  char path[] = "/tmp/memclip-image-XXXXXX";
  const int file = mkstemp(path);
  assert_true(file >= 0);
  close(file);
  assert_int_equal(image_write_png(path, &image), STATUS_OK);
  struct text content = {0};
  assert_int_equal(file_read(path, &content), STATUS_OK);
  assert_int_equal(image_decode(content.data, content.length, NULL, &back), STATUS_OK);
  assert_memory_equal(image.pixels, back.pixels, 9 * 7 * 3);
  assert_int_equal(image_decode(content.data, content.length / 2, NULL, &back), STATUS_INPUT);
  unlink(path);
  text_release(&content);
  image_release(&image);
  image_release(&back);
}

static char *reference_path(const char *name) {
  const char *root = getenv("MEMCLIP_REFERENCE"), *top = getenv("top_srcdir");
  return root ? text_format("%s/%s", root, name) : text_format("%s/../shared/reference/%s", top ? top : "..", name);
}

static void load(const char *name, struct image *image) {
  char *path = reference_path(name);
  struct text content = {0};
  assert_int_equal(file_read(path, &content), STATUS_OK);
  assert_int_equal(image_decode(content.data, content.length, NULL, image), STATUS_OK);
  text_release(&content);
  memory_release(path);
}

static void check_pixels(const char *stem, const char *kind, int size, const uint8_t *found) {
  char *name = text_format("pixels/out/%s.%s%d.png", stem, kind, size);
  struct image expected = {0};
  load(name, &expected);
  if (memcmp(expected.pixels, found, (size_t)size * size * 3) != 0)
    fail_msg("%s differs", name);
  image_release(&expected);
  memory_release(name);
}

static void check_case(const json_t *entry, struct image_workspace *workspace) {
  const char *file = json_string_value(json_object_get(entry, "file"));
  char *name = text_format("pixels/in/%s", file), *stem = memory_copy_string(file, "test");
  *strrchr(stem, '.') = '\0';
  struct image image = {0};
  load(name, &image);
  uint8_t *out = memory_allocate((size_t)512 * 512 * 3, "test");
  size_t index;
  json_t *value;
  json_array_foreach(json_object_get(entry, "evals"), index, value) {
    const int size = (int)json_integer_value(value);
    assert_int_equal(image_transform_eval(&image, size, workspace, out), STATUS_OK);
    check_pixels(stem, "eval", size, out);
  }
  struct image_box box;
  int size;
  json_unpack(json_object_get(entry, "crop"), "{s:i,s:i,s:i,s:i,s:i}", "left", &box.left, "top", &box.top, "width",
              &box.width, "height", &box.height, "size", &size);
  assert_int_equal(image_transform_crop(&image, &box, size, size, workspace, out), STATUS_OK);
  check_pixels(stem, "crop", size, out);
  memory_release(out);
  memory_release(stem);
  memory_release(name);
  image_release(&image);
}

static void test_reference(void **state) {
  (void)state;
  char *path = reference_path("pixels/cases.json");
  json_t *root = json_load_file(path, 0, NULL);
  memory_release(path);
  if (!root)
    skip();
  struct image_workspace workspace = {0};
  size_t index;
  json_t *entry;
  json_array_foreach(json_object_get(root, "cases"), index, entry) check_case(entry, &workspace);
  image_workspace_release(&workspace);
  json_decref(root);
}

static void test_no_leak(void **state) {
  (void)state;
  assert_int_equal(memory_report_live(true), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_resize_is_the_formula),
      cmocka_unit_test(test_kernels_agree),
      cmocka_unit_test(test_transform_is_resize_and_cut),
      cmocka_unit_test(test_transform_modes),
      cmocka_unit_test(test_bilinear),
      cmocka_unit_test(test_crop_box),
      cmocka_unit_test(test_encode_and_damage),
      cmocka_unit_test(test_limits),
      cmocka_unit_test(test_other_formats),
      cmocka_unit_test(test_png_ends_early),
      cmocka_unit_test(test_png_file),
      cmocka_unit_test(test_reference),
      cmocka_unit_test(test_no_leak),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

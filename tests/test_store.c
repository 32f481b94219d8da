/* The HDF5 store: what is written is read, by us and by h5dump; what is damaged or not there is refused in words. */
#define _GNU_SOURCE
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/host_tensor.h"
#include "io/store.h"
#include <fcntl.h>
#include <hdf5.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

static const char path[] = "test_store.h5";

static void assert_ok(enum status status) {
  if (status != STATUS_OK)
    fail_msg("status %d: %s", (int)status, error_message());
}

static void assert_words(enum status status, enum status expected, const char *words) {
  if (status != expected || strstr(error_message(), words) == NULL)
    fail_msg("status %d, wanted %d with \"%s\": %s", (int)status, (int)expected, words, error_message());
}

static void write_example(void) {
  struct store *store;
  static const float weights[6] = {1, -2, 3.5f, 0, 1e-30f, 6e8f};
  static const int64_t steps[3] = {1, INT64_MAX, -5};
  const bf16 narrow[2] = {bf16_from_float(1.0f), bf16_from_float(-2.5f)};
  const uint8_t bytes[4] = {0, 1, 254, 255};
  const char *const captions[3] = {"a red cube", "", "ein grüner Würfel"};
  assert_ok(store_create(path, &store));
  assert_ok(store_write(store, "model/visual.z.weight", DTYPE_F32, 2, (int64_t[]){2, 3}, weights));
  assert_ok(store_write(store, "model/visual.a.narrow", DTYPE_BF16, 1, (int64_t[]){2}, narrow));
  assert_ok(store_link(store, "model/visual.z.weight", "model/visual.c.weight"));
  assert_ok(store_link(store, "model/visual.z.weight", "model/visual.d.weight"));
  assert_ok(store_write(store, "model/logit_scale", DTYPE_F32, 0, NULL, weights));
  assert_ok(store_write(store, "loader/steps", DTYPE_I64, 1, (int64_t[]){3}, steps));
  assert_ok(store_write(store, "loader/bytes", DTYPE_U8, 1, (int64_t[]){4}, bytes));
  assert_ok(store_write(store, "loader/none", DTYPE_F32, 2, (int64_t[]){0, 7}, weights));
  assert_ok(store_write_number(store, "progress/step", 1200));
  assert_ok(store_write_text(store, "run/input", "&run stage='distill' /\n"));
  assert_ok(store_write_text(store, "run/empty", ""));
  assert_ok(store_write_strings(store, "text/caption", captions, 3));
  assert_ok(store_write_attribute(store, "protocol", "flair"));
  assert_false(file_exists(path));
  assert_ok(store_publish(store));
  assert_true(file_exists(path));
}

static void test_round_trip(void **state) {
  (void)state;
  struct store *store;
  float weights[6];
  double wide[6];
  int64_t steps[3], shape[TENSOR_AXES_MAX];
  int32_t bytes[4];
  double number;
  char *text;
  enum dtype dtype;
  int axes;
  write_example();
  assert_ok(store_open(path, &store));
  assert_ok(store_shape(store, "model/visual.z.weight", &dtype, &axes, shape));
  assert_true(dtype == DTYPE_F32 && axes == 2 && shape[0] == 2 && shape[1] == 3);
  assert_ok(store_read(store, "model/visual.z.weight", DTYPE_F32, 6, weights));
  assert_true(weights[2] == 3.5f && weights[5] == 6e8f);
  assert_ok(store_read(store, "model/visual.d.weight", DTYPE_F64, 6, wide));
  assert_true(wide[4] == (double)1e-30f);
  assert_ok(store_shape(store, "model/visual.a.narrow", &dtype, &axes, shape));
  assert_int_equal(dtype, DTYPE_BF16);
  assert_ok(store_read(store, "model/visual.a.narrow", DTYPE_F32, 2, weights));
  assert_true(weights[0] == 1.0f && weights[1] == -2.5f);
  assert_ok(store_shape(store, "model/logit_scale", &dtype, &axes, shape));
  assert_int_equal(axes, 0);
  assert_ok(store_read(store, "loader/steps", DTYPE_I64, 3, steps));
  assert_true(steps[1] == INT64_MAX && steps[2] == -5);
  assert_ok(store_read(store, "loader/bytes", DTYPE_I32, 4, bytes));
  assert_int_equal(bytes[3], 255);
  assert_ok(store_read(store, "loader/none", DTYPE_F32, 0, weights));
  assert_ok(store_read_number(store, "progress/step", &number));
  assert_true(number == 1200);
  assert_ok(store_read_text(store, "run/input", &text));
  assert_string_equal(text, "&run stage='distill' /\n");
  memory_release(text);
  assert_ok(store_read_text(store, "run/empty", &text));
  assert_string_equal(text, "");
  memory_release(text);
  assert_ok(store_read_attribute(store, "protocol", &text));
  assert_string_equal(text, "flair");
  memory_release(text);
  assert_true(store_has(store, "model/visual.c.weight") && !store_has(store, "model/visual.c") &&
              !store_has(store, "model/visual.c.weight.x"));
  assert_ok(store_verify(store));
  store_close(store);
}

static void test_lists(void **state) {
  (void)state;
  static const char *const expected[] = {"visual.z.weight", "visual.a.narrow", "visual.c.weight", "visual.d.weight",
                                         "logit_scale"};
  struct store *store;
  char **names;
  int64_t count;
  assert_ok(store_open(path, &store));
  assert_ok(store_list(store, "model", &names, &count));
  assert_int_equal(count, 5);
  for (int i = 0; i < 5; i++) {
    assert_string_equal(names[i], expected[i]);
    memory_release(names[i]);
  }
  memory_release(names);
  assert_ok(store_list(store, "optimizer", &names, &count));
  assert_int_equal(count, 0);
  memory_release(names);
  assert_ok(store_read_strings(store, "text/caption", &names, &count));
  assert_int_equal(count, 3);
  assert_string_equal(names[1], "");
  assert_string_equal(names[2], "ein grüner Würfel");
  for (int i = 0; i < 3; i++)
    memory_release(names[i]);
  memory_release(names);
  store_close(store);
}

static void test_refusals(void **state) {
  (void)state;
  struct store *store;
  float weights[6];
  int32_t narrow[3];
  assert_ok(store_open(path, &store));
  assert_words(store_read(store, "model/visual.y", DTYPE_F32, 6, weights), STATUS_INPUT, "no such dataset");
  assert_words(store_read(store, "model/visual.z.weight", DTYPE_F32, 5, weights), STATUS_INPUT,
               "holds 6 elements, wanted are 5");
  assert_words(store_read(store, "model/visual.z.weight", DTYPE_I64, 6, weights), STATUS_INPUT, "fp32");
  assert_words(store_read(store, "loader/steps", DTYPE_I32, 3, narrow), STATUS_INPUT, "do not fit");
  assert_words(store_read(store, "run/input", DTYPE_F32, 1, weights), STATUS_INPUT, "not numbers");
  store_close(store);
  assert_words(store_open("test_store_missing.h5", &store), STATUS_INPUT, "No such file");
  assert_words(store_open(".", &store), STATUS_INPUT, "not a regular file");
  assert_words(store_open("test_store", &store), STATUS_INPUT, "test_store");
  assert_words(store_create("missing_directory/x.h5", &store), STATUS_SYSTEM, "No such file or directory");
}

static void test_abandoned(void **state) {
  (void)state;
  struct store *store;
  assert_ok(store_create("test_store_abandoned.h5", &store));
  assert_ok(store_write_number(store, "progress/step", 1));
  store_close(store);
  assert_true(system("ls test_store_abandoned.h5* > /dev/null 2>&1") != 0);
}

/* Reads every dataset that the file still lists; must neither crash nor claim success for damaged weights. */
static bool verifies(const char *file) {
  struct store *store;
  if (store_open(file, &store) != STATUS_OK)
    return false;
  const bool intact = store_verify(store) == STATUS_OK;
  store_close(store);
  return intact;
}

static void test_damage(void **state) {
  (void)state;
  static const char damaged[] = "test_store_damaged.h5";
  struct text content = {0};
  assert_ok(file_read(path, &content));
  assert_true(verifies(path));
  float value = 3.5f;
  char *found = memmem(content.data, content.length, &value, sizeof value);
  assert_non_null(found);
  *found ^= 1;
  assert_ok(file_write_atomic(damaged, content.data, content.length));
  assert_false(verifies(damaged));
  struct store *store;
  float weights[6];
  assert_ok(store_open(damaged, &store));
  assert_words(store_read(store, "model/visual.z.weight", DTYPE_F32, 6, weights), STATUS_INPUT, "checksum");
  store_close(store);
  *found ^= 1;
  for (size_t length = 0; length < content.length; length += content.length / 50) {
    assert_ok(file_write_atomic(damaged, content.data, length));
    assert_false(verifies(damaged));
  }
  text_release(&content);
  unlink(damaged);
}

/* What numpy users write: no attributes, another order, other widths, fixed strings, compression, dots in a name. */
static void write_foreign(const char *file) {
  hid_t h = H5Fcreate(file, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT),
        group = H5Gcreate2(h, "image", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  const hsize_t lengths[2] = {2, 2}, chunk[2] = {1, 2}, two = 2;
  const double features[4] = {0.5, -1, 2, 1e-3};
  const int16_t owner[2] = {7, -8};
  hid_t plane = H5Screate_simple(2, lengths, NULL), line = H5Screate_simple(1, &two, NULL),
        packed = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_chunk(packed, 2, chunk);
  H5Pset_deflate(packed, 4);
  hid_t d = H5Dcreate2(group, "features", H5T_IEEE_F32BE, plane, H5P_DEFAULT, packed, H5P_DEFAULT);
  H5Dwrite(d, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, features);
  H5Dclose(d);
  d = H5Dcreate2(group, "owner.index", H5T_STD_I16BE, line, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  H5Dwrite(d, H5T_NATIVE_INT16, H5S_ALL, H5S_ALL, H5P_DEFAULT, owner);
  H5Dclose(d);
  hid_t fixed = H5Tcopy(H5T_C_S1);
  H5Tset_size(fixed, 6);
  H5Tset_strpad(fixed, H5T_STR_SPACEPAD);
  d = H5Dcreate2(group, "key", fixed, line, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  H5Dwrite(d, fixed, H5S_ALL, H5S_ALL, H5P_DEFAULT, "s00000s1    ");
  H5Dclose(d);
  H5Lcreate_external("test_store.h5", "/model", group, "outside", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_hard(h, "/image", group, "again", H5P_DEFAULT, H5P_DEFAULT);
  H5Tclose(fixed);
  H5Pclose(packed);
  H5Sclose(line);
  H5Sclose(plane);
  H5Gclose(group);
  H5Fclose(h);
}

static void test_foreign(void **state) {
  (void)state;
  static const char foreign[] = "test_store_foreign.h5";
  struct store *store;
  float features[4];
  int64_t owner[2], count;
  char **names;
  write_foreign(foreign);
  assert_ok(store_open(foreign, &store));
  assert_ok(store_read(store, "image/features", DTYPE_F32, 4, features));
  assert_true(features[0] == 0.5f && features[3] == 1e-3f);
  assert_ok(store_read(store, "image/owner.index", DTYPE_I64, 2, owner));
  assert_true(owner[0] == 7 && owner[1] == -8);
  assert_ok(store_read_strings(store, "image/key", &names, &count));
  assert_true(count == 2 && strcmp(names[0], "s00000") == 0 && strcmp(names[1], "s1") == 0);
  for (int64_t i = 0; i < count; i++)
    memory_release(names[i]);
  memory_release(names);
  assert_words(store_read(store, "image/outside/logit_scale", DTYPE_F32, 1, features), STATUS_INPUT, "outside");
  assert_false(store_has(store, "image/outside/logit_scale"));
  assert_words(store_list(store, "image/outside", &names, &count), STATUS_INPUT, "outside");
  assert_ok(store_list(store, "image", &names, &count));
  assert_int_equal(count, 3);
  for (int64_t i = 0; i < count; i++)
    memory_release(names[i]);
  memory_release(names);
  assert_ok(store_verify(store));
  store_close(store);
  unlink(foreign);
}

static enum status write_three(const char *file) {
  struct store *store;
  static float data[1 << 19];
  TRY(store_create(file, &store));
  for (int i = 0; i < 3; i++) {
    char name[32];
    snprintf(name, sizeof name, "model/w%d", i);
    store_write(store, name, DTYPE_F32, 1, (int64_t[]){1 << 19}, data);
  }
  return store_publish(store);
}

/* The file may grow to `limit` bytes, as on a full disk: it fails in words, and nothing is left behind. */
static void write_under_limit(rlim_t limit) {
  struct rlimit before, small;
  getrlimit(RLIMIT_FSIZE, &before);
  small = (struct rlimit){.rlim_cur = limit, .rlim_max = before.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  const enum status status = write_three("test_store_full.h5");
  setrlimit(RLIMIT_FSIZE, &before);
  assert_words(status, STATUS_SYSTEM, "test_store_full.h5: cannot ");
  assert_words(status, STATUS_SYSTEM, "File too large");
  assert_true(system("ls test_store_full.h5* > /dev/null 2>&1") != 0);
}

static void test_full_disk(void **state) {
  (void)state;
  int64_t size, modified;
  assert_ok(write_three("test_store_full.h5"));
  assert_ok(file_stat("test_store_full.h5", &size, &modified));
  unlink("test_store_full.h5");
  const int64_t limits[] = {0, 100, 2000, 1 << 20, 3 << 20, 5 << 20, size - 4096, size - 1000, size - 100, size - 1};
  for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
    write_under_limit((rlim_t)limits[i]);
  assert_ok(write_three("test_store_full.h5"));
  assert_true(verifies("test_store_full.h5"));
  unlink("test_store_full.h5");
}

static void test_h5dump(void **state) {
  (void)state;
  if (system("command -v h5dump > /dev/null 2>&1") != 0)
    skip();
  assert_int_equal(system("h5dump test_store.h5 > test_store.dump && grep -q 'ein gr' test_store.dump && grep -q "
                          "crc32c test_store.dump"),
                   0);
  assert_int_equal(system("h5dump -d /model/visual/d/weight test_store.h5 | grep -q shared_by"), 0);
  unlink("test_store.dump");
}

/* Halves against the definition: every half to float and back; rounding of values between two halves. */
static void test_halves(void **state) {
  (void)state;
  for (uint32_t h = 0; h < 0x10000; h++) {
    const uint16_t half = (uint16_t)h;
    uint16_t back;
    float value;
    double wide;
    host_tensor_convert(&value, DTYPE_F32, &half, DTYPE_F16, 1);
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    const double expected = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    if (exponent < 31)
      assert_true((double)value == (half & 0x8000 ? -expected : expected));
    host_tensor_convert(&back, DTYPE_F16, &value, DTYPE_F32, 1);
    assert_true(back == half || isnan(value));
    if (exponent == 31 || (half & 0x8000) || exponent == 30)
      continue;
    const double next = exponent == 0 ? ldexp(fraction + 1, -24) : ldexp(1025 + fraction, exponent - 25),
                 middle = (expected + next) / 2;
    for (int side = -1; side <= 1; side++) {
      wide = side == 0 ? middle : nextafter(middle, side < 0 ? 0 : 1e9);
      host_tensor_convert(&back, DTYPE_F16, &wide, DTYPE_F64, 1);
      assert_int_equal(back, side < 0 ? half : side > 0 ? half + 1 : half + (half & 1));
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip), cmocka_unit_test(test_lists),  cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_abandoned),  cmocka_unit_test(test_damage), cmocka_unit_test(test_foreign),
      cmocka_unit_test(test_full_disk),  cmocka_unit_test(test_h5dump), cmocka_unit_test(test_halves),
  };
  char directory[] = "test_store.XXXXXX";
  if (mkdtemp(directory) == NULL || chdir(directory) != 0)
    return 1;
  const int failed = cmocka_run_group_tests_name("store", tests, NULL, NULL);
  unlink(path);
  if (chdir("..") == 0)
    rmdir(directory);
  return failed != 0 || memory_report_live(true) != 0;
}

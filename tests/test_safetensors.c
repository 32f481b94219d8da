/* safetensors: round trip, conversions, and headers that lie. */
#define _GNU_SOURCE
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include "io/safetensors.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

static const char path[] = "test_safetensors.safetensors";

static void assert_ok(enum status status) {
  if (status != STATUS_OK)
    fail_msg("status %d: %s", (int)status, error_message());
}

static void test_round_trip(void **state) {
  (void)state;
  static const float weights[6] = {1, -2, 3.5f, 0, 65504, 1e-8f};
  const uint8_t flags[3] = {1, 0, 255};
  const uint16_t halves[2] = {0x3c00, 0xc100}; /* 1, -2.5 */
  const int64_t ids[2] = {7, -1};
  const struct tensor_entry entries[] = {
      {.name = "flags", .dtype = DTYPE_U8, .axes = 1, .shape = {3}, .elements = 3, .data = flags},
      {.name = "visual.proj", .dtype = DTYPE_F32, .axes = 2, .shape = {2, 3}, .elements = 6, .data = weights},
      {.name = "half", .dtype = DTYPE_F16, .axes = 1, .shape = {2}, .elements = 2, .data = halves},
      {.name = "ids", .dtype = DTYPE_I64, .axes = 1, .shape = {2}, .elements = 2, .data = ids},
      {.name = "logit_scale", .dtype = DTYPE_F32, .axes = 0, .elements = 1, .data = weights},
      {.name = "none", .dtype = DTYPE_F32, .axes = 1, .shape = {0}, .elements = 0, .data = weights},
  };
  struct safetensors file;
  float read[6];
  int32_t narrow[2];
  assert_ok(safetensors_write(path, entries, 6, NULL));
  assert_ok(safetensors_open(path, &file));
  assert_int_equal(file.count, 6);
  assert_string_equal(file.metadata, "{\"format\":\"pt\"}");
  for (int i = 0; i < 6; i++) {
    const struct tensor_entry *found = safetensors_find(&file, entries[i].name);
    assert_non_null(found);
    assert_true(found->dtype == entries[i].dtype && found->axes == entries[i].axes &&
                found->elements == entries[i].elements);
    assert_memory_equal(found->data, entries[i].data, (size_t)found->elements * dtype_size(found->dtype));
    assert_int_equal((uintptr_t)found->data % dtype_size(found->dtype), 0);
  }
  assert_null(safetensors_find(&file, "missing"));
  assert_ok(tensor_entry_read(safetensors_find(&file, "half"), DTYPE_F32, 2, read));
  assert_true(read[0] == 1.0f && read[1] == -2.5f);
  assert_ok(tensor_entry_read(safetensors_find(&file, "ids"), DTYPE_I32, 2, narrow));
  assert_true(narrow[0] == 7 && narrow[1] == -1);
  assert_int_equal(tensor_entry_read(safetensors_find(&file, "half"), DTYPE_F32, 3, read), STATUS_INPUT);
  assert_int_equal(tensor_entry_read(safetensors_find(&file, "ids"), DTYPE_F32, 2, read), STATUS_INPUT);
  safetensors_close(&file);
  const struct tensor_entry twins[] = {entries[1], entries[1]};
  assert_int_equal(safetensors_write(path, twins, 2, NULL), STATUS_INPUT);
  assert_int_equal(safetensors_write("missing_directory/x", entries, 1, NULL), STATUS_SYSTEM);
}

/* A file of this header and so many bytes of data. */
static enum status open_forged(uint64_t length, const char *header, size_t data_bytes) {
  struct safetensors file;
  unlink(path); /* truncating it would wait for the disk */
  FILE *out = fopen(path, "w");
  assert_non_null(out);
  for (int i = 0; i < 8; i++)
    fputc((int)(length >> (8 * i) & 0xff), out);
  fputs(header, out);
  for (size_t i = 0; i < data_bytes; i++)
    fputc('d', out);
  assert_int_equal(fclose(out), 0);
  const enum status status = safetensors_open(path, &file);
  if (status == STATUS_OK)
    safetensors_close(&file);
  return status;
}

static void test_forged(void **state) {
  (void)state;
  static const struct {
    const char *header;
    size_t data_bytes;
    const char *words; /* NULL: good */
  } cases[] = {
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, NULL},
      {"{\"a\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[0,2]}}   ", 2, NULL},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_"
       "offsets\":[0,4]}}",
       12, NULL},
      {"{}", 0, NULL},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, "cut short"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, "belong to no tensor"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, "do not need"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "impossible"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, "impossible"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}", 8, "impossible"},
      {"{\"a\":{\"dtype\":\"F64\",\"shape\":[2305843009213693952],\"data_offsets\":[0,0]}}", 0, "do not need"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8, "at most 8"},
      {"{\"a\":{\"dtype\":\"Q4\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "Q4"},
      {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "\"dtype\" is missing"},
      {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "\"shape\" is missing"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "\"data_offsets\" is missing"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "do not lie within"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, "do not lie within"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,99999999999999999999]}}", 8, "JSON"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_"
       "offsets\":[2,6]}}",
       6, "overlap"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_"
       "offsets\":[5,7]}}",
       7, "do not follow"},
      {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_"
       "offsets\":[0,1]}}",
       1, "JSON"},
      {"{\"__metadata__\":{\"x\":1}}", 0, "more than strings"},
      {"{\"__metadata__\":[]}", 0, "no object"},
      {"{\"a\":7}", 0, "\"dtype\" is missing"},
      {"[1]", 0, "begin with"},
      {"{\"a\":", 0, "JSON"},
      {"{\"\\u0000\":{}}", 0, "JSON"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const enum status status = open_forged(strlen(cases[i].header), cases[i].header, cases[i].data_bytes);
    if (cases[i].words == NULL)
      assert_ok(status);
    else if (status != STATUS_INPUT || strstr(error_message(), cases[i].words) == NULL)
      fail_msg("case %zu: status %d, wanted \"%s\": %s", i, (int)status, cases[i].words, error_message());
  }
  static const uint64_t lengths[] = {0, 3, 100, UINT64_MAX, UINT64_MAX - 7, 100000001, (uint64_t)1 << 63};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
    assert_int_equal(open_forged(lengths[i], "{}", 0), STATUS_INPUT);
}

/* Bytes of a good file changed at random: any answer but a crash or a range outside the file. */
static void test_mutations(void **state) {
  (void)state;
  static const char good[] =
      "{\"__metadata__\":{\"k\":\"v\"},\"a.b\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
      "\"c\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[8,9]}}";
  static const char alphabet[] = "{}[]\",:0123456789-eE.\\uFUBaxn \xff";
  for (uint64_t trial = 0; trial < 3000; trial++) {
    struct random_key key = {.seed = 1, .index = trial, .use = RANDOM_TEST};
    char header[sizeof good];
    memcpy(header, good, sizeof good);
    const uint64_t changes = 1 + random_below(&key, 0, 3);
    for (uint64_t c = 0; c < changes; c++)
      header[random_below(&key, 1 + 2 * c, sizeof good - 1)] =
          alphabet[random_below(&key, 2 + 2 * c, sizeof alphabet - 1)];
    open_forged(strlen(header), header, 9);
  }
}

/* A full disk leaves the file of before. */
static void test_full_disk(void **state) {
  (void)state;
  static float weights[100000];
  const struct tensor_entry entry = {
      .name = "w", .dtype = DTYPE_F32, .axes = 1, .shape = {100000}, .elements = 100000, .data = weights};
  struct safetensors file;
  struct rlimit limit;
  struct tensor_entry small = entry;
  small.shape[0] = small.elements = 10;
  assert_ok(safetensors_write(path, &small, 1, NULL));
  signal(SIGXFSZ, SIG_IGN);
  getrlimit(RLIMIT_FSIZE, &limit);
  const rlim_t before = limit.rlim_cur;
  limit.rlim_cur = 200000;
  setrlimit(RLIMIT_FSIZE, &limit);
  const enum status status = safetensors_write(path, &entry, 1, NULL);
  limit.rlim_cur = before;
  setrlimit(RLIMIT_FSIZE, &limit);
  assert_int_equal(status, STATUS_SYSTEM);
  assert_non_null(strstr(error_message(), "File too large"));
  assert_ok(safetensors_open(path, &file));
  assert_int_equal(file.entries[0].elements, 10);
  safetensors_close(&file);
}

static void test_strange_files(void **state) {
  (void)state;
  struct safetensors file;
  assert_int_equal(safetensors_open("missing.safetensors", &file), STATUS_INPUT);
  assert_int_equal(safetensors_open(".", &file), STATUS_INPUT);
  assert_ok(file_write_atomic(path, "", 0));
  assert_int_equal(safetensors_open(path, &file), STATUS_INPUT);
  assert_ok(file_write_atomic(path, "1234567", 7));
  assert_int_equal(safetensors_open(path, &file), STATUS_INPUT);
}

/* A file that the peers wrote; its absolute path, or NULL. */
static char *reference;

static char *find_reference(void) {
  const char *given = getenv("MEMCLIP_REFERENCE"), *source = getenv("top_srcdir");
  char *file = given != NULL ? text_format("%s/huggingface_features.safetensors", given)
                             : text_format("%s/../shared/reference/huggingface_features.safetensors",
                                           source != NULL ? source : "..");
  char *absolute = realpath(file, NULL);
  memory_release(file);
  return absolute;
}

static void test_reference(void **state) {
  (void)state;
  struct safetensors file;
  if (reference == NULL)
    skip();
  assert_ok(safetensors_open(reference, &file));
  assert_true(file.count > 0);
  safetensors_close(&file);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip), cmocka_unit_test(test_forged),        cmocka_unit_test(test_mutations),
      cmocka_unit_test(test_full_disk),  cmocka_unit_test(test_strange_files), cmocka_unit_test(test_reference),
  };
  char directory[] = "test_safetensors.XXXXXX";
  reference = find_reference();
  if (mkdtemp(directory) == NULL || chdir(directory) != 0)
    return 1;
  const int failed = cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
  unlink(path);
  if (chdir("..") == 0)
    rmdir(directory);
  free(reference);
  return failed != 0 || memory_report_live(true) != 0;
}

/* Readers of others' weights: zip archives, pickles that nobody runs, torch files, sets of safetensors. */
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "io/safetensors.h"
#include "io/tensor_file.h"
#include "io/zip.h"
#include "make_pickle.h"
#include "make_zip.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const char path[] = "test_tensor_file.pt";

static void assert_ok(enum status status) {
  if (status != STATUS_OK)
    fail_msg("status %d: %s", (int)status, error_message());
}

static void assert_refused(enum status status, const char *words) {
  if (status != STATUS_INPUT || !strstr(error_message(), words))
    fail_msg("status %d, wanted \"%s\": %s", (int)status, words, status ? error_message() : "accepted");
}

static void put_file(const char *name, const struct text *content) {
  assert_ok(file_write_atomic(name, content->data, content->length));
}

/* A torch file of this pickle and up to two storages of eight floats, 0 to 7 and 8 to 15. */
static enum status open_torch(const struct text *pickle, bool zip64, struct tensor_file *file) {
  float numbers[2][8];
  struct text archive = {0};
  for (int i = 0; i < 16; i++)
    numbers[i / 8][i % 8] = (float)i;
  const struct zip_part parts[] = {{"top/data.pkl", pickle->data, pickle->length},
                                   {"top/byteorder", "little", 6},
                                   {"top/data/0", numbers[0], sizeof numbers[0]},
                                   {"top/data/1", numbers[1], sizeof numbers[1]},
                                   {"top/version", "3\n", 2}};
  make_zip(parts, 5, true, zip64, &archive);
  put_file(path, &archive);
  text_release(&archive);
  return tensor_file_open(path, NULL, file);
}

static void expect_floats(const struct tensor_file *file, const char *name, const float *values, int count) {
  float read[16];
  for (int64_t i = 0; i < file->count; i++) {
    if (strcmp(file->views[i].name, name) != 0)
      continue;
    assert_int_equal(file->views[i].elements, count);
    assert_ok(tensor_view_read(&file->views[i], DTYPE_F32, read));
    for (int e = 0; e < count; e++)
      assert_true(read[e] == values[e]);
    return;
  }
  fail_msg("%s is missing", name);
}

static const struct pickled_tensor plain = {"a", "FloatStorage", "0", 8, 0, 1, {8}, {1}};

static void test_views(void **state) {
  (void)state;
  static const struct pickled_tensor tensors[] = {
      {"transposed", "FloatStorage", "0", 8, 0, 2, {4, 2}, {1, 4}},
      {"slice", "FloatStorage", "0", 8, 3, 1, {2}, {2}},
      {"other", "FloatStorage", "1", 8, 0, 3, {1, 2, 4}, {99, 4, 1}},
      {"scalar", "FloatStorage", "1", 8, 5, 0, {0}, {0}},
      {"none", "FloatStorage", "1", 8, 0, 2, {0, 3}, {3, 1}},
      {"ids", "IntStorage", "0", 8, 0, 1, {8}, {1}},
  };
  for (int zip64 = 0; zip64 < 2; zip64++) {
    struct text pickle = {0};
    struct tensor_file file;
    pickle_put(&pickle, "\x80\x02}(");
    pickle_put_string(&pickle, "epoch");
    pickle_put(&pickle, "K\x07");
    pickle_put_string(&pickle, "arguments");
    pickle_put(&pickle, "cargparse\nNamespace\n)\x81}b");
    pickle_put_string(&pickle, "state_dict");
    pickle_put_dict(&pickle, tensors, 6);
    pickle_put(&pickle, "u.");
    assert_ok(open_torch(&pickle, zip64, &file));
    assert_int_equal(file.count, 6);
    assert_int_equal(file.kind, TENSOR_FILE_TORCH);
    assert_non_null(strstr(file.what, "epoch 7"));
    assert_non_null(strstr(file.notes.data, "argparse.Namespace"));
    expect_floats(&file, "transposed", (const float[]){0, 4, 1, 5, 2, 6, 3, 7}, 8);
    expect_floats(&file, "slice", (const float[]){3, 5}, 2);
    expect_floats(&file, "other", (const float[]){8, 9, 10, 11, 12, 13, 14, 15}, 8);
    expect_floats(&file, "scalar", (const float[]){13}, 1);
    expect_floats(&file, "none", NULL, 0);
    tensor_file_close(&file);
    text_release(&pickle);
  }
}

static void test_lying_tensors(void **state) {
  (void)state;
  static const struct {
    struct pickled_tensor tensor;
    const char *words;
  } cases[] = {
      {{"a", "FloatStorage", "0", 8, 1, 1, {8}, {1}}, "beyond its storage"},
      {{"a", "FloatStorage", "0", 9, 0, 1, {8}, {1}}, "the file is damaged"},
      {{"a", "DoubleStorage", "0", 8, 0, 1, {8}, {1}}, "the file is damaged"},
      {{"a", "FloatStorage", "0", INT64_MAX / 2, 0, 1, {8}, {1}}, "the file is damaged"},
      {{"a", "FloatStorage", "2", 8, 0, 1, {8}, {1}}, "not in the file"},
      {{"a", "FloatStorage", "../top/data/0", 8, 0, 1, {8}, {1}}, "not in the file"},
      {{"a", "FloatStorage", "0", 8, 0, 1, {9}, {0}}, "more than once"},
      {{"a", "FloatStorage", "0", 8, 0, 1, {-1}, {1}}, "impossible"},
      {{"a", "FloatStorage", "0", 8, 0, 1, {8}, {-1}}, "impossible"},
      {{"a", "FloatStorage", "0", 8, -1, 1, {8}, {1}}, "impossible"},
      {{"a", "FloatStorage", "0", 8, 0, 2, {INT64_MAX, 4}, {0, 0}}, "impossible"},
      {{"a", "FloatStorage", "0", 8, 0, 1, {3}, {INT64_MAX / 2 + 1}}, "impossible"},
      {{"a", "FloatStorage", "0", 8, INT64_MAX, 1, {3}, {1}}, "impossible"},
      {{"a", "ShortStorage", "0", 8, 0, 1, {8}, {1}}, "torch.ShortStorage"},
      {{"\xff", "FloatStorage", "0", 8, 0, 1, {8}, {1}}, "UTF-8"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct text pickle = {0};
    struct tensor_file file;
    pickle_put(&pickle, "\x80\x02");
    pickle_put_dict(&pickle, &cases[i].tensor, 1);
    pickle_put(&pickle, ".");
    assert_refused(open_torch(&pickle, false, &file), cases[i].words);
    text_release(&pickle);
  }
}

static void test_duplicates(void **state) {
  (void)state;
  const struct pickled_tensor twins[] = {plain, plain};
  struct text pickle = {0};
  struct tensor_file file;
  pickle_put(&pickle, "\x80\x02");
  pickle_put_dict(&pickle, twins, 2);
  pickle_put(&pickle, ".");
  assert_refused(open_torch(&pickle, false, &file), "two tensors are named a");
  text_release(&pickle);
}

/* Bytes that are no state dict: nothing runs, the message names what and where. */
static void test_hostile_pickles(void **state) {
  (void)state;
  static const struct {
    const char *pickle, *words;
  } cases[] = {
      {"\x80\x02"
       "cposix\nsystem\nX\x04"
       "\0\0\0"
       "true\x85R.",
       "the pickle ends"}, /* cut at its first NUL */
      {"\x80\x02"
       "cposix\nsystem\nK\x01\x85R.",
       "made by posix.system (byte 2"},
      {"cos\nsystem\n(S'true'\ntR.", "the opcode STRING"},
      {"\x80\x02}(cposix\nsystem\n)Ru.", "a key without a value (byte 20"},
      {"\x80\x02}(\x8c\x01"
       "acposix\nsystem\n)Ru.",
       "entry a is no tensor but was made by posix.system (byte 7"},
      {"(i__main__\nX\n.", "the opcode INST"},
      {"\x80\x02(o.", "the opcode OBJ"},
      {"\x82\x01.", "the opcode EXT1"},
      {"\x80\x09.", "protocol 9"},
      {"\x07", "0x07 is no opcode"},
      {"", "ends without its STOP"},
      {".", "takes more"},
      {"\x80\x02}", "without its STOP"},
      {"u.", "never set"},
      {"}(K\x01u.", "a key without a value"},
      {"}s.", "takes more"},
      {"(N0"
       "0.",
       "takes more"},
      {"K\x01K\x02K\x03s.", "holds none"},
      {"h\x05.", "never written"},
      {"Nr\xff\xff\xff\x7f.", "out of sequence"},
      {"X\xff\xff\xff\x7f.", "beyond the pickle"},
      {"\x8b\xff\xff\xff\x7f.", "beyond the pickle"},
      {"\x95\xff\xff\xff\xff\xff\xff\xff\x7f.", "beyond the pickle"},
      {"NQ.", "persistent id"},
      {"NNR.", "tuple of arguments"},
      {"cx.", "a name of more than"},
      {"K\x01.", "no dict of tensors"},
      {"}.", "no dict of tensors"},
      {"](K\x01"
       "e.",
       "no dict of tensors"},
      {"ctorch._utils\n_rebuild_tensor_v2\n)R.", "unknown way"},
      {"ctorch._utils\n_rebuild_parameter\n)R.", "unknown way"},
      {"K\x01K\x02\x93.", "no short string"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct text pickle = {0};
    struct tensor_file file;
    pickle_put(&pickle, cases[i].pickle);
    const enum status status = open_torch(&pickle, false, &file);
    if (status != STATUS_INPUT || !strstr(error_message(), cases[i].words))
      fail_msg("case %zu: status %d, wanted \"%s\": %s", i, (int)status, cases[i].words, error_message());
    text_release(&pickle);
  }
}

/* Deep and cyclic structures cost neither stack nor time. */
static void test_nesting(void **state) {
  (void)state;
  struct tensor_file file;
  struct text pickle = {0};
  for (int i = 0; i < 100000; i++)
    pickle_put(&pickle, "(");
  pickle_put(&pickle, ".");
  assert_refused(open_torch(&pickle, false, &file), "nested more than");
  text_clear(&pickle);
  pickle_put(&pickle, "\x80\x02]q\x01"); /* lists of lists: each of 40 holds the one before twice */
  for (int i = 1; i < 40; i++) {
    pickle_put(&pickle, "](h");
    pickle_put_byte(&pickle, i);
    pickle_put(&pickle, "h");
    pickle_put_byte(&pickle, i);
    pickle_put(&pickle, "eq");
    pickle_put_byte(&pickle, i + 1);
  }
  pickle_put(&pickle, "h\x01h\x01"
                      "a}("); /* and one that holds itself */
  pickle_put_string(&pickle, plain.name);
  pickle_put_tensor(&pickle, &plain);
  pickle_put(&pickle, "X\x01");
  pickle_put_byte(&pickle, 0);
  pickle_put_byte(&pickle, 0);
  pickle_put_byte(&pickle, 0);
  pickle_put(&pickle, "lh\x28u.");
  assert_ok(open_torch(&pickle, false, &file));
  assert_int_equal(file.count, 1);
  tensor_file_close(&file);
  text_release(&pickle);
}

static void test_broken_archives(void **state) {
  (void)state;
  struct text pickle = {0}, archive = {0};
  struct tensor_file file;
  struct zip zip;
  pickle_put(&pickle, "\x80\x02");
  pickle_put_dict(&pickle, &plain, 1);
  pickle_put(&pickle, ".");
  assert_ok(open_torch(&pickle, false, &file));
  tensor_file_close(&file);
  assert_ok(file_read(path, &archive));
  const size_t header = 30, data = 3 * header + strlen("top/data.pkltop/byteordertop/data/0") + pickle.length + 6;
  /* one flipped bit of a storage is found when the tensor is read */
  archive.data[data + 5] ^= 1;
  put_file(path, &archive);
  assert_ok(tensor_file_open(path, NULL, &file));
  float read[8];
  assert_refused(tensor_view_read(&file.views[0], DTYPE_F32, read), "checksum");
  tensor_file_close(&file);
  /* two records of one name, and two over the same bytes */
  struct text twice = {0};
  make_zip((const struct zip_part[]){{"top/data.pkl", "x", 1}, {"top/data.pkl", "x", 1}}, 2, false, false, &twice);
  put_file(path, &twice);
  assert_refused(zip_open(path, &zip), "two records are named");
  text_clear(&twice);
  make_zip((const struct zip_part[]){{"a", "xyz", 3}, {"a", "xyz", 3}}, 2, false, false, &twice);
  const size_t entry = 46 + 1, local = 30 + 1 + 3;
  memset(twice.data + 2 * local + entry + 42, 0, 4); /* the second entry points to the first record */
  put_file(path, &twice);
  assert_refused(zip_open(path, &zip), "overlap");
  text_release(&twice);
  /* every truncation is noticed */
  for (size_t length = 0; length < archive.length; length += 1 + length / 40) {
    const struct text cut = {.data = archive.data, .length = length};
    put_file(path, &cut);
    assert_true(tensor_file_open(path, NULL, &file) == STATUS_INPUT);
  }
  /* random bytes changed: any answer but a crash */
  for (uint64_t trial = 0; trial < 2000; trial++) {
    struct random_key key = {.seed = 2, .index = trial, .use = RANDOM_TEST};
    struct text changed = {0};
    text_append(&changed, archive.data, archive.length);
    for (uint64_t c = 0; c < 1 + random_below(&key, 0, 3); c++)
      changed.data[random_below(&key, 1 + 2 * c, changed.length)] = (char)random_below(&key, 2 + 2 * c, 256);
    FILE *out = fopen(path, "w");
    assert_true(fwrite(changed.data, 1, changed.length, out) == changed.length && fclose(out) == 0);
    if (tensor_file_open(path, NULL, &file) == STATUS_OK) {
      for (int64_t i = 0; i < file.count; i++)
        if (file.views[i].elements <= 8 && file.views[i].dtype == DTYPE_F32)
          (void)tensor_view_read(&file.views[i], DTYPE_F32, read);
      tensor_file_close(&file);
    }
    text_release(&changed);
  }
  text_release(&archive);
  text_release(&pickle);
}

static void test_torchscript(void **state) {
  (void)state;
  struct text pickle = {0}, archive = {0};
  struct tensor_file file;
  float numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  pickle_put(&pickle, "\x80\x02"
                      "c__torch__.model\nCLIP\n)\x81}(");
  pickle_put_string(&pickle, "visual");
  pickle_put(&pickle, "c__torch__.model\nTower\n)\x81}(");
  pickle_put_string(&pickle, "proj");
  pickle_put_tensor(&pickle, &plain);
  pickle_put_string(&pickle, "training");
  pickle_put(&pickle, "\x89");
  pickle_put_string(&pickle, "act");
  pickle_put(&pickle, "c__torch__.model.___torch_mangle_3\nQuickGELU\n)\x81}b");
  pickle_put(&pickle, "ubub.");
  const struct zip_part parts[] = {
      {"m/data.pkl", pickle.data, pickle.length}, {"m/constants.pkl", "x", 1}, {"m/data/0", numbers, sizeof numbers}};
  make_zip(parts, 3, false, false, &archive);
  put_file(path, &archive);
  assert_ok(tensor_file_open(path, NULL, &file));
  assert_int_equal(file.kind, TENSOR_FILE_TORCHSCRIPT);
  assert_true(file.quick_gelu_class && !file.gelu_class);
  assert_int_equal(file.count, 1);
  expect_floats(&file, "visual.proj", numbers, 8);
  tensor_file_close(&file);
  text_release(&archive);
  text_release(&pickle);
}

static void test_shards(void **state) {
  (void)state;
  static const float numbers[2] = {3, 4};
  const struct tensor_entry a = {.name = "a",
                                 .dtype = DTYPE_F32,
                                 .axes = 1,
                                 .shape = {2},
                                 .elements = 2,
                                 .data = numbers},
                            b = {.name = "b", .dtype = DTYPE_F32, .axes = 0, .elements = 1, .data = numbers};
  static const struct {
    const char *map, *words; /* NULL: good */
  } cases[] = {
      {"{\"metadata\":{},\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}", NULL},
      {"{\"weight_map\":{\"a\":\"one.safetensors\"}}", NULL},
      {"{\"weight_map\":{\"a\":\"one.safetensors\",\"c\":\"two.safetensors\"}}", "does not list b"},
      {"{\"weight_map\":{\"a\":\"one.safetensors\",\"c\":\"one.safetensors\"}}", "lists 2 tensors"},
      {"{\"weight_map\":{\"a\":\"../one.safetensors\"}}", "same folder"},
      {"{\"weight_map\":{\"a\":\"none.safetensors\"}}", "none.safetensors"},
      {"{\"weight_map\":{\"a\":1}}", "same folder"},
      {"{\"weights\":{}}", "weight_map"},
      {"{", "weight_map"},
  };
  assert_ok(safetensors_write("one.safetensors", &a, 1, NULL));
  assert_ok(safetensors_write("two.safetensors", &b, 1, NULL));
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct tensor_file file;
    assert_ok(file_write_atomic("model.safetensors.index.json", cases[i].map, strlen(cases[i].map)));
    const enum status status = tensor_file_open(i == 0 ? "." : "model.safetensors.index.json", NULL, &file);
    if (cases[i].words) {
      assert_refused(status, cases[i].words);
      continue;
    }
    assert_ok(status);
    expect_floats(&file, "a", numbers, 2);
    tensor_file_close(&file);
  }
  unlink("one.safetensors");
  unlink("two.safetensors");
  unlink("model.safetensors.index.json");
}

/* What people hand to an importer by mistake is called by its name. */
static void test_foreign_files(void **state) {
  (void)state;
  static const struct {
    const char *content;
    size_t length;
    const char *words;
  } cases[] = {
      {"\x80\x02\x8a\x0a"
       "l\xfc\x9c",
       7, "before version 1.6"},
      {"\x80\x04\x95", 3, "a bare pickle"},
      {"\x89HDF\r\n\x1a\n", 8, "HDF5"},
      {"version https://git-lfs.github.com/spec/v1\n", 43, "git lfs pull"},
      {"\x1f\x8b\x08", 3, "gzip"},
      {"<!DOCTYPE html>", 15, "web page"},
      {"", 0, "too few"},
      {"hello, this is a text", 21, "not a safetensors file"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct tensor_file file;
    assert_ok(file_write_atomic(path, cases[i].content, cases[i].length));
    assert_refused(tensor_file_open(path, NULL, &file), cases[i].words);
  }
  struct tensor_file file;
  struct text archive = {0};
  assert_refused(tensor_file_open(".", NULL, &file), "name the file");
  assert_refused(tensor_file_open("none.pt", NULL, &file), "none.pt");
  make_zip((const struct zip_part[]){{"arr_0.npy", "x", 1}}, 1, false, false, &archive);
  put_file(path, &archive);
  assert_refused(tensor_file_open(path, NULL, &file), "without data.pkl");
  text_release(&archive);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_views),         cmocka_unit_test(test_lying_tensors),
      cmocka_unit_test(test_duplicates),    cmocka_unit_test(test_hostile_pickles),
      cmocka_unit_test(test_nesting),       cmocka_unit_test(test_broken_archives),
      cmocka_unit_test(test_torchscript),   cmocka_unit_test(test_shards),
      cmocka_unit_test(test_foreign_files),
  };
  char directory[] = "test_tensor_file.XXXXXX";
  if (mkdtemp(directory) == NULL || chdir(directory) != 0)
    return 1;
  const int failed = cmocka_run_group_tests_name("tensor files", tests, NULL, NULL);
  unlink(path);
  if (chdir("..") == 0)
    rmdir(directory);
  return failed != 0 || memory_report_live(true) != 0;
}

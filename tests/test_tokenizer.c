/* The tokenizer: a small vocabulary trained here, cleaning, splitting; and the reference's ids where it is at hand. */
#include "config.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/clock.h"
#include "base/random.h"
#include "data/text_clean.h"
#include "data/tokenizer_private.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const char *const lines[] = {"a red cat and a red dog", "the red cat sat on the red mat", "two dogs and the cat",
                                    "don't the cats sit?"};

static void check_clean(const char *from, const char *to) {
  struct text out = {0};
  text_clean(from, strlen(from), &out);
  assert_string_equal(out.data, to);
  text_release(&out);
}

static void test_clean(void **state) {
  (void)state;
  check_clean("  A\t B\n", "a b");
  check_clean("“Curly” ‘quotes’ &amp;amp; &eacute;", "\"curly\" 'quotes' & é");
  check_clean("schÃ¶n cafÃ©", "schön café");
  check_clean("ﬁne ＦＵＬＬ e\xcc\x81", "fine full é");
  check_clean("ΟΔΟΣ ΣΑΣ", "οδος σας");
  check_clean("İ", "i\xcc\x87");
  check_clean("\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "각");
  check_clean("가\xe1\x86\xa7", "가\xe1\x86\xa7"); /* U+11A7 behind a syllable stays */
  check_clean("&#150; &#x41; &#0; &notit; &P", "– a \xef\xbf\xbd ¬it; &p");
  check_clean("bad \xff byte", "bad \xef\xbf\xbd byte");
  check_clean("\x1b[31mred\x1b[0m \x07", "red");
}

static char *train(int32_t size) {
  char *path = memory_copy_string("/tmp/memclip-vocabulary-XXXXXX", "test");
  const int file = mkstemp(path);
  assert_true(file >= 0);
  close(file);
  assert_int_equal(vocabulary_train(lines, 4, size, path), STATUS_OK);
  return path;
}

static void test_trained_vocabulary(void **state) {
  (void)state;
  char *path = train(524);
  struct tokenizer *tokenizer;
  assert_int_equal(tokenizer_open(path, &tokenizer), STATUS_OK);
  assert_int_equal(tokenizer_vocabulary_size(tokenizer), 524);
  assert_int_equal(tokenizer_end_id(tokenizer), 523);
  struct tokenizer_scratch *scratch = tokenizer_scratch_new();
  int32_t ids[16], end;
  for (int again = 0; again < 2; again++) { /* computed, then from the cache */
    const int64_t count = tokenizer_encode(tokenizer, scratch, "The RED cat!", 16, ids, &end);
    assert_int_equal(ids[0], 522);
    assert_int_equal(ids[count - 1], 523);
    assert_int_equal(end, count - 1);
    assert_int_equal(ids[count], 0);
    struct text back = {0};
    tokenizer_decode(tokenizer, ids + 1, count - 2, &back);
    assert_string_equal(back.data, "the red cat ! ");
    text_release(&back);
  }
  assert_true(tokenizer_encode(tokenizer, scratch, "word word word word word", 8, ids, &end) > 8);
  assert_int_equal(ids[7], 523);
  assert_int_equal(end, 7);
  tokenizer_encode(tokenizer, scratch, "<end_of_text> after", 16, ids, &end);
  assert_int_equal(end, 1);
  assert_int_equal(tokenizer_encode(tokenizer, scratch, "", 16, ids, &end), 2);
  /* U+0345 parts a word in two and gives no token itself */
  const int64_t parted = tokenizer_encode(tokenizer, scratch, "the\xcd\x85the", 16, ids, &end);
  int32_t apart[16];
  assert_int_equal(tokenizer_encode(tokenizer, scratch, "the the", 16, apart, &end), parted);
  assert_memory_equal(ids, apart, sizeof ids);
  tokenizer_scratch_release(scratch);
  tokenizer_close(tokenizer);
  char *again = train(524);
  struct text first = {0}, second = {0};
  assert_int_equal(file_read(path, &first), STATUS_OK);
  assert_int_equal(file_read(again, &second), STATUS_OK);
  assert_int_equal(first.length, second.length);
  assert_memory_equal(first.data, second.data, first.length);
  text_release(&first);
  text_release(&second);
  unlink(path);
  unlink(again);
  memory_release(path);
  memory_release(again);
}

static void test_refusals(void **state) {
  (void)state;
  struct tokenizer *tokenizer;
  assert_int_equal(vocabulary_train(lines, 4, 49408, "/tmp/never-written"), STATUS_INPUT);
  assert_int_equal(vocabulary_train(lines, 4, 10, "/tmp/never-written"), STATUS_INPUT);
  assert_int_equal(tokenizer_open("/nonexistent/file", &tokenizer), STATUS_INPUT);
  char path[] = "/tmp/memclip-vocabulary-XXXXXX";
  close(mkstemp(path));
  assert_int_equal(file_write_atomic(path, "#version\nnot known\n", 19), STATUS_OK);
  assert_int_equal(tokenizer_open(path, &tokenizer), STATUS_INPUT);
  unlink(path);
}

/* open_clip cuts the file at line breaks, so what stands behind the last one counts, as every empty line. */
static void test_empty_lines(void **state) {
  (void)state;
  static const struct {
    const char *content;
    int32_t ids;
  } files[] = {{"#\ni n\nt h", 516}, {"#\ni n\nt h\n", 517}, {"#\ni n\n\nt h\n", 518}};
  char path[] = "/tmp/memclip-vocabulary-XXXXXX";
  close(mkstemp(path));
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    struct tokenizer *tokenizer;
    assert_int_equal(file_write_atomic(path, files[i].content, strlen(files[i].content)), STATUS_OK);
    assert_int_equal(tokenizer_open(path, &tokenizer), STATUS_OK);
    assert_int_equal(tokenizer_vocabulary_size(tokenizer), files[i].ids);
    tokenizer_close(tokenizer);
  }
  unlink(path);
}

/* Sweeps and heap leave the same symbols: words of few letters, so that merges overlap. */
static void test_merging(void **state) {
  (void)state;
  enum { WORDS = 3000, LONGEST = 400 };
  static const char letters[] = "tehcardos ";
  char *path = train(524);
  struct tokenizer *tokenizer;
  struct merge_space sweeps = {0}, heap = {0};
  assert_int_equal(tokenizer_open(path, &tokenizer), STATUS_OK);
  merge_space_reserve(&sweeps, LONGEST);
  merge_space_reserve(&heap, LONGEST);
  for (uint64_t word = 0, draw = 0; word < WORDS; word++, draw = 0) {
    const struct random_key key = {.seed = 2, .index = word, .use = RANDOM_TEST};
    const size_t length = 1 + random_below(&key, draw++, LONGEST);
    for (size_t i = 0; i < length; i++)
      sweeps.ids[i] = heap.ids[i] =
          tokenizer->byte_id[(uint8_t)letters[random_below(&key, draw++, 3 + word % 7)]] + (i + 1 == length ? 256 : 0);
    const size_t left = tokenizer_merge_by_sweeps(tokenizer, &sweeps, length);
    assert_int_equal(tokenizer_merge_by_heap(tokenizer, &heap, length), left);
    assert_memory_equal(sweeps.ids, heap.ids, left * sizeof *heap.ids);
  }
  merge_space_release(&sweeps);
  merge_space_release(&heap);
  tokenizer_close(tokenizer);
  unlink(path);
  memory_release(path);
}

/* A megabyte of trouble takes seconds at most: time in proportion to its length, not to the square of it. */
static void test_hostile_captions(void **state) {
  (void)state;
  static const char *const parts[] = {"qwthecatzx", "amp;",      "\xcc\xa3\xcc\x81", "\xc3\x83\xc6\x92\xc3\x82\xc2\xa9",
                                      "#38;",       "\xce\xa3'", "\x1b[1;",          "\xc3\x83\xef\xbf\xbd"};
  enum { BYTES = 1000000, CONTEXT = 77 };
  const double seconds_max = 20; /* a hundred times what it takes, and a hundredth of the square */
  char *path = train(524);
  struct tokenizer *tokenizer;
  assert_int_equal(tokenizer_open(path, &tokenizer), STATUS_OK);
  struct tokenizer_scratch *scratch = tokenizer_scratch_new();
  for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++) {
    struct text caption = {0};
    int32_t ids[CONTEXT], end;
    text_append_string(&caption, "&");
    while (caption.length < BYTES)
      text_append_string(&caption, parts[p]);
    const double start = clock_seconds();
    tokenizer_encode(tokenizer, scratch, caption.data, CONTEXT, ids, &end);
    assert_true(clock_seconds() - start < seconds_max);
    text_release(&caption);
  }
  tokenizer_scratch_release(scratch);
  tokenizer_close(tokenizer);
  unlink(path);
  memory_release(path);
}

static char *reference_path(const char *name) {
  const char *root = getenv("MEMCLIP_REFERENCE"), *top = getenv("top_srcdir");
  return root ? text_format("%s/%s", root, name) : text_format("%s/../shared/reference/%s", top ? top : "..", name);
}

static void check_line(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch, const json_t *line) {
  const json_t *expected = json_object_get(line, "ids");
  int32_t ids[77], end;
  tokenizer_encode(tokenizer, scratch, json_string_value(json_object_get(line, "text")), 77, ids, &end);
  for (size_t i = 0; i < 77; i++) {
    const json_int_t wanted = i < json_array_size(expected) ? json_integer_value(json_array_get(expected, i)) : 0;
    if (ids[i] != wanted)
      fail_msg("'%s': id %zu is %d", json_string_value(json_object_get(line, "text")), i, ids[i]);
  }
}

static void test_reference(void **state) {
  (void)state;
  char *vocabulary = reference_path("../data/bpe_simple_vocab_16e6.txt.gz"), *path = reference_path("tokenizer.jsonl");
  FILE *file = fopen(path, "r");
  struct tokenizer *tokenizer = NULL;
  const bool present = file && file_exists(vocabulary);
  if (present)
    assert_int_equal(tokenizer_open(vocabulary, &tokenizer), STATUS_OK);
  memory_release(vocabulary);
  memory_release(path);
  if (!present)
    skip();
  struct tokenizer_scratch *scratch = tokenizer_scratch_new();
  json_t *line;
  while ((line = json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL)) != NULL) {
    check_line(tokenizer, scratch, line);
    json_decref(line);
  }
  fclose(file);
  tokenizer_scratch_release(scratch);
  tokenizer_close(tokenizer);
}

static void test_no_leak(void **state) {
  (void)state;
  assert_int_equal(memory_report_live(true), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_clean),     cmocka_unit_test(test_trained_vocabulary),
      cmocka_unit_test(test_refusals),  cmocka_unit_test(test_empty_lines),
      cmocka_unit_test(test_merging),   cmocka_unit_test(test_hostile_captions),
      cmocka_unit_test(test_reference), cmocka_unit_test(test_no_leak),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}

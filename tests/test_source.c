/* Sources: what a shard or csv holds comes out byte for byte; what is strange in it is left out and named. */
#include "base/file.h"
#include "base/memory.h"
#include "data/loader.h"
#include "data/source.h"
#include "data/tar_writer.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char directory[64];

static void assert_ok(enum status status) {
  if (status != STATUS_OK)
    fail_msg("status %d: %s", (int)status, error_message());
}

static void assert_refused(enum status status, const char *words) {
  if (status != STATUS_INPUT || strstr(error_message(), words) == NULL)
    fail_msg("status %d, wanted \"%s\": %s", (int)status, words, error_message());
}

static const char *path_of(const char *name) {
  static char paths[8][256];
  static int next;
  char *path = paths[next++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", directory, name);
  return path;
}

struct member {
  const char *key, *suffix, *content;
};

static void write_tar(const char *name, const struct member *members, int count) {
  struct tar_writer *writer;
  unlink(path_of(text_base_name(name)));
  assert_ok(tar_writer_open(path_of(name), &writer));
  for (int i = 0; i < count; i++)
    assert_ok(
        tar_writer_add(writer, members[i].key, members[i].suffix, members[i].content, strlen(members[i].content)));
  assert_ok(tar_writer_finish(writer));
}
#define WRITE_TAR(name, ...)                                                                                           \
  write_tar(name, (const struct member[]){__VA_ARGS__},                                                                \
            sizeof((const struct member[]){__VA_ARGS__}) / sizeof(struct member))

static enum status open_with(const char *pattern, const char *caption, struct source **source) {
  const char *paths[] = {pattern};
  struct source_options options = {.paths = paths, .path_count = 1, .caption = caption, .threads = 2};
  return source_open(&options, source);
}

static void assert_sample(struct source *source, int64_t sample, const char *key, const char *image,
                          const char *caption) {
  struct text got_image = {0}, got_caption = {0};
  assert_string_equal(source_key(source, sample), key);
  assert_ok(source_read(source, sample, &got_image, &got_caption));
  assert_string_equal(got_image.data, image);
  assert_string_equal(got_caption.data ? got_caption.data : "", caption);
  text_release(&got_image);
  text_release(&got_caption);
}

static bool reason_given(const struct source *source, const char *words) {
  const char *const *reasons;
  int sentences;
  source_skipped(source, &reasons, &sentences);
  for (int i = 0; i < sentences; i++)
    if (strstr(reasons[i], words))
      return true;
  return false;
}

static void test_expand(void **state) {
  (void)state;
  static const struct {
    const char *pattern, *expected;
  } cases[] = {{"a.tar", "a.tar"},
               {"a::b", "a b"},
               {"x{08..11}.tar", "x08.tar x09.tar x10.tar x11.tar"},
               {"{3..1}", "3 2 1"},
               {"{00..7..3}", "00 03 06"},
               {"{9..1..-4}", "9 5 1"},
               {"{-1..1}", "-1 0 1"},
               {"{-01..1..2}", "-01 001"},
               {"{a..e..2}", "a c e"},
               {"{b..Z}", "b a Z"},
               {"{a,b{1,2}}c", "ac b1c b2c"},
               {"{a,b}{1..2}", "a1 a2 b1 b2"},
               {"{x}", "{x}"},
               {"{,y}z", "z yz"},
               {"{{1..2},q}", "1 2 q"},
               {"${TEST_ROOT}/{1..2}.tar::file:b", "r1/1.tar r1/2.tar r2/1.tar r2/2.tar b"},
               {"{a,b${TEST_ROOT}}", "a br1 br2"}};
  setenv("WDS_TEST_ROOT", "{r1,r2}", 1);
  for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
    char **paths;
    int count;
    struct text joined = {0};
    assert_ok(source_expand(cases[c].pattern, &paths, &count));
    for (int i = 0; i < count; i++)
      text_append_format(&joined, "%s%s", i > 0 ? " " : "", paths[i]);
    assert_string_equal(joined.data, cases[c].expected);
    text_release(&joined);
    source_release_paths(paths, count);
  }
  char **paths;
  int count;
  assert_refused(source_expand("{1..2", &paths, &count), "without its }");
  assert_refused(source_expand("a::::b", &paths, &count), "empty path");
  assert_refused(source_expand("{a..1}", &paths, &count), "no range");
  assert_refused(source_expand("{1..2..3..4}", &paths, &count), "no range");
  assert_refused(source_expand("{1..9999999999999999}", &paths, &count), "no range");
  assert_refused(source_expand("${TEST_NOWHERE}/a", &paths, &count), "WDS_TEST_NOWHERE, which is not set");
  assert_refused(source_expand("${TEST_ROOT", &paths, &count), "${ without its }");
  assert_refused(source_expand("a::pipe:cat b", &paths, &count), "pipe:");
  assert_refused(source_expand("s3://bucket/{0..3}.tar", &paths, &count), "s3:");
  assert_refused(source_expand("-", &paths, &count), "standard input");
  assert_refused(source_expand("{0..99999999}", &paths, &count), "more than");
}

static void test_grouping(void **state) {
  (void)state;
  char *deep = text_format("deep/%0150d", 7), *cyrillic = text_format("%s", "\xd0\xba\xd0\xbe\xd1\x82");
  WRITE_TAR("g.tar", {"a", "jpg", "A"}, {"a", "txt", "ta"}, {"B", "TXT", "tb"}, {"B", "JPG", "B"},
            {"dir.d/c", "jpeg", "C"}, {"dir.d/c", "txt", "tc"}, {"a", "jpg", "A2"}, {"a", "txt", "ta2"},
            {"a", "jpg", "A3"}, {"a", "txt", "ta3"}, {"d.e", "jpg", "D"}, {"d.e", "txt", "td"}, {"f", "jpg", "F"},
            {"g", "txt", "tg"}, {"__h", "b__", "H"}, {"../evil", "jpg", "E"}, {"../evil", "txt", "te"},
            {"i", "png", "P"}, {"i", "jpg", "J"}, {"i", "txt", ""}, {deep, "jpg", "L"}, {deep, "txt", "tl"},
            {cyrillic, "jpg", "K"}, {cyrillic, "txt", "tk"});
  struct source *source;
  assert_ok(open_with(path_of("g.tar"), NULL, &source));
  assert_int_equal(source_count(source), 8);
  assert_sample(source, 0, "a", "A", "ta");
  assert_sample(source, 1, "B", "B", "tb");
  assert_sample(source, 2, "dir.d/c", "C", "tc");
  assert_sample(source, 3, "a", "A2", "ta2"); /* the same key again, and a repeated suffix */
  assert_sample(source, 4, "a", "A3", "ta3");
  assert_sample(source, 5, "i", "J", ""); /* jpg goes before png; an empty caption is a caption */
  assert_sample(source, 6, deep, "L", "tl");
  assert_sample(source, 7, cyrillic, "K", "tk");
  assert_true(reason_given(source, "\"..\""));
  assert_true(reason_given(source, "3 samples left out")); /* d with e.jpg and e.txt, f, g */
  struct text bytes = {0};
  assert_ok(source_read_member(source, 5, "png", &bytes));
  assert_string_equal(bytes.data, "P");
  assert_refused(source_read_member(source, 5, "class.png", &bytes), "no member");
  assert_int_equal(source_members(source, 5), 3);
  assert_string_equal(source_member_suffix(source, 5, 2), "txt");
  text_release(&bytes);
  source_close(source);
  memory_release(deep);
  memory_release(cyrillic);
}

/* Files that macOS puts between a sample's members, service members, and folders of such names. */
static void test_hidden_members(void **state) {
  (void)state;
  WRITE_TAR("h.tar", {"._a", "jpg", "x"}, {"a", "jpg", "A"}, {"._a", "txt", "x"}, {"a", "txt", "ta"},
            {"d/._b", "jpg", "x"}, {"d/b", "jpg", "B"}, {"d/", "DS_Store", "x"}, {"d/b", "txt", "tb"},
            {"__MACOSX__/c", "jpg", "C"}, {"__MACOSX__/c", "txt", "tc"}, {"__x", "y__", "x"}, {"__d__", "jpg", "D"},
            {"__d__", "txt", "td"});
  struct source *source;
  assert_ok(open_with(path_of("h.tar"), NULL, &source));
  assert_int_equal(source_count(source), 3);
  assert_sample(source, 0, "a", "A", "ta");
  assert_sample(source, 1, "d/b", "B", "tb");
  assert_sample(source, 2, "__d__", "D", "td"); /* "__d__.jpg" is no service name */
  source_close(source);
}

static void test_json_captions(void **state) {
  (void)state;
  WRITE_TAR("j.tar", {"a", "jpg", "A"}, {"a", "json", "{\"long\": \"\", \"short\": \"s\"}"}, {"b", "jpg", "B"},
            {"b", "json", "{\"long\": \"gr\\u00fcn\"}"}, {"c", "jpg", "C"}, {"c", "json", "{\"long\": 3}"},
            {"d", "jpg", "D"}, {"d", "json", "nothing"});
  struct source *source;
  struct text caption = {0};
  assert_ok(open_with(path_of("j.tar"), "json:long;short", &source));
  assert_sample(source, 0, "a", "A", "s");
  assert_sample(source, 1, "b", "B", "gr\xc3\xbcn");
  assert_refused(source_read(source, 2, NULL, &caption), "no text under");
  assert_refused(source_read(source, 3, NULL, &caption), "no JSON object");
  text_release(&caption);
  source_close(source);
}

/* A thousand samples of three keys, tried by weight: 3 to 1, and the one of weight 0 only where the others are empty.
 */
static void test_weighted_captions(void **state) {
  (void)state;
  enum { SAMPLES = 1000 };
  static const double weights[] = {0, 3, 1};
  struct tar_writer *writer;
  struct source *source;
  int counts[128] = {0}, changed = 0;
  char first[SAMPLES];
  assert_ok(tar_writer_open(path_of("w.tar"), &writer));
  for (int i = 0; i < SAMPLES; i++) {
    char key[16], json[64];
    snprintf(key, sizeof key, "%04d", i);
    snprintf(json, sizeof json, "{\"n\": \"n\", \"a\": \"%s\", \"b\": \"b\"}", i % 10 ? "a" : "");
    assert_ok(tar_writer_add(writer, key, "jpg", "x", 1));
    assert_ok(tar_writer_add(writer, key, "json", json, strlen(json)));
  }
  assert_ok(tar_writer_finish(writer));
  assert_ok(open_with(path_of("w.tar"), "json:n;a;b", &source));
  assert_int_equal(source_caption_keys(source), 3);
  const struct loader_options options = {.source = source,
                                         .order = {.count = SAMPLES},
                                         .caption_weights = weights,
                                         .augment = AUGMENT_CROP,
                                         .batch = SAMPLES,
                                         .stride = SAMPLES,
                                         .end = SAMPLES,
                                         .threads = 2,
                                         .ring = 2};
  struct loader *loader = loader_open(&options);
  loader_seek(loader, 0, 0, 1);
  for (int epoch = 0; epoch < 2; epoch++) {
    double waited;
    const struct batch *batch = loader_next(loader, &waited);
    assert_int_equal(batch->count, SAMPLES);
    for (int i = 0; i < SAMPLES; i++) {
      counts[(int)batch->captions[i][0]] += epoch == 0;
      changed += epoch == 1 && batch->captions[i][0] != first[i];
      first[i] = batch->captions[i][0];
    }
  }
  loader_close(loader);
  source_close(source);
  assert_int_equal(counts['n'], 0);
  assert_int_equal(counts['a'] + counts['b'], SAMPLES);
  assert_true(counts['a'] > 675 - 60 && counts['a'] < 675 + 60); /* three quarters of nine tenths */
  assert_true(changed > 250 && changed < 420);                   /* 900 x 2 x 3/4 x 1/4 */
}

static void test_bad_samples(void **state) {
  (void)state;
  WRITE_TAR("b.tar", {"a", "jpg", ""}, {"a", "txt", "t"}, {"b", "jpg", "B"}, {"b", "txt", "\xff\xfe"});
  struct source *source;
  struct text image = {0}, caption = {0};
  assert_ok(open_with(path_of("b.tar"), NULL, &source));
  assert_refused(source_read(source, 0, &image, &caption), "image is empty");
  assert_refused(source_read(source, 1, &image, &caption), "not UTF-8");
  assert_refused(source_read(source, 2, &image, &caption), "sample 2 of 2");
  text_release(&image);
  text_release(&caption);
  source_close(source);
}

static void test_broken_tars(void **state) {
  (void)state;
  struct source *source;
  assert_ok(file_write_atomic(path_of("empty.tar"), "", 0));
  assert_refused(open_with(path_of("empty.tar"), NULL, &source), "is empty");
  assert_ok(file_write_atomic(path_of("words.tar"), "These are words, not a tar. ", 28));
  assert_refused(open_with(path_of("words.tar"), NULL, &source), "words.tar is no tar");
  assert_ok(file_write_atomic(path_of("zip.tar"), "\x1f\x8b\x08\0\0\0\0\0\0\0\0\0", 12));
  assert_refused(open_with(path_of("zip.tar"), NULL, &source), "compressed (gzip)");
  assert_refused(open_with(path_of("absent.tar"), NULL, &source), "absent.tar");
  assert_refused(open_with(path_of("{g,absent}.tar"), NULL, &source), "absent.tar");
  WRITE_TAR("half.tar", {"a", "jpg", "A"}, {"a", "txt", "ta"}, {"b", "jpg", "B"}, {"b", "txt", "tb"});
  assert_int_equal(truncate(path_of("half.tar"), 3 * 1024 + 512), 0); /* behind the header of b.txt */
  assert_ok(open_with(path_of("half.tar"), NULL, &source));
  assert_int_equal(source_count(source), 1);
  assert_true(reason_given(source, "ends inside") || reason_given(source, "Truncated"));
  source_close(source);
  WRITE_TAR("none.tar", {"a", "jpg", "A"}, {"b", "txt", "tb"});
  assert_refused(open_with(path_of("none.tar"), NULL, &source), "no sample with an image and a caption");
}

/* The index is kept, trusted while the tar is the same, and made anew when it is not or when it is damaged. */
static void test_index_file(void **state) {
  (void)state;
  struct source *source;
  char *const *paths;
  int shards, built;
  WRITE_TAR("i.tar", {"a", "jpg", "A"}, {"a", "txt", "ta"});
  for (int round = 0; round < 5; round++) {
    if (round == 2)
      WRITE_TAR("i.tar", {"a", "jpg", "A"}, {"a", "txt", "ta"}, {"b", "jpg", "B"}, {"b", "txt", "tb"});
    if (round == 4) {
      int file = open(path_of("i.tar.idx"), O_WRONLY);
      assert_int_equal(pwrite(file, "?", 1, 100), 1);
      close(file);
    }
    assert_ok(open_with(path_of("i.tar"), NULL, &source));
    source_shard_bounds(source, &paths, &shards, &built);
    assert_int_equal(built, round != 1 && round != 3);
    assert_int_equal(source_count(source), round < 2 ? 1 : 2);
    if (round >= 2)
      assert_sample(source, 1, "b", "B", "tb");
    source_close(source);
  }
}

static uint64_t fingerprint_of(const char *pattern) {
  struct source *source;
  assert_ok(open_with(pattern, NULL, &source));
  uint64_t fingerprint = source_fingerprint(source);
  source_close(source);
  return fingerprint;
}

static void test_several_shards(void **state) {
  (void)state;
  char name[16], key[16];
  for (int i = 0; i < 12; i++) {
    snprintf(name, sizeof name, "s%02d.tar", i);
    snprintf(key, sizeof key, "k%d", i);
    WRITE_TAR(name, {key, "jpg", "X"}, {key, "txt", key}, {"same", "jpg", "Y"}, {"same", "txt", key});
  }
  char *first = text_format("%s/s{00..08}.tar", directory),
       *rest = text_format("%s/s09.tar::%s/s{10..11}.tar", directory, directory);
  const char *paths[] = {first, rest};
  struct source_options options = {.paths = paths, .path_count = 2, .threads = 2};
  struct source *source;
  assert_ok(source_open(&options, &source));
  assert_int_equal(source_count(source), 24);
  assert_sample(source, 21, "same", "Y", "k10");
  int groups;
  const int64_t *bounds = source_path_bounds(source, &groups);
  assert_int_equal(groups, 2);
  assert_int_equal(bounds[1], 18);
  assert_int_equal(bounds[2], 24);
  assert_string_equal(text_base_name(source_location(source, 18)), "s09.tar");
  source_close(source);
  uint64_t before = fingerprint_of(first);
  assert_true(before == fingerprint_of(first));
  assert_true(before != fingerprint_of(rest));
  WRITE_TAR("s03.tar", {"k3", "jpg", "X"}, {"k3", "txt", "another caption"}, {"same", "jpg", "Y"},
            {"same", "txt", "k3"});
  assert_true(before != fingerprint_of(first));
  memory_release(first);
  memory_release(rest);
}

/* A folder that cannot be written: an index directory takes the index. A file in the way of SHARD.idx plays the folder,
 * since root may write all. */
static void test_index_elsewhere(void **state) {
  (void)state;
  WRITE_TAR("e.tar", {"a", "jpg", "A"}, {"a", "txt", "ta"});
  assert_ok(file_make_directories(path_of("e.tar.idx/in the way")));
  const char *paths[] = {path_of("e.tar")};
  char *elsewhere = text_format("%s", path_of("indices"));
  struct source_options options = {.paths = paths, .path_count = 1, .index_directory = elsewhere, .threads = 1};
  for (int round = 0; round < 2; round++) {
    struct source *source;
    char *const *shard_paths;
    int shards, built;
    assert_ok(source_open(&options, &source));
    source_shard_bounds(source, &shard_paths, &shards, &built);
    assert_int_equal(built, round == 0);
    source_close(source);
  }
  memory_release(elsewhere);
}

/* Shards are copied once and read from the copy; a changed shard is copied again; the original's name stays in reports.
 */
static void test_staging(void **state) {
  (void)state;
  char *folder = text_format("%s", path_of("staged")), *shard = text_format("%s", path_of("st.tar"));
  const char *paths[] = {shard};
  struct source_options options = {.paths = paths, .path_count = 1, .stage_to = folder, .threads = 1};
  struct source *source;
  struct text image = {0};
  for (int round = 0; round < 2; round++) {
    if (round == 0)
      WRITE_TAR("st.tar", {"a", "jpg", "A"}, {"a", "txt", "ta"});
    else
      WRITE_TAR("st.tar", {"a", "jpg", "A"}, {"a", "txt", "ta"}, {"b", "jpg", "B"}, {"b", "txt", "tb"});
    assert_ok(source_open(&options, &source));
    assert_sample(source, round, round ? "b" : "a", round ? "B" : "A", round ? "tb" : "ta");
    assert_string_equal(source_location(source, 0), shard);
    source_close(source);
  }
  assert_ok(source_open(&options, &source));
  assert_int_equal(truncate(shard, 0), 0); /* what is read is the copy */
  assert_ok(source_read(source, 1, &image, NULL));
  source_close(source);
  WRITE_TAR("st.tar", {"a", "jpg", "A"}, {"a", "txt", "ta"});
  options.stage_to = path_of("st.tar/nowhere");
  assert_int_equal(source_open(&options, &source), STATUS_SYSTEM);
  text_release(&image);
  memory_release(folder);
  memory_release(shard);
}

static void write_csv(const char *name, const char *content) {
  assert_ok(file_write_atomic(path_of(name), content, strlen(content)));
}

static void test_csv(void **state) {
  (void)state;
  assert_ok(file_write_atomic(path_of("x.jpg"), "X", 1));
  char *image = text_format("%s", path_of("x.jpg"));
  char *content = text_format("\xef\xbb\xbfother\tfilepath\ttitle\r\n1\t%s\t\"say "
                              "\"\"hi\"\",\tyou\r\nthere\"\r\n2\t%s\tNA\r\n\r\n3\t%s\r\n4\tabsent.jpg\tt\r\n"
                              "5\t%s\t",
                              image, image, image, image);
  write_csv("a.csv", content);
  struct source *source;
  struct text bytes = {0}, caption = {0};
  assert_ok(open_with(path_of("a.csv"), NULL, &source));
  assert_int_equal(source_count(source), 4);
  assert_sample(source, 0, image, "X", "say \"hi\",\tyou\r\nthere");
  assert_sample(source, 1, image, "X", "NA");
  assert_refused(source_read(source, 2, &bytes, &caption), "absent.jpg");
  assert_sample(source, 3, image, "X", "");
  assert_true(reason_given(source, "too few columns"));
  source_close(source);
  text_clear(&caption);
  text_append_format(&caption, "filepath\ttitle\rA\t%s\tB\r\r%s\tone\r\"%s\"\t\"t\rwo\"", image, image, image);
  write_csv("c.csv", caption.data); /* lines end in CR alone; the first row has a column too many */
  assert_ok(open_with(path_of("c.csv"), NULL, &source));
  assert_int_equal(source_count(source), 2);
  assert_sample(source, 0, image, "X", "one");
  assert_sample(source, 1, image, "X", "t\rwo");
  assert_true(reason_given(source, "row 1 left out: it has more columns"));
  source_close(source);
  write_csv("b.csv", "filepath,titel\na,b\n");
  const char *paths[] = {path_of("b.csv")};
  struct source_options options = {.paths = paths, .path_count = 1, .csv_separator = ",", .threads = 1};
  assert_refused(source_open(&options, &source), "did you mean \"titel\"");
  options.csv_separator = ";";
  assert_refused(source_open(&options, &source), "separator");
  options.csv_separator = ",,";
  assert_refused(source_open(&options, &source), "not one character");
  write_csv("b.csv", "");
  options.csv_separator = NULL;
  assert_refused(source_open(&options, &source), "empty");
  text_release(&bytes);
  text_release(&caption);
  memory_release(content);
  memory_release(image);
}

static int set_up(void **state) {
  (void)state;
  snprintf(directory, sizeof directory, "test_source.XXXXXX");
  return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", directory);
  return system(command) || memory_report_live(true) != 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_expand),
                                     cmocka_unit_test(test_grouping),
                                     cmocka_unit_test(test_hidden_members),
                                     cmocka_unit_test(test_json_captions),
                                     cmocka_unit_test(test_weighted_captions),
                                     cmocka_unit_test(test_bad_samples),
                                     cmocka_unit_test(test_broken_tars),
                                     cmocka_unit_test(test_index_file),
                                     cmocka_unit_test(test_several_shards),
                                     cmocka_unit_test(test_index_elsewhere),
                                     cmocka_unit_test(test_staging),
                                     cmocka_unit_test(test_csv)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}

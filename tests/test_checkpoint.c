/* Checkpoints: complete or absent, whatever happens to the writer or the disk. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/checkpoint.h"
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { ELEMENTS = 100000 };
static float weights[ELEMENTS];

static void assert_ok(enum status status) {
  if (status != STATUS_OK)
    fail_msg("status %d: %s", (int)status, error_message());
}

/* A content whose every value tells the step. */
static const struct checkpoint_content *content_of(int64_t step) {
  static struct checkpoint_tensor tensors[2];
  static struct checkpoint_number numbers[1];
  static const struct checkpoint_text texts[] = {{"run/input", "&run stage='distill' /"}};
  static struct checkpoint_content content;
  for (int i = 0; i < ELEMENTS; i++)
    weights[i] = (float)step + (float)i * 1e-3f;
  tensors[0] = (struct checkpoint_tensor){
      .name = "model/visual.2.mlp.values", .dtype = DTYPE_F32, .axes = 1, .shape = {ELEMENTS}, .data = weights};
  tensors[1] = (struct checkpoint_tensor){.name = "model/visual.4.mlp.values",
                                          .dtype = DTYPE_F32,
                                          .axes = 1,
                                          .shape = {ELEMENTS},
                                          .alias_of = "model/visual.2.mlp.values"};
  numbers[0] = (struct checkpoint_number){"progress/step", (double)step};
  content = (struct checkpoint_content){
      .tensors = tensors, .tensor_count = 2, .numbers = numbers, .number_count = 1, .texts = texts, .text_count = 1};
  return &content;
}

static void assert_holds(const char *path, int64_t step) {
  static float read[ELEMENTS];
  struct store *store;
  double number;
  char *text;
  assert_ok(store_open(path, &store));
  assert_ok(store_verify(store));
  assert_ok(store_read_number(store, "progress/step", &number));
  assert_true(number == (double)step);
  assert_ok(store_read(store, "model/visual.4.mlp.values", DTYPE_F32, ELEMENTS, read));
  assert_true(read[0] == (float)step && read[ELEMENTS - 1] == (float)step + (float)(ELEMENTS - 1) * 1e-3f);
  assert_ok(store_read_text(store, "run/input", &text));
  assert_string_equal(text, "&run stage='distill' /");
  memory_release(text);
  store_close(store);
}

static int compare_names(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a directory, sorted, with a space after each. */
static void assert_names(const char *directory, const char *expected) {
  char *names[64], joined[1024] = "";
  int count = 0;
  DIR *open = opendir(directory);
  assert_non_null(open);
  for (struct dirent *entry; (entry = readdir(open)) != NULL && count < 64;)
    if (entry->d_name[0] != '.')
      names[count++] = strdup(entry->d_name);
  closedir(open);
  qsort(names, (size_t)count, sizeof *names, compare_names);
  for (int i = 0; i < count; i++) {
    snprintf(joined + strlen(joined), sizeof joined - strlen(joined), "%s ", names[i]);
    free(names[i]);
  }
  assert_string_equal(joined, expected);
}

static int warnings;
static void count_warning(const char *message) {
  if (strstr(message, "damaged") != NULL)
    warnings++;
}

static void assert_newest(const char *directory, int64_t expected, int expected_warnings) {
  char *path;
  int64_t step;
  warnings = 0;
  assert_ok(checkpoint_find_newest(directory, INT64_MAX, &path, &step, count_warning));
  assert_int_equal(step, expected);
  assert_int_equal(warnings, expected_warnings);
  if (path != NULL)
    assert_holds(path, expected);
  memory_release(path);
}

static void test_rhythm(void **state) {
  (void)state;
  char target[64] = "";
  struct checkpoint_writer *writer = checkpoint_writer_open("rhythm", 2);
  assert_newest("rhythm", -1, 0);
  for (int64_t step = 100; step <= 500; step += 100) {
    assert_ok(checkpoint_writer_submit(writer, content_of(step), step, step == 200, step == 300));
    memset(weights, 0xff, sizeof weights); /* training goes on */
  }
  assert_ok(checkpoint_writer_wait(writer));
  assert_ok(checkpoint_writer_wait(writer));
  assert_true(checkpoint_writer_last_seconds(writer) > 0);
  checkpoint_writer_close(writer);
  assert_names("rhythm", "archive best.h5 latest.h5 step_0000400.h5 step_0000500.h5 ");
  assert_names("rhythm/archive", "step_0000300.h5 ");
  assert_holds("rhythm/best.h5", 200);
  assert_holds("rhythm/archive/step_0000300.h5", 300);
  assert_true(readlink("rhythm/latest.h5", target, sizeof target - 1) > 0);
  assert_string_equal(target, "step_0000500.h5");
  assert_newest("rhythm", 500, 0);
}

/* A restart below a damaged newest file: what is good survives, the other history is left alone. */
static void test_damage(void **state) {
  (void)state;
  assert_ok(file_write_atomic("rhythm/step_0000600.h5", "no HDF5", 7));
  assert_ok(file_write_atomic("rhythm/step_0000700.h5", "", 0));
  assert_ok(file_write_atomic("rhythm/step_800.h5", "", 0));
  assert_int_equal(truncate("rhythm/step_0000500.h5", 200000), 0);
  assert_newest("rhythm", 400, 3);
  struct checkpoint_writer *writer = checkpoint_writer_open("rhythm", 1);
  assert_ok(checkpoint_writer_submit(writer, content_of(450), 450, true, false));
  assert_ok(checkpoint_writer_wait(writer));
  checkpoint_writer_close(writer);
  assert_names(
      "rhythm",
      "archive best.h5 latest.h5 step_0000450.h5 step_0000500.h5 step_0000600.h5 step_0000700.h5 step_800.h5 ");
  assert_newest("rhythm", 450, 3);
  assert_holds("rhythm/best.h5", 450);
}

static void test_no_growth(void **state) {
  (void)state;
  struct checkpoint_writer *writer = checkpoint_writer_open("growth", 1);
  assert_ok(checkpoint_writer_submit(writer, content_of(1), 1, false, false));
  assert_ok(checkpoint_writer_wait(writer));
  const size_t before = memory_live_bytes();
  for (int64_t step = 2; step < 12; step++) {
    assert_ok(checkpoint_writer_submit(writer, content_of(step), step, true, false));
    assert_ok(checkpoint_writer_wait(writer));
    assert_int_equal(memory_live_bytes(), before);
  }
  checkpoint_writer_close(writer);
  assert_names("growth", "best.h5 latest.h5 step_0000011.h5 ");
}

/* Features are written and checkpoints read while another is under way. */
static void test_two_threads(void **state) {
  (void)state;
  struct checkpoint_writer *writer = checkpoint_writer_open("two", 2);
  assert_ok(checkpoint_write("two.h5", content_of(7)));
  for (int64_t step = 1; step <= 20; step++) {
    assert_ok(checkpoint_writer_submit(writer, content_of(step), step, false, false));
    assert_holds("two.h5", 7);
    assert_ok(checkpoint_write("two.h5", content_of(7)));
  }
  assert_ok(checkpoint_writer_wait(writer));
  checkpoint_writer_close(writer);
  assert_newest("two", 20, 0);
  unlink("two.h5");
}

static void limit_files(rlim_t bytes) {
  struct rlimit limit;
  getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
  setrlimit(RLIMIT_FSIZE, &limit);
}

static void test_full_disk(void **state) {
  (void)state;
  signal(SIGXFSZ, SIG_IGN);
  struct checkpoint_writer *writer = checkpoint_writer_open("full", 1);
  assert_ok(checkpoint_writer_submit(writer, content_of(1), 1, true, false));
  assert_ok(checkpoint_writer_wait(writer));
  limit_files(100000);
  const enum status submitted = checkpoint_writer_submit(writer, content_of(2), 2, true, false);
  const enum status again = checkpoint_writer_submit(writer, content_of(3), 3, true, false);
  const enum status waited = checkpoint_writer_wait(writer);
  limit_files(RLIM_INFINITY);
  assert_ok(submitted);
  assert_int_equal(again, STATUS_SYSTEM);
  assert_int_equal(waited, STATUS_SYSTEM);
  if (strstr(error_message(), "step_0000003.h5") == NULL || strstr(error_message(), "File too large") == NULL)
    fail_msg("%s", error_message());
  assert_names("full", "best.h5 latest.h5 step_0000001.h5 ");
  assert_newest("full", 1, 0);
  assert_ok(checkpoint_writer_submit(writer, content_of(4), 4, false, false));
  assert_ok(checkpoint_writer_wait(writer));
  checkpoint_writer_close(writer);
  assert_names("full", "best.h5 latest.h5 step_0000004.h5 ");
  assert_holds("full/best.h5", 1);
}

/* A small file system that is really full; only root can mount one. */
static void test_small_file_system(void **state) {
  (void)state;
  if (geteuid() != 0 || mkdir("small", 0777) != 0 || system("mount -t tmpfs -o size=600k none small 2> /dev/null") != 0)
    skip();
  struct checkpoint_writer *writer = checkpoint_writer_open("small", 1);
  const enum status first = checkpoint_writer_submit(writer, content_of(1), 1, false, false);
  const enum status second = checkpoint_writer_submit(writer, content_of(2), 2, false, false);
  const enum status waited = checkpoint_writer_wait(writer);
  char *words = memory_copy_string(error_message(), "words");
  char *path;
  int64_t step;
  checkpoint_find_newest("small", INT64_MAX, &path, &step, NULL);
  memory_release(path);
  checkpoint_writer_close(writer);
  assert_int_equal(system("umount small"), 0);
  assert_int_equal(first, STATUS_OK);
  assert_int_equal(second, STATUS_OK);
  assert_int_equal(waited, STATUS_SYSTEM);
  assert_non_null(strstr(words, "No space left on device"));
  assert_int_equal(step, 1);
  memory_release(words);
}

/* A writer killed at any moment leaves a directory whose newest file is whole. Runs first: a child of a process that
 * has used OpenMP cannot use it any more. */
static void test_killed(void **state) {
  (void)state;
  int64_t newest = -1;
  for (int trial = 0; trial < 8; trial++) {
    const pid_t child = fork();
    if (child == 0) {
      struct checkpoint_writer *writer = checkpoint_writer_open("killed", 2);
      for (int64_t step = 1 + 1000 * trial;; step++)
        checkpoint_writer_submit(writer, content_of(step), step, step % 3 == 0, false);
    }
    clock_sleep(0.05 + 0.013 * trial);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    char *path;
    int64_t step;
    warnings = 0;
    assert_ok(checkpoint_find_newest("killed", INT64_MAX, &path, &step, count_warning));
    assert_int_equal(warnings, 0);
    assert_true(step >= newest);
    newest = step;
    if (path != NULL)
      assert_holds(path, step);
    memory_release(path);
  }
  assert_true(newest > 1000);
  checkpoint_writer_close(checkpoint_writer_open("killed", 2));
  assert_int_equal(system("ls killed | grep -q tmp") == 0, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_killed),
      cmocka_unit_test(test_rhythm),
      cmocka_unit_test(test_damage),
      cmocka_unit_test(test_no_growth),
      cmocka_unit_test(test_two_threads),
      cmocka_unit_test(test_full_disk),
      cmocka_unit_test(test_small_file_system),
  };
  char directory[] = "test_checkpoint.XXXXXX";
  if (mkdtemp(directory) == NULL || chdir(directory) != 0)
    return 1;
  const int failed = cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
  if (failed == 0 && system("rm -rf rhythm growth two full small killed") == 0 && chdir("..") == 0)
    rmdir(directory);
  return failed != 0 || memory_report_live(true) != 0;
}

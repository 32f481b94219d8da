/* The lock of a run directory, and where a result comes from. */
#include "config.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "report/lock.h"
#include "report/provenance.h"
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char directory[] = "test_lock.XXXXXX";
static char *path;
static const struct lock_rules quick = {.wait_seconds = 0.3, .stale_seconds = 60, .beat_seconds = 0.05};
static int told;

static void count_waiting(const char *message) {
  assert_non_null(strstr(message, "waiting up to"));
  told++;
}

static void write_holder(const char *host, long pid, const char *job, double heartbeat) {
  char *content = text_format("{\"host\": \"%s\", \"pid\": %ld, \"job\": \"%s\", \"started\": 1, \"heartbeat\": %.0f}",
                              host, pid, job, heartbeat);
  assert_int_equal(file_write_atomic(path, content, strlen(content)), STATUS_OK);
  memory_release(content);
}

static void expect_taken(void) {
  struct lock *lock = NULL;
  told = 0;
  if (lock_take(directory, &quick, count_waiting, &lock) != STATUS_OK)
    fail_msg("%s", error_message());
  assert_int_equal(told, 0); /* at once */
  assert_true(file_exists(path));
  lock_release(lock);
  assert_false(file_exists(path));
}

static void expect_refused(const char *words) {
  struct lock *lock = NULL;
  told = 0;
  assert_int_equal(lock_take(directory, &quick, count_waiting, &lock), STATUS_INPUT);
  assert_non_null(strstr(error_message(), words));
  assert_true(file_exists(path));
}

static void test_unheld(void **state) {
  (void)state;
  expect_taken();
  expect_taken();
}

static void test_other_host(void **state) {
  (void)state;
  write_holder("elsewhere", 12, "", clock_wall_seconds());
  expect_refused("process 12 on elsewhere, heartbeat ");
  assert_int_equal(told, 1);
  write_holder("elsewhere", 12, "", clock_wall_seconds() - 55);
  expect_refused("process 12 on elsewhere");
  write_holder("elsewhere", 12, "", clock_wall_seconds() - 61);
  expect_taken();
}

static void test_same_job(void **state) {
  (void)state;
  setenv("SLURM_JOB_ID", "5", 1);
  write_holder("elsewhere", 12, "4", clock_wall_seconds());
  expect_refused("process 12 on elsewhere, job 4, heartbeat");
  write_holder("elsewhere", 12, "5", clock_wall_seconds());
  expect_taken();
  unsetenv("SLURM_JOB_ID");
}

static void test_torn(void **state) {
  (void)state;
  assert_int_equal(file_write_atomic(path, "{\"host", 6), STATUS_OK);
  expect_refused("an unknown host");
  unlink(path);
}

/* The process started at another time than the holder: its pid was used again. */
static void test_pid_used_again(void **state) {
  (void)state;
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  write_holder(host, (long)getppid(), "", clock_wall_seconds());
  expect_taken();
}

static void test_same_process(void **state) {
  (void)state;
  struct lock *lock;
  assert_int_equal(lock_take(directory, &quick, NULL, &lock), STATUS_OK);
  expect_refused("another run holds this directory");
  lock_release(lock);
}

/* A child takes the lock and lives until it is killed. */
static pid_t start_holder(void (*at_loss)(void)) {
  pid_t child = fork();
  if (child != 0) {
    for (int i = 0; i < 200 && !file_exists(path); i++)
      clock_sleep(0.02);
    clock_sleep(0.1);
    return child;
  }
  struct lock *lock;
  fatal_install(0, at_loss);
  if (lock_take(directory, &quick, NULL, &lock) != STATUS_OK)
    _exit(1);
  for (;;)
    pause();
}

static void test_dead_process(void **state) {
  (void)state;
  pid_t child = start_holder(NULL);
  expect_refused("process ");
  kill(child, SIGKILL);
  clock_sleep(0.1);
  expect_taken(); /* a zombie is dead too */
  assert_int_equal(waitpid(child, NULL, 0), child);
}

static void test_end_while_waiting(void **state) {
  (void)state;
  struct lock *lock = NULL;
  pid_t child = start_holder(NULL), killer = fork();
  if (killer == 0) {
    clock_sleep(0.3);
    kill(child, SIGKILL);
    _exit(0);
  }
  struct lock_rules patient = quick;
  patient.wait_seconds = 10;
  assert_int_equal(lock_take(directory, &patient, NULL, &lock), STATUS_OK);
  lock_release(lock);
  assert_int_equal(waitpid(child, NULL, 0), child);
  assert_int_equal(waitpid(killer, NULL, 0), killer);
}

static void leave(void) {
  _exit(42);
}

/* Whoever lost its lock ends itself, and leaves the other's alone. */
static void test_loss(void **state) {
  (void)state;
  pid_t child = start_holder(leave);
  write_holder("elsewhere", 12, "", clock_wall_seconds());
  int result;
  assert_int_equal(waitpid(child, &result, 0), child);
  assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 42);
  struct text content = {0};
  assert_int_equal(file_read(path, &content), STATUS_OK);
  assert_non_null(strstr(content.data, "elsewhere"));
  text_release(&content);
  unlink(path);
}

static void test_heartbeat(void **state) {
  (void)state;
  struct lock *lock;
  assert_int_equal(lock_take(directory, &quick, NULL, &lock), STATUS_OK);
  int64_t size, before, after;
  assert_int_equal(file_stat(path, &size, &before), STATUS_OK);
  clock_sleep(0.2);
  assert_int_equal(file_stat(path, &size, &after), STATUS_OK);
  assert_true(after > before);
  lock_release(lock);
}

static void test_provenance(void **state) {
  (void)state;
  static const char *const libraries[] = {"HDF5 1.10.8", "Open MPI v4.1.4"};
  struct text out = {0};
  provenance_write(libraries, 2, "AVX2, oneDNN 2.6", "n01, n02", &out);
  assert_true(text_starts_with(out.data, "version: memclip " PACKAGE_VERSION));
  assert_non_null(strstr(out.data, "\nconfigure: "));
  assert_non_null(strstr(out.data, "\nlibraries: HDF5 1.10.8, Open MPI v4.1.4, libarchive "));
  assert_non_null(strstr(out.data, "\ndevice: AVX2, oneDNN 2.6\n"));
  assert_non_null(strstr(out.data, "\nhosts: n01, n02\n"));
  assert_true(text_ends_with(out.data, "\n"));
  text_release(&out);
}

static int setup(void **state) {
  (void)state;
  if (!mkdtemp(directory) || !freopen("test_lock.stderr", "w", stderr))
    return -1;
  path = text_join_path(directory, "lock");
  return 0;
}

static int teardown(void **state) {
  (void)state;
  char *command = text_format("rm -rf '%s' test_lock.stderr", directory);
  int result = system(command);
  memory_release(command);
  memory_release(path);
  return result;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_unheld),         cmocka_unit_test(test_other_host),
      cmocka_unit_test(test_same_job),       cmocka_unit_test(test_torn),
      cmocka_unit_test(test_pid_used_again), cmocka_unit_test(test_same_process),
      cmocka_unit_test(test_dead_process),   cmocka_unit_test(test_end_while_waiting),
      cmocka_unit_test(test_loss),           cmocka_unit_test(test_heartbeat),
      cmocka_unit_test(test_provenance),
  };
  int failed = cmocka_run_group_tests_name("lock", tests, setup, teardown);
  return failed ? failed : (int)memory_report_live(true);
}

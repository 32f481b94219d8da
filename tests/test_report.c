/* What a run writes: log.txt, metrics.jsonl, TensorBoard events, status.json, bad_samples.jsonl. */
#include "config.h"
#include "base/checksum.h"
#include "base/file.h"
#include "base/memory.h"
#include "report/progress.h"
#include "report/report.h"
#include "report/table.h"
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char directory[] = "test_report.XXXXXX";

static char *read_file(const char *name) {
  char *path = text_join_path(directory, name);
  struct text content = {0};
  if (file_read(path, &content) != STATUS_OK)
    fail_msg("%s", error_message());
  memory_release(path);
  return content.data;
}

static int count_lines(const char *text) {
  int count = 0;
  for (; (text = strchr(text, '\n')); text++)
    count++;
  return count;
}

static void write_steps(int from, int to) {
  for (int step = from; step <= to; step++) {
    struct report_value values[] = {
        {"train/loss", 1.0 / step}, {"train/lr", 5e-4}, {"train/other", step == 2 ? NAN : 0.1}};
    report_values(step, step / 10.0, values, 3);
  }
}

/* Standard error goes to a file while the tests run; it must not mix with their results. */
static void test_files(void **state) {
  (void)state;
  assert_int_equal(report_open(directory, -1, false), STATUS_OK);
  report_message("%d ranks", 4);
  report_warning("slow");
  write_steps(1, 5);
  struct report_value value = {"val/similarity_mean", 0.5};
  report_values(5, 0.5, &value, 1);
  report_bad_sample("s1\xff", "a.tar", "truncated");
  report_close();

  char *metrics = read_file("metrics.jsonl");
  assert_int_equal(count_lines(metrics), 6);
  assert_true(text_starts_with(metrics, "{\"step\":1,\"epoch\":0.1,\"time\":"));
  assert_non_null(strstr(metrics, ",\"train/loss\":1.0,\"train/lr\":0.0005,\"train/other\":0.1}\n"));
  assert_non_null(strstr(metrics, ",\"train/other\":null}\n"));
  assert_non_null(strstr(metrics, ",\"val/similarity_mean\":0.5}\n"));
  memory_release(metrics);
  char *bad = read_file("bad_samples.jsonl");
  assert_string_equal(bad, "{\"key\":\"s1?\",\"shard\":\"a.tar\",\"reason\":\"truncated\"}\n");
  memory_release(bad);
  char *log = read_file("log.txt");
  assert_non_null(strstr(log, "  4 ranks\n"));
  assert_non_null(strstr(log, "  warning: slow\n"));
  assert_non_null(strstr(log, "     step     epoch       loss         lr"));
  assert_non_null(strstr(log, "        2     0.200        0.5  5.000e-04        -"));
  assert_non_null(strstr(log, "step 5  val/similarity_mean              0.5\n"));
  memory_release(log);
}

static void test_resume(void **state) {
  (void)state;
  char *path = text_join_path(directory, "metrics.jsonl");
  FILE *file = fopen(path, "a");
  fputs("{\"step\":9,\"tor", file);
  fclose(file);
  memory_release(path);
  assert_int_equal(report_open(directory, 3, false), STATUS_OK);
  write_steps(4, 4);
  report_close();
  char *metrics = read_file("metrics.jsonl"), *log = read_file("log.txt");
  assert_int_equal(count_lines(metrics), 4);
  assert_null(strstr(metrics, "\"step\":5"));
  assert_non_null(strstr(log, "4 ranks"));
  memory_release(log);
  memory_release(metrics);
  assert_int_equal(report_open(directory, -1, false), STATUS_OK);
  write_steps(1, 1);
  report_close();
  metrics = read_file("metrics.jsonl");
  assert_int_equal(count_lines(metrics), 1);
  memory_release(metrics);
}

static void test_status(void **state) {
  (void)state;
  setenv("SLURM_JOB_ID", "77", 1);
  assert_int_equal(report_open(directory, 0, false), STATUS_OK);
  report_status("running", 0, 3, NULL, NULL);
  char *path = text_join_path(directory, "status.json");
  json_t *object = json_load_file(path, 0, NULL);
  assert_string_equal(json_string_value(json_object_get(object, "state")), "running");
  assert_true(json_is_null(json_object_get(object, "exit")));
  assert_true(json_is_null(json_object_get(object, "checkpoint")));
  assert_string_equal(json_string_value(json_object_get(object, "job")), "77");
  assert_int_equal(json_integer_value(json_object_get(object, "pid")), getpid());
  json_decref(object);
  report_status("requeue", 75, 120, "checkpoints/step_0000120.h5", "time limit");
  object = json_load_file(path, 0, NULL);
  assert_int_equal(json_integer_value(json_object_get(object, "exit")), 75);
  assert_int_equal(json_integer_value(json_object_get(object, "step")), 120);
  assert_string_equal(json_string_value(json_object_get(object, "message")), "time limit");
  json_decref(object);
  memory_release(path);
  report_close();
  unsetenv("SLURM_JOB_ID");
}

static uint32_t masked(const uint8_t *data, size_t size) {
  uint32_t crc = checksum_crc32c(0, data, size);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static uint64_t little_endian(const uint8_t *data, int bytes) {
  uint64_t value = 0;
  for (int i = bytes - 1; i >= 0; i--)
    value = value << 8 | data[i];
  return value;
}

/* Checks the frames of an event file; returns how many there are. */
static int check_frames(const char *path) {
  struct file_map map;
  int frames = 0;
  assert_int_equal(file_map(path, &map), STATUS_OK);
  for (const uint8_t *p = map.data, *end = map.data + map.size; p < end; frames++) {
    assert_true(end - p >= 16);
    size_t size = little_endian(p, 8);
    assert_true(size <= (size_t)(end - p) - 16);
    assert_int_equal(little_endian(p + 8, 4), masked(p, 8));
    assert_int_equal(little_endian(p + 12 + size, 4), masked(p + 12, size));
    p += size + 16;
  }
  file_unmap(&map);
  return frames;
}

/* Every file holds a head and a start, and there were eight reports. */
static void test_event_frames(void **state) {
  (void)state;
  DIR *entries = opendir(directory);
  int files = 0, frames = 0;
  for (struct dirent *entry; (entry = readdir(entries));)
    if (text_starts_with(entry->d_name, "events.out.tfevents.")) {
      char *path = text_join_path(directory, entry->d_name);
      frames += check_frames(path);
      memory_release(path);
      files++;
    }
  closedir(entries);
  assert_true(files == 4 && frames == 2 * files + 8);
}

/* TensorBoard itself, where there is one, reads the scalars and forgets those that a restart took back. */
static void test_tensorboard(void **state) {
  (void)state;
  const char *python = getenv("MEMCLIP_PYTHON") ? getenv("MEMCLIP_PYTHON") : "python3";
  char *probe = text_format("%s -c 'import tensorboard' >/dev/null 2>&1", python);
  int absent = system(probe);
  memory_release(probe);
  if (absent) {
    skip();
    return;
  }
  assert_int_equal(report_open(directory, -1, false), STATUS_OK);
  write_steps(1, 6);
  report_close();
  assert_int_equal(report_open(directory, 3, false), STATUS_OK);
  write_steps(4, 5);
  report_close();
  char *command = text_format("%s -c \"\n"
                              "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
                              "a = EventAccumulator('%s', size_guidance={'scalars': 0})\n"
                              "a.Reload()\n"
                              "s = a.Scalars('train/loss')\n"
                              "assert [x.step for x in s] == [1, 2, 3, 4, 5], [x.step for x in s]\n"
                              "assert all(abs(x.value - 1 / x.step) < 1e-6 for x in s)\n"
                              "assert [x.step for x in a.Scalars('train/other')] == [1, 3, 4, 5]\n"
                              "\" >tensorboard.log 2>&1",
                              python, directory);
  int failed = system(command);
  memory_release(command);
  if (failed) {
    struct text log = {0};
    file_read("tensorboard.log", &log);
    fail_msg("%s", log.data);
  }
  unlink("tensorboard.log");
}

static void test_table(void **state) {
  (void)state;
  struct text head = {0}, line = {0};
  struct report_value values[] = {
      {"train/waiting_share", 0.123}, {"train/samples_per_second", 1234.56}, {"train/loss", NAN}};
  assert_true(table_takes(values, 3));
  table_head(&head);
  table_line(1234567, 12.5, values, 3, &line);
  assert_int_equal(head.length, line.length);
  assert_non_null(strstr(line.data, "     1234.6      12.3"));
  assert_non_null(strstr(line.data, "nan"));
  text_release(&head);
  text_release(&line);
  struct report_value other = {"val/loss", 1};
  assert_false(table_takes(&other, 1));
}

static void test_progress(void **state) {
  (void)state;
  struct text line = {0};
  struct report_progress progress = {"step", 120, 3893, 0.12345, 412, 0.02};
  progress_format(&progress, 723, &line);
  assert_string_equal(line.data, "step 120/3893 (3 %)  loss 0.1235  412 samples/s  waiting 2 %  12 min 03 s left");
  text_clear(&line);
  progress = (struct report_progress){"image", 5, 0, -1, NAN, NAN};
  progress_format(&progress, -1, &line);
  assert_string_equal(line.data, "image 5");
  text_release(&line);
}

/* On a rank that opened no report nothing happens. */
static void test_closed(void **state) {
  (void)state;
  struct report_value value = {"train/loss", 1};
  struct report_progress progress = {"step", 1, 2, 0, 0, 0};
  report_message("not shown");
  report_values(1, 0, &value, 1);
  report_progress(&progress);
  report_progress_end();
  report_status("done", 0, 1, NULL, NULL);
  report_bad_sample("a", "b", "c");
  report_close();
  assert_int_equal(report_open("/proc/none", -1, false), STATUS_SYSTEM);
}

static int setup(void **state) {
  (void)state;
  return mkdtemp(directory) && freopen("test_report.stderr", "w", stderr) ? 0 : -1;
}

static int teardown(void **state) {
  (void)state;
  char *command = text_format("rm -rf '%s' test_report.stderr", directory);
  int result = system(command);
  memory_release(command);
  return result;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_files),        cmocka_unit_test(test_resume),      cmocka_unit_test(test_status),
      cmocka_unit_test(test_event_frames), cmocka_unit_test(test_tensorboard), cmocka_unit_test(test_table),
      cmocka_unit_test(test_progress),     cmocka_unit_test(test_closed),
  };
  int failed = cmocka_run_group_tests_name("report", tests, setup, teardown);
  return failed ? failed : (int)memory_report_live(true);
}

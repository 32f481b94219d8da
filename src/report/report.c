#include "config.h"
#include "report/report.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "report/events.h"
#include "report/job.h"
#include "report/lines.h"
#include "report/progress.h"
#include "report/table.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEAD_EVERY = 40 }; /* lines of the table between two heads */

static struct {
  pthread_mutex_t mutex; /* of log.txt and stderr */
  bool open;
  char *directory;
  FILE *log;
  struct events *events;
  int lines_since_head;
  bool warned_metrics, warned_events, warned_bad_samples;
} report = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static char *path_of(const char *name) {
  return text_join_path(report.directory, name);
}

static enum status open_log(bool resume) {
  char *path = path_of("log.txt");
  report.log = fopen(path, resume ? "ae" : "we");
  report.lines_since_head = HEAD_EVERY;
  enum status status = report.log ? STATUS_OK : error_set(STATUS_SYSTEM, "cannot open %s: %s", path, strerror(errno));
  memory_release(path);
  return status;
}

static enum status open_lines(int64_t resume_step) {
  char *metrics = path_of("metrics.jsonl"), *bad = path_of("bad_samples.jsonl");
  enum status status = STATUS_OK;
  if (resume_step >= 0) {
    status = lines_cut_back(metrics, resume_step);
  } else {
    unlink(metrics);
    unlink(bad);
  }
  memory_release(metrics);
  memory_release(bad);
  return status;
}

static enum status open_files(int64_t resume_step) {
  TRY(file_make_directories(report.directory));
  TRY(open_log(resume_step >= 0));
  TRY(open_lines(resume_step));
  return events_open(report.directory, resume_step + 1, &report.events);
}

enum status report_open(const char *directory, int64_t resume_step, bool terminal) {
  report_close();
  report.open = true;
  progress_reset(terminal);
  if (!directory)
    return STATUS_OK;
  report.directory = memory_copy_string(directory, "run directory");
  enum status status = open_files(resume_step);
  if (status != STATUS_OK)
    report_close();
  return status;
}

void report_close(void) {
  if (!report.open)
    return;
  report_progress_end();
  events_close(report.events);
  if (report.log)
    fclose(report.log);
  memory_release(report.directory);
  report.open = report.warned_metrics = report.warned_events = report.warned_bad_samples = false;
  report.directory = NULL;
  report.log = NULL;
  report.events = NULL;
}

/* One message, whole lines, to log.txt (with the time) and stderr. */
static void tell(const char *prefix, const char *message) {
  if (!report.open)
    return;
  char now[32];
  clock_format_now(now);
  pthread_mutex_lock(&report.mutex);
  if (report.log) {
    fprintf(report.log, "%s  %s%s\n", now, prefix, message);
    fflush(report.log);
  }
  progress_hide();
  fprintf(stderr, "%s%s\n", prefix, message);
  progress_show();
  pthread_mutex_unlock(&report.mutex);
}

void report_message(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *message = text_format_list(format, arguments);
  va_end(arguments);
  tell("", message);
  memory_release(message);
}

void report_warning_text(const char *message) {
  tell("warning: ", message);
}

void report_warning(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *message = text_format_list(format, arguments);
  va_end(arguments);
  report_warning_text(message);
  memory_release(message);
}

/* The run goes on without a file that cannot be written; the first failure is told. */
static void warn_once(enum status status, bool *warned) {
  if (status == STATUS_OK || *warned)
    return;
  *warned = true;
  report_warning("%s; the run goes on without it", error_message());
}

static void append_table(int64_t step, double epoch, const struct report_value *values, int count) {
  struct text lines = {0};
  if (report.lines_since_head >= HEAD_EVERY) {
    table_head(&lines);
    report.lines_since_head = 0;
  }
  table_line(step, epoch, values, count, &lines);
  report.lines_since_head++;
  pthread_mutex_lock(&report.mutex);
  fwrite(lines.data, 1, lines.length, report.log);
  fflush(report.log);
  pthread_mutex_unlock(&report.mutex);
  text_release(&lines);
}

void report_values(int64_t step, double epoch, const struct report_value *values, int count) {
  if (!report.open)
    return;
  bool table = table_takes(values, count);
  for (int i = 0; i < count && !table; i++)
    report_message("step %lld  %-32s %.6g", (long long)step, values[i].name, values[i].value);
  if (!report.directory)
    return;
  if (table)
    append_table(step, epoch, values, count);
  char *path = path_of("metrics.jsonl");
  warn_once(lines_append(path, lines_report(step, epoch, values, count)), &report.warned_metrics);
  warn_once(events_write(report.events, step, values, count), &report.warned_events);
  memory_release(path);
}

void report_progress(const struct report_progress *progress) {
  if (!report.open)
    return;
  pthread_mutex_lock(&report.mutex);
  progress_update(progress);
  pthread_mutex_unlock(&report.mutex);
}

void report_progress_end(void) {
  pthread_mutex_lock(&report.mutex);
  progress_end();
  pthread_mutex_unlock(&report.mutex);
}

static json_t *status_object(const char *state, int exit_status, int64_t step, const char *checkpoint,
                             const char *message) {
  char host[256] = "", now[32];
  gethostname(host, sizeof host - 1);
  clock_format_now(now);
  json_t *object = json_object();
  json_object_set_new(object, "state", lines_text(state));
  json_object_set_new(object, "exit", strcmp(state, "running") == 0 ? json_null() : json_integer(exit_status));
  json_object_set_new(object, "step", json_integer(step));
  json_object_set_new(object, "checkpoint", lines_text(checkpoint));
  json_object_set_new(object, "message", lines_text(message ? message : ""));
  json_object_set_new(object, "host", lines_text(host));
  json_object_set_new(object, "pid", json_integer(getpid()));
  json_object_set_new(object, "job", lines_text(job_id()));
  json_object_set_new(object, "time", lines_text(now));
  return object;
}

/* Takes the object. */
static enum status write_status(const char *directory, json_t *object) {
  char *dump = json_dumps(object, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
  char *path = text_join_path(directory, "status.json"), *content = text_format("%s\n", dump ? dump : "{}");
  json_decref(object);
  const enum status status = file_write_atomic(path, content, strlen(content));
  memory_release(content);
  memory_release(path);
  free(dump);
  return status;
}

void report_status(const char *state, int exit_status, int64_t step, const char *checkpoint, const char *message) {
  if (!report.open || !report.directory)
    return;
  if (write_status(report.directory, status_object(state, exit_status, step, checkpoint, message)) != STATUS_OK)
    report_warning("%s", error_message());
}

enum status report_failure(const char *directory, const char *message) {
  char *path = text_join_path(directory, "status.json");
  json_t *before = json_load_file(path, 0, NULL);
  memory_release(path);
  const json_int_t step = json_integer_value(json_object_get(before, "step"));
  const char *checkpoint = json_string_value(json_object_get(before, "checkpoint"));
  json_t *object = status_object("failed", STATUS_SYSTEM, step, checkpoint ? checkpoint : "", message);
  json_decref(before);
  return write_status(directory, object);
}

void report_bad_sample(const char *key, const char *shard, const char *reason) {
  if (!report.open || !report.directory)
    return;
  json_t *object = json_object();
  json_object_set_new(object, "key", lines_text(key));
  json_object_set_new(object, "shard", lines_text(shard));
  json_object_set_new(object, "reason", lines_text(reason));
  char *path = path_of("bad_samples.jsonl");
  warn_once(lines_append(path, object), &report.warned_bad_samples);
  memory_release(path);
}

#include "config.h"
#include "report/lines.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

json_t *lines_text(const char *text) {
  if (!text)
    return json_null();
  if (text_is_utf8(text, strlen(text)))
    return json_string(text);
  char *clean = memory_copy_string(text, "text for JSON");
  for (char *p = clean; *p; p++)
    if ((unsigned char)*p >= 0x80)
      *p = '?';
  json_t *string = json_string(clean);
  memory_release(clean);
  return string;
}

json_t *lines_number(double value) {
  return isfinite(value) ? json_real(value) : json_null();
}

static enum status append_line(const char *path, const char *line, size_t length) {
  int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0)
    return error_set(STATUS_SYSTEM, "cannot open %s: %s", path, strerror(errno));
  ssize_t wrote = write(file, line, length);
  int cause = wrote == (ssize_t)length ? 0 : wrote < 0 ? errno : ENOSPC;
  if (close(file) != 0 && cause == 0)
    cause = errno;
  return cause == 0 ? STATUS_OK : error_set(STATUS_SYSTEM, "cannot write %s: %s", path, strerror(cause));
}

enum status lines_append(const char *path, json_t *object) {
  enum { DIGITS = 15 }; /* so that 0.1 stays 0.1 */
  char *dump = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(DIGITS));
  json_decref(object);
  if (!dump)
    return error_set(STATUS_SYSTEM, "cannot write a line of %s as JSON", path);
  char *line = text_format("%s\n", dump);
  free(dump);
  enum status status = append_line(path, line, strlen(line));
  memory_release(line);
  return status;
}

/* Is the line of `length` characters whole JSON with a step of at most `step`? */
static bool is_kept(const char *line, size_t length, int64_t step) {
  json_t *object = json_loadb(line, length, 0, NULL);
  const json_t *number = json_object_get(object, "step");
  bool kept = json_is_integer(number) && json_integer_value(number) <= step;
  json_decref(object);
  return kept;
}

enum status lines_cut_back(const char *path, int64_t step) {
  struct text before = {0}, after = {0};
  if (!file_exists(path))
    return STATUS_OK;
  enum status status = file_read(path, &before);
  text_append(&after, "", 0);
  for (char *line = before.data, *end; status == STATUS_OK && (end = strchr(line, '\n')); line = end + 1)
    if (is_kept(line, (size_t)(end - line), step))
      text_append(&after, line, (size_t)(end - line) + 1);
  if (status == STATUS_OK && after.length != before.length)
    status = file_write_atomic(path, after.data, after.length);
  text_release(&before);
  text_release(&after);
  return status;
}

json_t *lines_report(int64_t step, double epoch, const struct report_value *values, int count) {
  json_t *object = json_object();
  json_object_set_new(object, "step", json_integer(step));
  json_object_set_new(object, "epoch", lines_number(epoch));
  json_object_set_new(object, "time", lines_number(floor(clock_wall_seconds() * 1000) / 1000));
  for (int i = 0; i < count; i++)
    json_object_set_new(object, values[i].name, lines_number(values[i].value));
  return object;
}

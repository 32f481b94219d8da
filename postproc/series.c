#include "series.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const struct series *series_find(const struct run_series *run, const char *name) {
  for (int i = 0; i < run->count; i++)
    if (strcmp(run->items[i].name, name) == 0)
      return &run->items[i];
  return NULL;
}

static struct series *find_or_add(struct run_series *run, const char *name) {
  struct series *found = (struct series *)series_find(run, name);
  if (found)
    return found;
  run->items = memory_resize(run->items, (size_t)(run->count + 1) * sizeof *run->items, "series");
  found = &run->items[run->count++];
  *found = (struct series){.name = memory_copy_string(name, "series")};
  return found;
}

/* Capacity is the count rounded up to a power of two. */
static void add_point(struct series *series, double step, double value) {
  if ((series->count & (series->count - 1)) == 0) {
    size_t capacity = series->count > 0 ? 2 * (size_t)series->count : 1;
    series->step = memory_resize(series->step, capacity * sizeof *series->step, "series");
    series->value = memory_resize(series->value, capacity * sizeof *series->value, "series");
  }
  series->step[series->count] = step;
  series->value[series->count++] = value;
}

static void add_report(struct run_series *run, json_t *object) {
  const char *name;
  json_t *value;
  double step = json_number_value(json_object_get(object, "step"));
  json_object_foreach(object, name, value) {
    if (strchr(name, '/') && json_is_number(value) && isfinite(json_number_value(value)))
      add_point(find_or_add(run, name), step, json_number_value(value));
  }
}

static enum status read_lines(const char *path, char *lines, struct run_series *run) {
  char *rest = lines;
  int number = 0;
  for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
    json_error_t error;
    number++;
    if (*line == '\0')
      continue;
    json_t *object = json_loads(line, 0, &error);
    if (!object && !rest)
      return STATUS_OK; /* the run is writing, or was cut off here */
    if (!object)
      return error_set(STATUS_INPUT, "%s:%d: not a JSON object: %s", path, number, error.text);
    add_report(run, object);
    json_decref(object);
  }
  return STATUS_OK;
}

/* "runs/distill/" -> "distill" */
static char *label_of_directory(const char *directory) {
  char *copy = memory_copy_string(directory, "label");
  for (size_t n = strlen(copy); n > 1 && copy[n - 1] == '/'; n--)
    copy[n - 1] = '\0';
  char *label = memory_copy_string(text_base_name(copy), "label");
  memory_release(copy);
  return label;
}

enum status series_read_run(const char *directory, struct run_series *run) {
  struct text content = {0};
  *run = (struct run_series){.path = memory_copy_string(directory, "path"), .label = label_of_directory(directory)};
  char *path = text_join_path(directory, "metrics.jsonl");
  enum status status = STATUS_OK;
  if (!file_is_directory(directory))
    status = error_set(STATUS_INPUT, "%s is not the directory of a run", directory);
  if (status == STATUS_OK)
    status = file_read(path, &content);
  if (status == STATUS_OK && content.length > 0)
    status = read_lines(path, content.data, run);
  if (status != STATUS_OK)
    series_release_run(run);
  memory_release(path);
  text_release(&content);
  return status;
}

void series_release_run(struct run_series *run) {
  for (int i = 0; i < run->count; i++) {
    memory_release(run->items[i].name);
    memory_release(run->items[i].step);
    memory_release(run->items[i].value);
  }
  memory_release(run->items);
  memory_release(run->path);
  memory_release(run->label);
  *run = (struct run_series){0};
}

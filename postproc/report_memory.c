/* How memories are used, and which samples were bad. */
#include "base/file.h"
#include "base/memory.h"
#include "report.h"
#include "usage.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

static void append_number(struct text *page, double value, int digits) {
  if (isfinite(value))
    text_append_format(page, "<td>%.*f</td>", digits, value);
  else
    text_append_string(page, "<td>–</td>");
}

static void append_head(const struct usage_layer *layer, int class, int64_t head, struct text *page) {
  const struct usage_summary summary = usage_summarize(layer, class, head);
  if (summary.reads == 0)
    return;
  text_append_format(page, "<tr><td>block %d, %s, head %" PRId64 "</td><td>%" PRId64 " of %" PRId64 "</td>",
                     layer->block, usage_class_names[class], head, summary.used, layer->slots);
  append_number(page, 100 * summary.dead_share, 1);
  append_number(page, summary.effective, 1);
  append_number(page, summary.effective_weighted, 1);
  append_number(page, summary.kl, 2);
  append_number(page, summary.margin, 3);
  text_append_string(page, "<td>");
  for (int i = 0; i < USAGE_TOP && summary.top[i] >= 0; i++)
    text_append_format(page, "%s%" PRId64 " (%.0f %%)", i ? ", " : "", summary.top[i], 100 * summary.top_share[i]);
  text_append_string(page, "</td></tr>\n");
}

static void append_file(const struct usage_file *file, struct text *page) {
  text_append_string(page, "<h3>");
  report_escape(page, file->label);
  text_append_string(page, " on ");
  report_escape(page, file->data_set);
  text_append_string(page, "</h3>\n<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\"></th><th "
                           "scope=\"col\">slots read</th><th scope=\"col\">never read, %</th><th "
                           "scope=\"col\">effective slots</th><th scope=\"col\">weighted</th><th scope=\"col\">KL to "
                           "uniform</th><th scope=\"col\">margin</th><th scope=\"col\">most read</th></tr></thead>\n"
                           "<tbody>\n");
  for (int i = 0; i < file->count; i++)
    for (int class = 0; class < USAGE_CLASSES; class ++)
      for (int64_t head = 0; head < file->layers[i].heads; head++)
        append_head(&file->layers[i], class, head, page);
  text_append_string(page, "</tbody></table></div>\n");
}

/* Of each model the first data set. */
static bool is_shown_before(char *const *paths, int path) {
  const char *dot = strchr(text_base_name(paths[path]), '.');
  for (int p = 0; dot && p < path; p++) {
    const char *other = strchr(text_base_name(paths[p]), '.');
    if (other && strcmp(other, dot) == 0)
      return true;
  }
  return false;
}

static enum status append_run(const struct report_run *run, bool *head, struct text *page) {
  char *folder = text_join_path(run->path, "usage"), **paths;
  const bool there = file_is_directory(folder);
  enum status status = STATUS_OK;
  int count;
  memory_release(folder);
  if (!there || usage_list_files(run->path, &paths, &count) != STATUS_OK)
    return STATUS_OK;
  for (int p = 0; p < count; p++) {
    struct usage_file file;
    if (status == STATUS_OK && !is_shown_before(paths, p)) {
      status = usage_read(paths[p], &file);
      if (status == STATUS_OK && !*head)
        text_append_string(page, "<h2>Memory usage</h2>\n");
      *head |= status == STATUS_OK;
      if (status == STATUS_OK)
        append_file(&file, page);
      if (status == STATUS_OK)
        usage_release(&file);
    }
    memory_release(paths[p]);
  }
  memory_release(paths);
  return status;
}

enum status report_memory(const struct report *report, struct text *page) {
  bool head = false;
  for (int r = 0; r < report->run_count; r++)
    TRY(append_run(&report->runs[r], &head, page));
  if (head)
    text_append_string(page,
                       "<p class=\"note\">Effective slots: exp(entropy) of the reads, weighted: of their weights. "
                       "KL to uniform in nats. Margin: median score of the last slot taken less that of the next "
                       "one. CLS: the pooled token; in a pooled last block no other is computed.</p>\n");
  return STATUS_OK;
}

enum { BAD_SHOWN = 10 };

static void append_cell(struct text *page, const json_t *object, const char *key) {
  const char *words = json_string_value(json_object_get(object, key));
  text_append_string(page, "<td class=\"value\">");
  report_escape(page, words ? words : "–");
  text_append_string(page, "</td>");
}

/* The first few of bad_samples.jsonl; lines that are no JSON are passed over. */
static void append_bad(const struct report_run *run, char *lines, struct text *page) {
  char *rest = lines;
  int count = 0;
  struct text rows = {0};
  for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
    json_t *object = json_loads(line, 0, NULL);
    if (json_is_object(object) && count++ < BAD_SHOWN) {
      text_append_string(&rows, "<tr>");
      append_cell(&rows, object, "key");
      append_cell(&rows, object, "reason");
      append_cell(&rows, object, "shard");
      text_append_string(&rows, "</tr>\n");
    }
    json_decref(object);
  }
  if (count > 0) {
    text_append_string(page, "<h3>Bad samples of ");
    report_escape(page, run->label);
    text_append_format(page,
                       ": %d%s</h3>\n<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">sample</th><th "
                       "scope=\"col\">reason</th><th scope=\"col\">in</th></tr></thead>\n<tbody>\n",
                       count, count > BAD_SHOWN ? ", the first ones" : "");
    text_append(page, rows.data, rows.length);
    text_append_string(page, "</tbody></table></div>\n");
  }
  text_release(&rows);
}

void report_bad_samples(const struct report *report, struct text *page) {
  for (int r = 0; r < report->run_count; r++) {
    char *path = text_join_path(report->runs[r].path, "bad_samples.jsonl");
    struct text lines = {0};
    if (file_exists(path) && file_read(path, &lines) == STATUS_OK && lines.length > 0)
      append_bad(&report->runs[r], lines.data, page);
    text_release(&lines);
    memory_release(path);
  }
}

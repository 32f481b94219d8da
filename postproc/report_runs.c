/* Curves, and how the runs were made. */
#include "base/file.h"
#include "base/memory.h"
#include "figure.h"
#include "report.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The drawing as a data address. */
static enum status append_drawing(const struct figure *figure, bool dark, struct text *page) {
  const char *temporary = getenv("TMPDIR");
  char *path = text_format("%s/memclip-report.%ld.svg", temporary && *temporary ? temporary : "/tmp", (long)getpid());
  struct text svg = {0};
  enum status status = figure_draw(figure, FIGURE_SVG, dark, path);
  if (status == STATUS_OK)
    status = file_read(path, &svg);
  if (status == STATUS_OK) {
    text_append_string(page, "data:image/svg+xml;base64,");
    report_base64(page, svg.data, svg.length);
  }
  unlink(path);
  text_release(&svg);
  memory_release(path);
  return status;
}

static enum status append_figure(const struct figure *figure, struct text *page) {
  struct text words = {0};
  text_append_string(page, "<figure><picture><source media=\"screen and (prefers-color-scheme:dark)\" srcset=\"");
  enum status status = append_drawing(figure, true, page);
  text_append_string(page, "\"><img src=\"");
  if (status == STATUS_OK)
    status = append_drawing(figure, false, page);
  figure_describe(figure, &words);
  text_append_string(page, "\" alt=\"");
  report_escape(page, words.data);
  text_append_string(page, "\"></picture></figure>\n");
  text_release(&words);
  return status;
}

/* Recall by caption length and ranks, of each data set. */
static enum status append_result_figures(const struct report *report, struct text *page) {
  struct figure *figures = NULL;
  int count = 0;
  enum status status = STATUS_OK;
  for (int r = 0; r < report->result_count; r++)
    if (r == 0 || strcmp(result_data_set(&report->results[r]), result_data_set(&report->results[r - 1])) != 0)
      result_figures(report->results, report->result_count, result_data_set(&report->results[r]), &figures, &count);
  if (count > 0)
    text_append_string(page, "<h2>Caption length and ranks</h2>\n<div class=\"figures\">\n");
  for (int f = 0; status == STATUS_OK && f < count; f++)
    status = append_figure(&figures[f], page);
  if (count > 0)
    text_append_string(page, "</div>\n<p class=\"note\">Bars: 95 % bootstrap intervals over images.</p>\n");
  figure_release(figures, count);
  return status;
}

enum status report_curves(const struct report *report, struct text *page) {
  TRY(append_result_figures(report, page));
  struct run_series *series = memory_allocate((size_t)(report->run_count + 1) * sizeof *series, "series");
  struct figure *figures;
  int count, with_series = 0;
  enum status status = STATUS_OK;
  for (int r = 0; r < report->run_count; r++)
    if (report->runs[r].series.count > 0)
      series[with_series++] = report->runs[r].series;
  figure_list(series, with_series, &figures, &count);
  if (count > 0)
    text_append_string(page, "<h2>Training curves</h2>\n<div class=\"figures\">\n");
  for (int f = 0; status == STATUS_OK && f < count; f++)
    status = append_figure(&figures[f], page);
  if (count > 0)
    text_append_string(page, "</div>\n<p class=\"note\">Pale lines: single reports; strong ones: running mean.</p>\n");
  figure_release(figures, count);
  memory_release(series);
  return status;
}

static void append_status(const json_t *status, struct text *page) {
  const char *name;
  json_t *value;
  text_append_string(page, "<div class=\"wide\"><table><tbody>\n");
  json_object_foreach((json_t *)status, name, value) {
    char *words = json_is_string(value) ? memory_copy_string(json_string_value(value), "status") : NULL,
         *dumped = words ? NULL : json_dumps(value, JSON_ENCODE_ANY);
    text_append_string(page, "<tr><td>");
    report_escape(page, name);
    text_append_string(page, "</td><td style=\"text-align:left;white-space:normal\">");
    report_escape(page, words ? words : dumped);
    text_append_string(page, "</td></tr>\n");
    memory_release(words);
    free(dumped);
  }
  text_append_string(page, "</tbody></table></div>\n");
}

/* Behind a click; comments of a namelist are left out. */
static void append_details(const char *title, const char *words, bool without_comments, struct text *page) {
  if (!words)
    return;
  text_append_format(page, "<details><summary>%s</summary><pre>", title);
  for (const char *line = words; *line;) {
    const size_t length = strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n');
    if (!without_comments || (line[strspn(line, " ")] != '!' && length > 1)) {
      char *copy = text_format("%.*s", (int)length, line);
      report_escape(page, copy);
      memory_release(copy);
    }
    line += length;
  }
  text_append_string(page, "</pre></details>\n");
}

/* What a features file says of itself. */
static void append_origin(const struct features *features, struct text *page) {
  text_append_string(page, "<li><code>");
  report_escape(page, features->path);
  text_append_string(page, "</code>");
  if (features->checkpoint) {
    text_append_string(page, ": weights <code>");
    report_escape(page, features->checkpoint);
    text_append_string(page, "</code>");
  }
  if (features->text_tower)
    text_append_format(page, ", %s text tower",
                       strcmp(features->text_tower, "teacher") == 0 ? "the teacher's" : "its own");
  text_append_string(page, "</li>\n");
}

void report_settings(const struct report *report, struct text *page) {
  text_append_string(page, "<h2>How it was made</h2>\n");
  for (int r = 0; r < report->run_count; r++) {
    const struct report_run *run = &report->runs[r];
    text_append_string(page, "<h3>");
    report_escape(page, run->label);
    text_append_string(page, "</h3>\n");
    if (json_is_object(run->status))
      append_status(run->status, page);
    append_details("every setting", run->settings, true, page);
    append_details("how the program was built, and where it ran", run->provenance, false, page);
  }
  report_setting_differences(report, page);
  report_bad_samples(report, page);
  if (report->result_count > 0)
    text_append_string(page, "<h3>Features files</h3>\n<ul class=\"pale\">\n");
  for (int r = 0; r < report->result_count; r++)
    append_origin(&report->results[r].features, page);
  if (report->result_count > 0)
    text_append_string(page, "</ul>\n");
}

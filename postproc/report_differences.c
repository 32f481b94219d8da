/* What differs: results of models on the same data, and settings of runs. */
#include "base/memory.h"
#include "paired.h"
#include "report.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The measures that are compared, in the order of the columns. */
static const struct {
  const char *name, *title;
} compared[] = {{"text_to_image_R@1", "text to image R@1"}, {"text_to_image_R@5", "R@5"},
                {"image_to_text_R@1", "image to text R@1"}, {"image_to_text_R@5", "R@5"},
                {"within_group_R@1", "within group R@1"},   {"negative_accuracy", "right before wrong"}};
enum { COMPARED = sizeof compared / sizeof compared[0], SETS_MAX = 64 };

static const struct report_result *find_result(const struct report *report, const char *set, const char *label) {
  for (int r = 0; r < report->result_count; r++)
    if (strcmp(result_data_set(&report->results[r]), set) == 0 && strcmp(report->results[r].features.label, label) == 0)
      return &report->results[r];
  return NULL;
}

/* A model against the first one, on every data set that both have. The features stay the report's. */
static int compare_model(const struct report *report, const char *first, const char *label,
                         struct comparison *comparisons) {
  int count = 0;
  for (int r = 0; r < report->result_count && count < SETS_MAX; r++) {
    const struct report_result *a = &report->results[r], *b;
    if (strcmp(a->features.label, first) != 0)
      continue;
    b = find_result(report, result_data_set(a), label);
    struct comparison *comparison = &comparisons[count];
    *comparison = (struct comparison){.data_set = result_data_set(a)};
    if (b && b != a &&
        paired_compare(&a->features, &b->features, report->draws, MEASURE_SEED, &comparison->pairs,
                       &comparison->count) == STATUS_OK)
      count++;
  }
  paired_adjust(comparisons, count);
  return count;
}

static const struct paired *pair_of(const struct comparison *comparison, const char *name) {
  for (int i = 0; i < comparison->count; i++)
    if (strcmp(comparison->pairs[i].name, name) == 0)
      return &comparison->pairs[i];
  return NULL;
}

/* "-1.2 / -3.1 to +0.8 / not distinguishable" */
static void append_pair(struct text *page, const struct paired *pair) {
  if (!pair) {
    text_append_string(page, "<td>–</td>");
    return;
  }
  const char *verdict = paired_verdict(pair);
  const char *class = strcmp(verdict, "better") == 0 ? "yes" : strcmp(verdict, "worse") == 0 ? "no" : "pale";
  text_append_format(page, "<td>%+.1f<small>%+.1f to %+.1f</small><small class=\"%s\">%s</small></td>",
                     100 * pair->difference, 100 * pair->interval.low, 100 * pair->interval.high, class,
                     strcmp(verdict, "not distinguishable") == 0 ? "not dist." : verdict);
}

struct compared_model {
  const char *label;
  struct comparison comparisons[SETS_MAX];
  int count;
};

static bool named_before(const struct report *report, int result) {
  for (int r = 0; r < result; r++)
    if (strcmp(report->results[r].features.label, report->results[result].features.label) == 0)
      return true;
  return false;
}

/* The models but the first one, each compared with it. */
static int compare_models(const struct report *report, const char *first, struct compared_model *models) {
  int count = 0;
  for (int r = 0; r < report->result_count; r++) {
    const char *label = report->results[r].features.label;
    if (named_before(report, r) || strcmp(label, first) == 0)
      continue;
    models[count].label = label;
    models[count].count = compare_model(report, first, label, models[count].comparisons);
    count++;
  }
  return count;
}

static void append_row(struct text *page, const struct compared_model *model, const struct comparison *comparison) {
  text_append_string(page, "<tr><td>");
  report_escape(page, model->label);
  text_append_string(page, "</td>");
  for (int c = 0; c < COMPARED; c++)
    append_pair(page, pair_of(comparison, compared[c].name));
  text_append_string(page, "</tr>\n");
}

static void append_set(struct text *page, const struct compared_model *models, int count, const char *set) {
  bool head = false;
  for (int m = 0; m < count; m++)
    for (int c = 0; c < models[m].count; c++) {
      if (strcmp(models[m].comparisons[c].data_set, set) != 0)
        continue;
      if (!head) {
        text_append_format(page, "<tr class=\"part\"><th scope=\"rowgroup\" colspan=\"%d\">", COMPARED + 1);
        report_escape(page, set);
        text_append_string(page, "</th></tr>\n");
      }
      head = true;
      append_row(page, &models[m], &models[m].comparisons[c]);
    }
}

static void append_table(const struct report *report, const struct compared_model *models, int count, const char *first,
                         struct text *page) {
  text_append_string(page, "<h2>Differences from ");
  report_escape(page, first);
  text_append_string(page, "</h2>\n<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">model</th>");
  for (int c = 0; c < COMPARED; c++)
    text_append_format(page, "<th scope=\"col\">%s</th>", compared[c].title);
  text_append_string(page, "</tr></thead>\n<tbody>\n");
  for (int r = 0; r < report->result_count; r++) /* sorted by data set */
    if (r == 0 || strcmp(result_data_set(&report->results[r]), result_data_set(&report->results[r - 1])) != 0)
      append_set(page, models, count, result_data_set(&report->results[r]));
  text_append_string(
      page, "</tbody></table></div>\n<p class=\"note\">Percentage points, with 95 % intervals of a paired bootstrap "
            "over images (captions of an image are drawn together; the gallery is held fixed). Better, worse or not "
            "dist. (not distinguishable) at a level of 5 %, after Holm over the data sets for each measure.</p>\n");
}

void report_comparisons(const struct report *report, struct text *page) {
  if (report->result_count < 2 || report->draws == 0)
    return;
  const char *first = report->baseline ? report->baseline : report->results[0].features.label;
  struct compared_model *models = memory_allocate((size_t)report->result_count * sizeof *models, "comparisons");
  const int count = compare_models(report, first, models);
  int compared_sets = 0;
  for (int m = 0; m < count; m++)
    compared_sets += models[m].count;
  if (compared_sets > 0)
    append_table(report, models, count, first, page);
  for (int m = 0; m < count; m++)
    for (int c = 0; c < models[m].count; c++)
      memory_release(models[m].comparisons[c].pairs);
  memory_release(models);
}

struct setting {
  char group[64], name[64];
  const char *value;
  size_t length;
};

/* The next "name = value" of a used.nml from *at on; `setting` keeps the group it is in. */
static bool next_setting(const char **at, struct setting *setting) {
  for (const char *line = *at; line && *line;) {
    const char *end = strchr(line, '\n'), *next = end ? end + 1 : line + strlen(line);
    if (*line == '&')
      snprintf(setting->group, sizeof setting->group, "%.*s", (int)strcspn(line + 1, " \r\n"), line + 1);
    const char *equals = memchr(line, '=', (size_t)(next - line));
    const char *name = line + strspn(line, " ");
    line = next;
    if (!equals || *name == '!' || *name == '&')
      continue;
    snprintf(setting->name, sizeof setting->name, "%.*s", (int)strcspn(name, " ="), name);
    setting->value = equals + 1 + strspn(equals + 1, " ");
    setting->length = (size_t)(next - setting->value);
    while (setting->length && strchr(" \n", setting->value[setting->length - 1]))
      setting->length--;
    *at = next;
    return true;
  }
  return false;
}

static bool find_setting(const char *settings, const struct setting *wanted, struct setting *found) {
  *found = (struct setting){0};
  while (settings && next_setting(&settings, found))
    if (strcmp(found->group, wanted->group) == 0 && strcmp(found->name, wanted->name) == 0)
      return true;
  return false;
}

static void append_setting_row(const struct report *report, const struct setting *setting, struct text *rows) {
  bool differs = false;
  struct setting found;
  for (int r = 0; r < report->run_count; r++)
    if (report->runs[r].settings)
      differs |= !find_setting(report->runs[r].settings, setting, &found) || found.length != setting->length ||
                 memcmp(found.value, setting->value, setting->length) != 0;
  if (!differs || strcmp(setting->name, "directory") == 0)
    return;
  text_append_format(rows, "<tr><td>%s.%s</td>", setting->group, setting->name);
  for (int r = 0; r < report->run_count; r++) {
    if (!report->runs[r].settings)
      continue;
    const bool there = find_setting(report->runs[r].settings, setting, &found);
    char *value = there ? text_format("%.*s", (int)found.length, found.value) : memory_copy_string("–", "value");
    text_append_string(rows, "<td class=\"value\">");
    report_escape(rows, value);
    text_append_string(rows, "</td>");
    memory_release(value);
  }
  text_append_string(rows, "</tr>\n");
}

/* Keys whose values are not the same in all runs; keys of the first run with settings, then what it lacks is not told.
 */
void report_setting_differences(const struct report *report, struct text *page) {
  const char *settings = NULL;
  int with_settings = 0;
  struct text rows = {0};
  for (int r = 0; r < report->run_count; r++) {
    with_settings += report->runs[r].settings != NULL;
    settings = settings ? settings : report->runs[r].settings;
  }
  struct setting setting = {0};
  while (with_settings > 1 && next_setting(&settings, &setting))
    append_setting_row(report, &setting, &rows);
  if (rows.length > 0) {
    text_append_string(page, "<h3>Settings that differ</h3>\n<div class=\"wide\"><table>\n<thead><tr><th "
                             "scope=\"col\">key</th>");
    for (int r = 0; r < report->run_count; r++) {
      if (!report->runs[r].settings)
        continue;
      text_append_string(page, "<th scope=\"col\">");
      report_escape(page, report->runs[r].label);
      text_append_string(page, "</th>");
    }
    text_append_string(page, "</tr></thead>\n<tbody>\n");
    text_append(page, rows.data, rows.length);
    text_append_string(page, "</tbody></table></div>\n");
  }
  text_release(&rows);
}

/* Headline and tables of results. */
#include "base/text.h"
#include "report.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How measures are called in a table: in this order, each part with a heading. Names behind `part` that are not here
 * follow in their own order. */
static const struct row {
  const char *name, *title;
} rows[] = {
    {NULL, "Image to text"},
    {"image_to_text_R@1", "R@1"},
    {"image_to_text_R@5", "R@5"},
    {"image_to_text_R@10", "R@10"},
    {"image_to_text_mean_rank", "mean rank"},
    {"image_to_text_median_rank", "median rank"},
    {NULL, "Text to image"},
    {"text_to_image_R@1", "R@1"},
    {"text_to_image_R@5", "R@5"},
    {"text_to_image_R@10", "R@10"},
    {"text_to_image_mean_rank", "mean rank"},
    {"text_to_image_median_rank", "median rank"},
    {NULL, "Among images of one group (they share the first sentence)"},
    {"within_group_R@1", "text to image, R@1"},
    {"within_group_image_to_text_R@1", "image to text, R@1"},
    {NULL, "Right caption before wrong one"},
    {"negative_accuracy", "all kinds"},
    {"negative_accuracy_swap", "colours swapped"},
    {"negative_accuracy_attribute", "attribute changed"},
    {"negative_accuracy_object", "object changed"},
    {"negative_accuracy_relation", "relation changed"},
    {"negative_accuracy_count", "number changed"},
    {"negative_accuracy_late", "told late"},
    {"negative_accuracy_beyond", "told beyond the context"},
};
enum { ROW_COUNT = sizeof rows / sizeof rows[0] };

static bool seen_before(const struct report *report, int result) {
  for (int r = 0; r < result; r++)
    if (strcmp(result_data_set(&report->results[r]), result_data_set(&report->results[result])) == 0)
      return true;
  return false;
}

/* Percent with its interval below, or a rank. */
static void append_value(struct text *page, const struct measure *measure) {
  double scale = measure->rank ? 1 : 100;
  text_append_format(page, "%.1f<small>%.1f–%.1f</small>", scale * measure->value, scale * measure->interval.low,
                     scale * measure->interval.high);
}

static const struct measure *best_of(const struct report *report, const char *set, const char *name) {
  const struct measure *best = NULL;
  for (int r = 0; r < report->result_count; r++) {
    const struct measure *measure = measure_find(&report->results[r].measures, name);
    if (strcmp(result_data_set(&report->results[r]), set) != 0 || !measure)
      continue;
    if (!best || (measure->rank ? measure->value < best->value : measure->value > best->value))
      best = measure;
  }
  return best;
}

/* The split of drawn scenes that the data set shows: its keys begin with the name ("test00000000"). */
static const json_t *split_of(const struct report *report, const char *set) {
  const json_t *splits = json_object_get(report->world, "splits"), *split;
  const char *name;
  for (int r = 0; r < report->result_count; r++) {
    const struct features *features = &report->results[r].features;
    if (strcmp(result_data_set(&report->results[r]), set) != 0 || !features->keys)
      continue;
    json_object_foreach((json_t *)splits, name,
                        split) if (strncmp(features->keys[0], name, strlen(name)) == 0) return split;
  }
  return NULL;
}

static bool values_differ(const struct report *report, const char *set, const char *name, double best) {
  for (int r = 0; r < report->result_count; r++) {
    const struct measure *measure = measure_find(&report->results[r].measures, name);
    if (measure && strcmp(result_data_set(&report->results[r]), set) == 0 && measure->value != best)
      return true;
  }
  return false;
}

/* What a perfect reader expects of R@1 on short captions, from world.json; NAN when it is not known. */
static double ceiling_of(const struct report *report, const char *set, const char *name) {
  if (!report->world || !text_ends_with(set, "-short"))
    return NAN;
  json_t *ceiling = json_object_get(json_object_get(split_of(report, set), "short_ceiling"), name);
  return ceiling ? json_number_value(ceiling) : NAN;
}

static bool any_ceiling(const struct report *report, const char *set) {
  return !isnan(ceiling_of(report, set, "text_to_image_R@1"));
}

static void append_row(const struct report *report, const char *set, const struct row *row, int models,
                       struct text *page) {
  const struct measure *best = best_of(report, set, row->name);
  if (!best)
    return;
  const bool differ = models > 1 && values_differ(report, set, row->name, best->value);
  text_append_format(page, "<tr><td>%s</td>", row->title);
  for (int r = 0; r < report->result_count; r++) {
    const struct measure *measure = measure_find(&report->results[r].measures, row->name);
    if (strcmp(result_data_set(&report->results[r]), set) != 0)
      continue;
    text_append_string(page, measure && differ && measure->value == best->value ? "<td class=\"best\">" : "<td>");
    if (measure)
      append_value(page, measure);
    else
      text_append_string(page, "–");
    text_append_string(page, "</td>");
  }
  if (isnan(best->chance))
    text_append_string(page, "<td class=\"pale\">–</td>");
  else
    text_append_format(page, "<td class=\"pale\">%.1f</td>", 100 * best->chance);
  double ceiling = ceiling_of(report, set, row->name);
  if (any_ceiling(report, set) && isnan(ceiling))
    text_append_string(page, "<td class=\"pale\">–</td>");
  else if (any_ceiling(report, set))
    text_append_format(page, "<td class=\"pale\">%.1f</td>", 100 * ceiling);
  text_append_string(page, "</tr>\n");
}

static bool part_has_rows(const struct report *report, const char *set, int part) {
  for (int i = part + 1; i < ROW_COUNT && rows[i].name; i++)
    if (best_of(report, set, rows[i].name))
      return true;
  return false;
}

static void append_table(const struct report *report, const char *set, struct text *page) {
  int models = 0;
  text_append_string(page, "<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\"></th>");
  for (int r = 0; r < report->result_count; r++) {
    if (strcmp(result_data_set(&report->results[r]), set) != 0)
      continue;
    models++;
    text_append_string(page, "<th scope=\"col\">");
    report_escape(page, report->results[r].features.label);
    text_append_string(page, "</th>");
  }
  text_append_format(page, "<th scope=\"col\">chance</th>%s</tr></thead>\n<tbody>\n",
                     any_ceiling(report, set) ? "<th scope=\"col\">ceiling</th>" : "");
  for (int i = 0; i < ROW_COUNT; i++) {
    if (rows[i].name)
      append_row(report, set, &rows[i], models, page);
    else if (part_has_rows(report, set, i))
      text_append_format(page, "<tr class=\"part\"><th scope=\"rowgroup\" colspan=\"%d\">%s</th></tr>\n",
                         models + 2 + any_ceiling(report, set), rows[i].title);
  }
  text_append_string(page, "</tbody></table></div>\n");
}

/* What the protocol takes, what was cut, and what is known against the numbers. */
static void append_note(const struct features *features, struct text *page) {
  int64_t cut = 0;
  for (int64_t i = 0; features->tokens && i < features->set.text_count; i++)
    cut += features->tokens[i] > features->context;
  text_append_string(page, "<p class=\"note\">");
  if (features->note) {
    text_append_format(page, "Protocol %s: ", features->protocol ? features->protocol : "flair");
    report_escape(page, features->note);
    text_append_string(page, ". ");
  }
  if (cut > 0)
    text_append_format(page, "%" PRId64 " texts (%.1f %%) are longer than %d tokens and were cut. ", cut,
                       100 * (double)cut / (double)features->set.text_count, features->context);
  if (features->in_training && atoll(features->in_training) > 0)
    text_append_format(page, "<strong>%s of the images occur in the training data.</strong>", features->in_training);
  text_append_string(page, "</p>\n");
}

void report_results(const struct report *report, struct text *page) {
  if (report->result_count == 0)
    return;
  text_append_string(page, "<h2>Retrieval results</h2>\n");
  for (int r = 0; r < report->result_count; r++) {
    const struct retrieval *set = &report->results[r].features.set;
    if (seen_before(report, r))
      continue;
    text_append_string(page, "<h3>");
    report_escape(page, result_data_set(&report->results[r]));
    text_append_format(page, ": %" PRId64 " images, %" PRId64 " texts</h3>\n", set->image_count, set->text_count);
    append_note(&report->results[r].features, page);
    append_table(report, result_data_set(&report->results[r]), page);
  }
  text_append_string(page, "<p class=\"note\">Recalls and shares in percent; ranks count from 1. Below each value its "
                           "95 % bootstrap interval over images. Shaded: the best value of a row; values whose "
                           "intervals overlap may not differ. Chance: what random features expect.</p>\n");
}

static bool has_own_text(const struct report_result *result) {
  return !result->features.text_tower || strcmp(result->features.text_tower, "teacher") != 0;
}

const struct report_result *report_main_result(const struct report *report) {
  int last = 0;
  for (int r = 1; r < report->result_count; r++) {
    const struct report_result *result = &report->results[r];
    if (strcmp(result_data_set(result), result_data_set(&report->results[0])) != 0)
      continue;
    if (report->model ? strcmp(result->features.label, report->model) == 0 : has_own_text(result))
      last = r;
  }
  return &report->results[last];
}

void report_headline(const struct report *report, struct text *page) {
  text_append_string(page, "<p class=\"headline\">");
  if (report->headline) {
    report_escape(page, report->headline);
  } else if (report->result_count > 0) {
    const struct report_result *result = report_main_result(report);
    const struct measure *text = measure_find(&result->measures, "text_to_image_R@1"),
                         *image = measure_find(&result->measures, "image_to_text_R@1");
    report_escape(page, result->features.label);
    text_append_format(page,
                       " finds the right one among %" PRId64
                       " images for %.0f %% of the texts, and a right text for %.0f %% of the images (chance %.1f %%).",
                       result->features.set.image_count, 100 * text->value, 100 * image->value, 100 * text->chance);
  } else {
    report_escape(page, report->run_count > 1 ? "Training curves of several runs" : "Training curves of one run");
    text_append_string(page, "; no features have been evaluated yet.");
  }
  text_append_string(page, "</p>\n");
}

enum { DECIMALS_MAX = 6 };
/* Decimals that show four digits of the value. */
static int decimals_of(double value) {
  int decimals = 0;
  for (double rest = fabs(value); decimals < DECIMALS_MAX && rest < 1000 && fabs(rest - round(rest)) > 1e-9 * rest;
       rest *= 10)
    decimals++;
  return decimals;
}

/* With a thin space between groups of three digits. */
static void append_number(struct text *page, double value, int decimals) {
  char digits[64];
  int length = snprintf(digits, sizeof digits, "%.*f", decimals, value), whole = (int)strcspn(digits, ".");
  for (int i = 0; i < length; i++) {
    if (i > 0 && i < whole && (whole - i) % 3 == 0 && whole > 4 && digits[i - 1] != '-')
      text_append_string(page, "\u202f");
    text_append(page, &digits[i], 1);
  }
}

static double cell_value(const json_t *cell) {
  const json_t *value = json_is_object(cell) ? json_object_get(cell, "value") : cell;
  return json_is_number(value) ? json_number_value(value) : NAN;
}

/* What the column needs at most. */
static int column_decimals(const json_t *lines, size_t c) {
  int most = 0;
  size_t i;
  json_t *line;
  json_array_foreach(lines, i, line) {
    double value = cell_value(json_array_get(line, c));
    if (!isnan(value) && decimals_of(value) > most)
      most = decimals_of(value);
  }
  return most;
}

static void append_cell(struct text *page, const json_t *cell, bool best, int decimals) {
  text_append_string(page, best ? "<td class=\"best\">" : "<td>");
  if (json_is_string(cell))
    report_escape(page, json_string_value(cell));
  else if (isnan(cell_value(cell)))
    text_append_string(page, "–");
  else
    append_number(page, cell_value(cell), decimals);
  if (json_is_object(cell) && json_is_number(json_object_get(cell, "low"))) {
    text_append_string(page, "<small>");
    append_number(page, json_number_value(json_object_get(cell, "low")), decimals);
    text_append_string(page, "–");
    append_number(page, json_number_value(json_object_get(cell, "high")), decimals);
    text_append_string(page, "</small>");
  }
  text_append_string(page, "</td>");
}

/* The extreme of column c, or NAN where nothing is better. */
static double best_cell(const json_t *lines, size_t c, const char *better) {
  double best = NAN;
  size_t i;
  json_t *line;
  if (!better || (strcmp(better, "high") != 0 && strcmp(better, "low") != 0))
    return NAN;
  json_array_foreach(lines, i, line) {
    double value = cell_value(json_array_get(line, c));
    if (!isnan(value) && (isnan(best) || (strcmp(better, "high") == 0 ? value > best : value < best)))
      best = value;
  }
  return best;
}

enum status report_given_table(const struct report *report, struct text *page) {
  const json_t *columns = json_object_get(report->table, "columns"), *lines = json_object_get(report->table, "rows"),
               *better = json_object_get(report->table, "better");
  const char *title = json_string_value(json_object_get(report->table, "title")),
             *note = json_string_value(json_object_get(report->table, "note"));
  if (!report->table)
    return STATUS_OK;
  if (!json_is_array(columns) || !json_is_array(lines))
    return error_set(
        STATUS_INPUT,
        "--table: expected an object with the lists \"columns\" and \"rows\" (and \"better\", \"title\", \"note\")");
  text_append_string(page, "<h2>");
  report_escape(page, title ? title : "Comparison");
  text_append_string(page, "</h2>\n<div class=\"wide\"><table>\n<thead><tr>");
  size_t i, c;
  json_t *line, *cell;
  json_array_foreach(columns, c, cell) {
    text_append_string(page, "<th scope=\"col\">");
    report_escape(page, json_is_string(cell) ? json_string_value(cell) : "");
    text_append_string(page, "</th>");
  }
  text_append_string(page, "</tr></thead>\n<tbody>\n");
  json_array_foreach(lines, i, line) {
    text_append_string(page, "<tr>");
    json_array_foreach(line, c, cell)
        append_cell(page, cell, cell_value(cell) == best_cell(lines, c, json_string_value(json_array_get(better, c))),
                    column_decimals(lines, c));
    text_append_string(page, "</tr>\n");
  }
  text_append_string(page, "</tbody></table></div>\n");
  if (note) {
    text_append_string(page, "<p class=\"note\">");
    report_escape(page, note);
    text_append_string(page, "</p>\n");
  }
  return STATUS_OK;
}

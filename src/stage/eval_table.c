#include "stage/eval_table.h"
#include <math.h>
#include <stdio.h>

static void cell(struct text *out, double value, double scale, int width, int digits) {
  if (isnan(value))
    text_append_format(out, " %*s", width, "-");
  else
    text_append_format(out, " %*.*f", width, digits, scale * value);
}

static double value_of(const struct eval_row *row, const char *name) {
  const struct measure *measure = measure_find(&row->measures, name);
  return measure ? measure->value : NAN;
}

/* R@1 with half the width of its 95 % interval, then R@5 and R@10. */
static void recalls(struct text *out, const struct eval_row *row, const char *direction) {
  static const int cut[3] = {1, 5, 10};
  for (int k = 0; k < 3; k++) {
    char name[MEASURE_NAME_BYTES];
    snprintf(name, sizeof name, "%s_R@%d", direction, cut[k]);
    cell(out, value_of(row, name), 100, 6, 1);
    const struct measure *measure = measure_find(&row->measures, name);
    if (k == 0 && measure)
      text_append_format(out, " +-%4.1f", 50 * (measure->interval.high - measure->interval.low));
  }
}

static void write_set(const struct eval_row *rows, int count, const char *set, struct text *out) {
  bool head = false;
  for (int i = 0; i < count; i++) {
    const struct eval_row *row = &rows[i];
    if (strcmp(row->set, set) != 0)
      continue;
    if (!head)
      text_append_format(
          out, "\n%s: %lld images, %lld texts; chance R@1 %.2f %%\n%-20s %7s %6s | %-28s | %-28s | %6s %6s %6s\n", set,
          (long long)row->images, (long long)row->texts, 100.0 / (double)row->images, "", "", "", "text to image",
          "image to text", "hard", "within", "to");
    if (!head)
      text_append_format(out, "%-20s %7s %6s | %6s %6s %6s %6s | %6s %6s %6s %6s | %6s %6s %6s\n", "model", "M par.",
                         "GFLOP", "R@1", "95 %", "R@5", "R@10", "R@1", "95 %", "R@5", "R@10", "neg.", "group",
                         "teach.");
    head = true;
    text_append_format(out, "%-20s %7.3f %6.3f |", row->label, 1e-6 * row->parameters, row->image_gflop);
    recalls(out, row, "text_to_image");
    text_append_string(out, " |");
    recalls(out, row, "image_to_text");
    text_append_string(out, " |");
    cell(out, value_of(row, "negative_accuracy"), 100, 6, 1);
    cell(out, value_of(row, "within_group_R@1"), 100, 6, 1);
    cell(out, row->similarity, 1, 6, 3);
    text_append_string(out, "\n");
  }
}

void eval_table_write(const struct eval_row *rows, int count, struct text *out) {
  for (int i = 0; i < count; i++) {
    bool seen = false;
    for (int j = 0; j < i; j++)
      seen = seen || strcmp(rows[j].set, rows[i].set) == 0;
    if (!seen)
      write_set(rows, count, rows[i].set, out);
  }
}

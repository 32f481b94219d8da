#include "report/table.h"
#include <string.h>

/* Step and epoch stand before these. Names not listed here are in metrics.jsonl only. */
static const struct {
  const char *name, *title;
  int width, digits;
  char style; /* as in printf: g, f, e; % for a share in percent */
} columns[] = {
    {"train/loss", "loss", 10, 6, 'g'},
    {"train/lr", "lr", 10, 3, 'e'},
    {"train/logit_scale", "scale", 8, 3, 'f'},
    {"train/grad_norm", "grad norm", 10, 4, 'g'},
    {"train/samples_per_second", "samples/s", 10, 1, 'f'},
    {"train/waiting_share", "waiting %", 9, 1, '%'},
    {"train/communication_share", "comm %", 8, 1, '%'},
};
enum { COLUMNS = sizeof columns / sizeof columns[0] };

bool table_takes(const struct report_value *values, int count) {
  for (int i = 0; i < count; i++)
    if (text_starts_with(values[i].name, "train/"))
      return true;
  return false;
}

void table_head(struct text *out) {
  text_append_format(out, "%9s %9s", "step", "epoch");
  for (int i = 0; i < COLUMNS; i++)
    text_append_format(out, " %*s", columns[i].width, columns[i].title);
  text_append_string(out, "\n");
}

static void append_cell(struct text *out, int column, double value) {
  int width = columns[column].width, digits = columns[column].digits;
  switch (columns[column].style) {
  case 'e':
    text_append_format(out, " %*.*e", width, digits, value);
    break;
  case 'g':
    text_append_format(out, " %*.*g", width, digits, value);
    break;
  case '%':
    text_append_format(out, " %*.*f", width, digits, 100 * value);
    break;
  default:
    text_append_format(out, " %*.*f", width, digits, value);
  }
}

void table_line(int64_t step, double epoch, const struct report_value *values, int count, struct text *out) {
  text_append_format(out, "%9lld %9.3f", (long long)step, epoch);
  for (int column = 0; column < COLUMNS; column++) {
    int found = 0;
    while (found < count && strcmp(values[found].name, columns[column].name) != 0)
      found++;
    if (found < count)
      append_cell(out, column, values[found].value);
    else
      text_append_format(out, " %*s", columns[column].width, "-");
  }
  text_append_string(out, "\n");
}

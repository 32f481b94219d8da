#include "stage/eval_job.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static double value_of(const struct eval_job *job, const char *name) {
  const json_t *value = json_object_get(json_object_get(job->record, "values"), name);
  return json_is_number(value) ? json_number_value(value) : NAN;
}

static void cell(struct text *out, double value, double scale, int width, int digits) {
  if (isnan(value))
    text_append_format(out, " %*s", width, "-");
  else
    text_append_format(out, " %*.*f", width, digits, scale * value);
}

/* R@1 with half the width of its 95 % interval, then R@5 and R@10. */
static void recalls(struct text *out, const struct eval_job *job, const char *direction) {
  static const int cut[3] = {1, 5, 10};
  for (int k = 0; k < 3; k++) {
    char name[MEASURE_NAME_BYTES], low[MEASURE_NAME_BYTES + 8], high[MEASURE_NAME_BYTES + 8];
    snprintf(name, sizeof name, "%s_R@%d", direction, cut[k]);
    snprintf(low, sizeof low, "%s_low", name);
    snprintf(high, sizeof high, "%s_high", name);
    cell(out, value_of(job, name), 100, 6, 1);
    if (k == 0)
      text_append_format(out, " +-%4.1f", 50 * (value_of(job, high) - value_of(job, low)));
  }
}

static void write_row(const struct eval_job *job, struct text *out) {
  text_append_format(out, "%-32s %7.3f %6.3f |", job->label, 1e-6 * value_of(job, "parameters"),
                     value_of(job, "image_gflop"));
  recalls(out, job, "text_to_image");
  text_append_string(out, " |");
  recalls(out, job, "image_to_text");
  text_append_string(out, " |");
  cell(out, value_of(job, "negative_accuracy"), 100, 6, 1);
  cell(out, value_of(job, "within_group_R@1"), 100, 6, 1);
  cell(out, value_of(job, "similarity_to_teacher"), 1, 6, 3);
  text_append_string(out, "\n");
}

/* What the numbers are of: how many, from where, by which protocol, and what is known against them. */
static void write_head(const struct eval_job *job, struct text *out) {
  const struct eval_set *set = job->set;
  const char *protocol = json_string_value(json_object_get(job->record, "protocol"));
  const double truncated = value_of(job, "truncated_texts");
  text_append_format(out, "\n%s: %lld images, %lld texts; chance R@1 %.2f %%\n", set->name, (long long)set->image_count,
                     (long long)set->text_count, 100.0 / (double)set->image_count);
  text_append_format(out, "  %s; protocol %s: %s\n", set->origin, protocol ? protocol : "flair", set->note);
  if (truncated > 0)
    text_append_format(out, "  %.0f texts (%.1f %%) are longer than the context and were cut\n", truncated,
                       100 * truncated / (double)set->text_count);
  if (set->in_training > 0)
    text_append_format(out, "  %lld of the images (%.1f %%) occur in the training data\n", (long long)set->in_training,
                       100 * (double)set->in_training / (double)set->image_count);
  text_append_format(out, "%-32s %7s %6s | %-28s | %-28s | %6s %6s %6s\n", "", "", "", "text to image", "image to text",
                     "hard", "within", "to");
  text_append_format(out, "%-32s %7s %6s | %6s %6s %6s %6s | %6s %6s %6s %6s | %6s %6s %6s\n", "model", "M par.",
                     "GFLOP", "R@1", "95 %", "R@5", "R@10", "R@1", "95 %", "R@5", "R@10", "neg.", "group", "teach.");
}

void eval_table_write(const struct eval_plan *plan, struct text *out) {
  int sets = 0;
  for (int i = 0; i < plan->count; i++)
    sets = plan->jobs[i].set_number >= sets ? plan->jobs[i].set_number + 1 : sets;
  for (int s = 0; s < sets; s++) {
    bool head = false;
    for (int i = 0; i < plan->count; i++) {
      const struct eval_job *job = &plan->jobs[i];
      if (job->set_number != s || !job->record)
        continue;
      if (!head)
        write_head(job, out);
      head = true;
      write_row(job, out);
    }
  }
}

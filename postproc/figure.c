#include "figure.h"
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>

/* Reports whose name matches one of the patterns share a picture. */
static const struct kind {
  const char *name, *title, *y_label;
  double scale;
  bool smooth, logarithmic;
  const char *patterns[6];
} kinds[] = {
    {"loss", "Training loss", "loss", 1, true, false, {"train/loss"}},
    {"validation_loss", "Validation loss", "loss", 1, false, false, {"val/loss", "val/*_loss"}},
    {"similarity",
     "Similarity to the teacher (validation)",
     "cosine",
     1,
     false,
     false,
     {"val/similarity_mean", "val/similarity_median"}},
    {"recall_1",
     "Recall at 1 (validation)",
     "R@1 in %",
     100,
     false,
     false,
     {"val/image_to_text_R@1", "val/text_to_image_R@1"}},
    {"recall_5",
     "Recall at 5 (validation)",
     "R@5 in %",
     100,
     false,
     false,
     {"val/image_to_text_R@5", "val/text_to_image_R@5"}},
    {"recall_10",
     "Recall at 10 (validation)",
     "R@10 in %",
     100,
     false,
     false,
     {"val/image_to_text_R@10", "val/text_to_image_R@10"}},
    {"short_recall_1",
     "Recall at 1, first sentences (validation)",
     "R@1 in %",
     100,
     false,
     false,
     {"val/short_image_to_text_R@1", "val/short_text_to_image_R@1"}},
    {"short_recall_10",
     "Recall at 10, first sentences (validation)",
     "R@10 in %",
     100,
     false,
     false,
     {"val/short_image_to_text_R@10", "val/short_text_to_image_R@10"}},
    {"group_recall",
     "Recall at 1 among look-alikes (validation)",
     "R@1 in %",
     100,
     false,
     false,
     {"val/within_group_*"}},
    {"negatives",
     "Right caption before wrong one (validation)",
     "share in %",
     100,
     false,
     false,
     {"val/negative_accuracy*"}},
    {"learning_rate", "Learning rate", "learning rate", 1, false, false, {"train/lr"}},
    {"throughput", "Throughput", "samples per second", 1, true, false, {"train/samples_per_second"}},
    {"waiting",
     "Time spent waiting for data and for other ranks",
     "share in %",
     100,
     true,
     false,
     {"train/waiting_share", "train/communication_share"}},
    {"gradient_norm", "Gradient norm", "norm", 1, true, true, {"train/gradient_norm", "train/grad_norm"}},
    {"logit_scale", "Logit scale", "logit scale", 1, false, false, {"train/logit_scale"}},
    {"memory",
     "Memory usage",
     "share in %",
     100,
     false,
     false,
     {"*/memory*_share", "*/memory_usage*", "*/dead_share*"}},
};
enum { KIND_COUNT = sizeof kinds / sizeof kinds[0], PATTERNS_MAX = 6 };
/* Ranks, times and sizes that say nothing over the steps. */
static const char *const undrawn[] = {"val/*_mean_rank",
                                      "val/*_median_rank",
                                      "val/within_group_chance",
                                      "val/*_low",
                                      "val/*_high",
                                      "val/num_samples",
                                      "train/step",
                                      "train/epoch",
                                      "val/*R@1_mean",
                                      "val/*samples",
                                      "val/short_*_R@5",
                                      "train/step_seconds",
                                      "train/*samples",
                                      "val/similarity_between_images"};

static int kind_of(const char *name) {
  for (int k = 0; k < KIND_COUNT; k++)
    for (int p = 0; p < PATTERNS_MAX && kinds[k].patterns[p]; p++)
      if (text_match(kinds[k].patterns[p], name))
        return k;
  return -1;
}

static bool is_drawn(const char *name) {
  for (size_t u = 0; u < sizeof undrawn / sizeof undrawn[0]; u++)
    if (text_match(undrawn[u], name))
      return false;
  return true;
}

struct figure *figure_add(struct figure **figures, int *count, const struct figure *figure) {
  *figures = memory_resize(*figures, (size_t)(*count + 1) * sizeof **figures, "figures");
  (*figures)[*count] = *figure;
  return &(*figures)[(*count)++];
}

static struct figure figure_of_kind(const struct kind *kind) {
  return (struct figure){.name = memory_copy_string(kind->name, "figure"),
                         .title = memory_copy_string(kind->title, "figure"),
                         .y_label = memory_copy_string(kind->y_label, "figure"),
                         .scale = kind->scale,
                         .smooth = kind->smooth,
                         .logarithmic = kind->logarithmic};
}

/* "val/new thing" -> file val_new_thing */
static struct figure figure_of_name(const char *name) {
  struct figure figure = {.name = memory_copy_string(name, "figure"),
                          .title = memory_copy_string(name, "figure"),
                          .y_label = memory_copy_string(strchr(name, '/') + 1, "figure"),
                          .scale = 1};
  for (char *c = figure.name; *c; c++)
    if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-@", *c) == NULL)
      *c = '_';
  return figure;
}

/* "val/image_to_text_R@1" -> "image to text" */
static char *short_name(const char *name) {
  const char *start = strchr(name, '/') + 1;
  char *copy = memory_copy_string(start, "curve"), *recall = strstr(copy, "_R@");
  if (recall)
    *recall = '\0';
  for (char *c = copy; *c; c++)
    if (*c == '_')
      *c = ' ';
  return copy;
}

/* How many names of the run belong to figure `kind`. */
static bool belongs(const char *name, int kind, const char *own_name) {
  return is_drawn(name) && (kind >= 0 ? kind_of(name) == kind : strcmp(name, own_name) == 0);
}

static void add_curve(struct figure *figure, const struct run_series *run, const struct series *series, bool many_runs,
                      bool many_names) {
  char *name = short_name(series->name);
  figure->curves = memory_resize(figure->curves, (size_t)(figure->curve_count + 1) * sizeof *figure->curves, "curves");
  struct curve *curve = &figure->curves[figure->curve_count++];
  curve->series = series;
  if (many_runs && many_names)
    curve->label = text_format("%s, %s", run->label, name);
  else
    curve->label = memory_copy_string(many_runs ? run->label : name, "curve");
  memory_release(name);
}

/* Colours tell runs apart and dashes names, but for a single run colours tell names apart. */
static void fill_figure(struct figure *figure, const struct run_series *runs, int run_count, int kind,
                        const char *own_name) {
  int most = 0;
  for (int r = 0; r < run_count; r++) {
    int names = 0;
    for (int i = 0; i < runs[r].count; i++)
      names += belongs(runs[r].items[i].name, kind, own_name);
    most = names > most ? names : most;
  }
  for (int r = 0; r < run_count; r++)
    for (int i = 0, names = 0; i < runs[r].count; i++) {
      if (!belongs(runs[r].items[i].name, kind, own_name))
        continue;
      add_curve(figure, &runs[r], &runs[r].items[i], run_count > 1, most > 1);
      figure->curves[figure->curve_count - 1].color = run_count > 1 ? r : names;
      figure->curves[figure->curve_count - 1].dash = run_count > 1 ? names : 0;
      names++;
    }
}

static bool any_belongs(const struct run_series *runs, int run_count, int kind) {
  for (int r = 0; r < run_count; r++)
    for (int i = 0; i < runs[r].count; i++)
      if (belongs(runs[r].items[i].name, kind, ""))
        return true;
  return false;
}

static bool named_before(const struct run_series *runs, int run_count, const char *name) {
  for (int r = 0; r < run_count; r++)
    if (series_find(&runs[r], name))
      return true;
  return false;
}

void figure_list(const struct run_series *runs, int run_count, struct figure **figures, int *count) {
  *figures = NULL;
  *count = 0;
  for (int k = 0; k < KIND_COUNT; k++)
    if (any_belongs(runs, run_count, k)) {
      struct figure figure = figure_of_kind(&kinds[k]);
      fill_figure(figure_add(figures, count, &figure), runs, run_count, k, NULL);
    }
  for (int r = 0; r < run_count; r++)
    for (int i = 0; i < runs[r].count; i++) {
      const char *name = runs[r].items[i].name;
      if (kind_of(name) >= 0 || !is_drawn(name) || named_before(runs, r, name))
        continue;
      struct figure figure = figure_of_name(name);
      fill_figure(figure_add(figures, count, &figure), runs, run_count, -1, name);
    }
}

void figure_release_one(struct figure *figure) {
  for (int c = 0; c < figure->curve_count; c++) {
    memory_release(figure->curves[c].label);
    if (!figure->own)
      continue;
    memory_release(figure->own[c].step);
    memory_release(figure->own[c].value);
    memory_release((double *)figure->curves[c].low);
    memory_release((double *)figure->curves[c].high);
  }
  memory_release(figure->own);
  memory_release(figure->curves);
  memory_release(figure->name);
  memory_release(figure->title);
  memory_release(figure->y_label);
}

void figure_release(struct figure *figures, int count) {
  for (int f = 0; f < count; f++)
    figure_release_one(&figures[f]);
  memory_release(figures);
}

/* Of a training curve its last value, of others all values. */
void figure_describe(const struct figure *figure, struct text *words) {
  if (figure->x_label)
    text_append_format(words, "%s, by %s:", figure->title, figure->x_label);
  else
    text_append_format(words, "%s over training steps; last values:", figure->title);
  for (int c = 0; c < figure->curve_count; c++) {
    const struct series *series = figure->curves[c].series;
    text_append_format(words, "%s %s", c > 0 ? ";" : "", figure->curves[c].label);
    if (!figure->x_label)
      text_append_format(words, " %.4g at step %.0f", figure->scale * series->value[series->count - 1],
                         series->step[series->count - 1]);
    for (int i = 0; figure->x_label && i < series->count; i++)
      text_append_format(words, "%s %.3g at %.4g", i > 0 ? "," : "", figure->scale * series->value[i], series->step[i]);
  }
}

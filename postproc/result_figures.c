#include "result_figures.h"
#include "base/memory.h"
#include "base/text.h"
#include <math.h>
#include <string.h>

const char *result_data_set(const struct report_result *result) {
  return result->features.data_set ? result->features.data_set : "features";
}

enum status result_read(const char *path, int draws, struct report_result *result) {
  TRY(features_read(path, &result->features));
  struct measure_extras extras = features_extras(&result->features);
  measure_retrieval(&result->features.set, &extras, draws, MEASURE_SEED, &result->measures);
  return STATUS_OK;
}

void result_release(struct report_result *result) {
  features_release(&result->features);
  measure_release(&result->measures);
}

static bool is_of(const struct report_result *result, const char *data_set) {
  return strcmp(result_data_set(result), data_set) == 0;
}

/* A curve with room for `points`, the number of the model its colour. */
static struct series *add_curve(struct figure *figure, const char *label, int points, bool interval) {
  struct curve *curve = &figure->curves[figure->curve_count];
  struct series *series = &figure->own[figure->curve_count];
  const size_t bytes = (size_t)(points + 1) * sizeof(double);
  *curve = (struct curve){.label = memory_copy_string(label, "curve"), .series = series, .color = figure->curve_count};
  series->step = memory_allocate(bytes, "curve");
  series->value = memory_allocate(bytes, "curve");
  if (interval) {
    curve->low = memory_allocate(bytes, "curve");
    curve->high = memory_allocate(bytes, "curve");
  }
  figure->curve_count++;
  return series;
}

static struct figure new_figure(const char *name, const char *data_set, const char *title, const char *x_label,
                                int curves) {
  return (struct figure){.name = text_format("%s_%s", name, data_set),
                         .title = text_format("%s: %s", data_set, title),
                         .y_label = memory_copy_string("share in %", "figure"),
                         .scale = 100,
                         .x_label = x_label,
                         .curves = memory_allocate((size_t)curves * sizeof(struct curve), "curves"),
                         .own = memory_allocate((size_t)curves * sizeof(struct series), "curves")};
}

static bool is_length_of(const struct measure *measure, const char *prefix) {
  return measure->by_length && text_starts_with(measure->name, prefix);
}

/* R@1 at the middle of each bin; captions beyond the context half a bin behind it. */
static void add_length_curve(struct figure *figure, const struct report_result *result, const char *prefix) {
  enum { HALF_BIN = 8 };
  const struct measure_list *list = &result->measures;
  struct series *series = add_curve(figure, result->features.label, list->count, true);
  struct curve *curve = &figure->curves[figure->curve_count - 1];
  for (int m = 0; m < list->count; m++) {
    const struct measure *measure = &list->items[m];
    if (!is_length_of(measure, prefix))
      continue;
    const int i = series->count++;
    const double aside = 0.8 * ((figure->curve_count - 1) % 8 - 3); /* bars of different models stay apart */
    series->step[i] =
        aside + (measure->tokens_to - measure->tokens_from > 1000 ? measure->tokens_from + HALF_BIN
                                                                  : (measure->tokens_from + measure->tokens_to) / 2.0);
    series->value[i] = measure->value;
    ((double *)curve->low)[i] = measure->interval.low;
    ((double *)curve->high)[i] = measure->interval.high;
  }
}

static bool has_lengths(const struct report_result *result, const char *prefix) {
  for (int m = 0; m < result->measures.count; m++)
    if (is_length_of(&result->measures.items[m], prefix))
      return true;
  return false;
}

static void add_length_figure(const struct report_result *results, int result_count, const char *data_set, bool of_text,
                              struct figure **figures, int *count) {
  const char *prefix = of_text ? "text_to_image_R@1_" : "image_to_text_R@1_";
  struct figure figure =
      new_figure(of_text ? "length_text_to_image" : "length_image_to_text", data_set,
                 of_text ? "text to image R@1 by caption length" : "image to text R@1 by caption length",
                 "tokens of the caption (bins of 16; last: beyond the context)", result_count);
  memory_release(figure.y_label);
  figure.y_label = memory_copy_string("R@1 in %", "figure");
  for (int r = 0; r < result_count; r++)
    if (is_of(&results[r], data_set) && has_lengths(&results[r], prefix))
      add_length_curve(&figure, &results[r], prefix);
  if (figure.curve_count > 0)
    figure_add(figures, count, &figure);
  else
    figure_release_one(&figure);
}

enum { RANK_BINS = 24 };
/* Shares of the queries with ranks 1, 2, 3-4, 5-8, ... up to the last bin that any query falls into. */
static void add_rank_curve(struct figure *figure, const struct report_result *result, const char *name) {
  const struct measure *ranks = measure_find(&result->measures, name);
  struct series *series = add_curve(figure, result->features.label, RANK_BINS, false);
  double shares[RANK_BINS] = {0};
  for (int64_t i = 0; i < ranks->count; i++) {
    int bin = (int)ceil(log2(ranks->values[i]));
    shares[bin < RANK_BINS ? bin : RANK_BINS - 1] += 1 / (double)ranks->count;
  }
  for (int bin = 0; bin < RANK_BINS; bin++) {
    series->step[bin] = exp2(bin);
    series->value[bin] = shares[bin];
    if (shares[bin] > 0 || bin == 0)
      series->count = bin + 1;
  }
}

static void add_rank_figure(const struct report_result *results, int result_count, const char *data_set, bool of_text,
                            struct figure **figures, int *count) {
  struct figure figure = new_figure(of_text ? "ranks_text_to_image" : "ranks_image_to_text", data_set,
                                    of_text ? "ranks of the right image" : "ranks of the best right text",
                                    "rank, up to (1, 2, 3 to 4, 5 to 8, ...)", result_count);
  figure.x_logarithmic = true;
  for (int r = 0; r < result_count; r++)
    if (is_of(&results[r], data_set))
      add_rank_curve(&figure, &results[r], of_text ? "text_to_image_mean_rank" : "image_to_text_mean_rank");
  figure_add(figures, count, &figure);
}

void result_figures(const struct report_result *results, int result_count, const char *data_set,
                    struct figure **figures, int *count) {
  for (int of_text = 1; of_text >= 0; of_text--)
    add_length_figure(results, result_count, data_set, of_text, figures, count);
  for (int of_text = 1; of_text >= 0; of_text--)
    add_rank_figure(results, result_count, data_set, of_text, figures, count);
}

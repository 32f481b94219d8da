/* Figures about finished evaluations: recall by caption length, and how ranks are distributed. */
#ifndef MEMCLIP_POSTPROC_RESULT_FIGURES_H
#define MEMCLIP_POSTPROC_RESULT_FIGURES_H
#include "features.h"
#include "figure.h"

struct report_result { /* one features file */
  struct features features;
  struct measure_list measures;
};
const char *result_data_set(const struct report_result *result); /* "features" when the file does not say */
/* Reads a features file and measures it. */
enum status result_read(const char *path, int draws, struct report_result *result);
void result_release(struct report_result *result);
/* Adds the figures of one data set: a curve per model. Recall by length needs token counts (files of version 2). */
void result_figures(const struct report_result *results, int result_count, const char *data_set,
                    struct figure **figures, int *count);
#endif

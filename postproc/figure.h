/* Figures of runs, drawn by gnuplot: which reports go into one picture (one table in figure.c), and how it looks. */
#ifndef MEMCLIP_POSTPROC_FIGURE_H
#define MEMCLIP_POSTPROC_FIGURE_H
#include "base/text.h"
#include "series.h"
#include <stdbool.h>

struct curve {
  char *label;
  const struct series *series; /* of a run that outlives the figure */
  int color, dash;             /* numbers in the palette and the list of dashes */
  const double *low, *high;    /* interval of each value, or NULL */
};
struct figure {
  char *name; /* of its file: "loss" */
  char *title, *y_label;
  double scale;             /* values are multiplied by it: 100 for percent */
  bool smooth, logarithmic; /* a running mean over faint points; y axis */
  const char *x_label;      /* NULL: the training step */
  bool x_logarithmic;       /* to base 2, from 1 */
  struct curve *curves;
  int curve_count;
  struct series *own; /* series that belong to the figure, one per curve, or NULL */
};
struct figure *figure_add(struct figure **figures, int *count, const struct figure *figure);
/* What there is to draw in the runs, in a fixed order; reports that the table does not know get a figure each. */
void figure_list(const struct run_series *runs, int run_count, struct figure **figures, int *count);
void figure_release(struct figure *figures, int count);
void figure_release_one(struct figure *figure); /* what it holds */
/* One sentence about the last values, for readers who do not see the picture. */
void figure_describe(const struct figure *figure, struct text *words);

enum figure_format { FIGURE_PNG, FIGURE_SVG };
/* Runs gnuplot. STATUS_SYSTEM when it is missing or fails, with its words. */
enum status figure_draw(const struct figure *figure, enum figure_format format, bool dark, const char *path);
#endif

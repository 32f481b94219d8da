/* The report: one HTML page that needs nothing else, made of sections that append to a text. */
#ifndef MEMCLIP_POSTPROC_REPORT_H
#define MEMCLIP_POSTPROC_REPORT_H
#include "base/text.h"
#include "result_figures.h"
#include "series.h"
#include <jansson.h>

struct report_run { /* one run directory */
  char *path, *label;
  char *settings;           /* used.nml; NULL when absent */
  char *provenance;         /* of the newest checkpoint; NULL when there is none */
  json_t *status;           /* status.json; NULL when absent */
  struct run_series series; /* empty without metrics.jsonl */
};
struct report {
  const char *title, *headline; /* headline NULL: made from the results */
  json_t *table;                /* --table, or NULL */
  json_t *world;                /* world.json of drawn scenes, or NULL */
  const char *model;            /* label that headline and gallery are about, or NULL */
  const char *baseline;         /* label that differences are from; NULL: the first one */
  int draws;                    /* of the bootstrap */
  struct pictures *pictures;    /* NULL: the gallery shows keys */
  int queries;                  /* of each kind in the gallery; 0: no gallery */
  struct report_run *runs;
  int run_count;
  struct report_result *results; /* sorted by data set, then as named */
  int result_count;
};

void report_page(const struct report *report, const struct text *body, struct text *page);
/* Text with <, >, & and quotes made harmless. */
void report_escape(struct text *page, const char *words);
void report_base64(struct text *page, const char *bytes, size_t size);

/* The one that the headline and the gallery are about: report->model, or the last model with its own text tower, on the
 * first data set. */
const struct report_result *report_main_result(const struct report *report);
void report_headline(const struct report *report, struct text *page);
enum status report_given_table(const struct report *report, struct text *page);
void report_results(const struct report *report, struct text *page);
/* Draws with gnuplot, light and dark. */
enum status report_curves(const struct report *report, struct text *page);
enum status report_gallery(const struct report *report, struct text *page);
/* Each model against the baseline, by paired bootstrap. */
void report_comparisons(const struct report *report, struct text *page);
enum status report_memory(const struct report *report, struct text *page);
void report_bad_samples(const struct report *report, struct text *page);
/* Keys of used.nml whose values are not the same in all runs. */
void report_setting_differences(const struct report *report, struct text *page);
void report_settings(const struct report *report, struct text *page);

/* Pictures by key. */
struct pictures;
/* Shards, and folders whose files are named by the keys; `places` is put into another order and must stay. */
enum status pictures_open(char **places, int count, struct pictures **pictures);
void pictures_close(struct pictures *pictures);
/* The picture's file into empty `bytes`, as it is or, when large, made smaller; STATUS_INPUT when there is none. */
enum status pictures_read(struct pictures *pictures, const char *key, struct text *bytes);
#endif

/* The report: one HTML page that needs nothing else, made of sections that append to a text. */
#ifndef MEMCLIP_POSTPROC_REPORT_H
#define MEMCLIP_POSTPROC_REPORT_H
#include "base/text.h"
#include "features.h"
#include "series.h"
#include <jansson.h>

struct report_result { /* one features file */
  struct features features;
  struct measure_list measures;
};
struct report_run { /* one run directory */
  char *path, *label;
  char *settings;           /* used.nml; NULL when absent */
  json_t *status;           /* status.json; NULL when absent */
  struct run_series series; /* empty without metrics.jsonl */
};
struct report {
  const char *title, *headline; /* headline NULL: made from the results */
  json_t *table;                /* --table, or NULL */
  json_t *world;                /* world.json of drawn scenes, or NULL */
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

/* The one that the headline and the gallery are about: the model named last, on the first data set. */
const struct report_result *report_main_result(const struct report *report);
void report_headline(const struct report *report, struct text *page);
enum status report_given_table(const struct report *report, struct text *page);
void report_results(const struct report *report, struct text *page);
/* Draws with gnuplot, light and dark. */
enum status report_curves(const struct report *report, struct text *page);
enum status report_gallery(const struct report *report, struct text *page);
void report_settings(const struct report *report, struct text *page);

/* Pictures by key out of shards. */
struct pictures;
enum status pictures_open(char *const *shards, int count, struct pictures **pictures);
void pictures_close(struct pictures *pictures);
/* The picture's file into empty `bytes`, as it lies in the shard or, when large, made smaller; STATUS_INPUT when no
 * sample has the key. */
enum status pictures_read(struct pictures *pictures, const char *key, struct text *bytes);
#endif

/* Files of one JSON object per line: metrics.jsonl and bad_samples.jsonl. */
#ifndef MEMCLIP_REPORT_LINES_H
#define MEMCLIP_REPORT_LINES_H
#include "base/error.h"
#include "report/report.h"
#include <jansson.h>

/* A text as JSON; bytes that are not UTF-8 become '?'. NULL becomes null. */
json_t *lines_text(const char *text);
/* A finite number, or null. */
json_t *lines_number(double value);
/* Appends the object (whose reference it takes) as one line, in one write. */
enum status lines_append(const char *path, json_t *object);
/* Keeps the lines whose "step" is at most `step`; lines that are not whole go. A missing file is fine. */
enum status lines_cut_back(const char *path, int64_t step);
/* {"step":..,"epoch":..,"time":.., name: value ...} */
json_t *lines_report(int64_t step, double epoch, const struct report_value *values, int count);
#endif

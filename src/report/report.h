/* What a run tells: log.txt with a fixed-column line per report, a progress line on a terminal (stderr), metrics.jsonl,
 * TensorBoard events, status.json, bad_samples.jsonl. Only rank 0 opens a report; on other ranks every function does
 * nothing. Not thread-safe but for report_message and report_warning. A file that cannot be written while the run goes
 * on is warned about once; the run goes on without it.
 */
#ifndef MEMCLIP_REPORT_REPORT_H
#define MEMCLIP_REPORT_REPORT_H
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

/* directory NULL: messages to stderr only. resume_step >= 0: metrics.jsonl is cut back to reports of steps <= it and
 * appended to, log.txt and bad_samples.jsonl are appended to; -1 starts all anew. */
enum status report_open(const char *directory, int64_t resume_step, bool terminal);
void report_close(void);
/* A line in log.txt and on stderr (the progress line is redrawn below it). */
void report_message(const char *format, ...) __attribute__((format(printf, 1, 2)));
void report_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void report_warning_text(const char *message); /* the `warn` callback of other modules */

struct report_value {
  const char *name; /* "train/loss" */
  double value;
};
/* One object in metrics.jsonl {"step":..,"epoch":..,"time":..,"train/loss":..}, TensorBoard scalars, and in log.txt the
 * fixed-column line if any value begins with train/ (columns: a table in table.c, by name), else a line per value. NaN
 * and infinities are written as null. */
void report_values(int64_t step, double epoch, const struct report_value *values, int count);

/* The progress line; cheap, redraws at most ten times a second and only on a terminal; otherwise a plain line every 30
 * s. A value below 0 or NaN is not shown. */
struct report_progress {
  const char *what; /* "step", "image" */
  int64_t done, total;
  double loss, samples_per_second, waiting_share;
};
void report_progress(const struct report_progress *progress);
void report_progress_end(void);

/* status.json, written atomically: {"state","exit","step","checkpoint","message","host","pid","job","time"}. state:
 * running (exit is null), done, failed, requeue, stopped. checkpoint and message may be NULL. */
void report_status(const char *state, int exit_status, int64_t step, const char *checkpoint, const char *message);
/* For a run that ends at once, by any rank and thread, without a report: "failed", exit 3; step and checkpoint stay as
 * they were told last. */
enum status report_failure(const char *directory, const char *message);
/* One object appended to bad_samples.jsonl. */
void report_bad_sample(const char *key, const char *shard, const char *reason);
#endif

#include "report/progress.h"
#include "base/clock.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static const double REDRAW_SECONDS = 0.1, PLAIN_SECONDS = 30;

static struct {
  bool terminal, shown;
  char line[256];
  const char *what; /* what is counted since `start_seconds`, from `start_done` on */
  int64_t start_done;
  double start_seconds, last_seconds;
} state;

void progress_reset(bool terminal) {
  memset(&state, 0, sizeof state);
  state.terminal = terminal;
}

void progress_format(const struct report_progress *progress, double seconds_left, struct text *out) {
  text_append_format(out, "%s %lld", progress->what, (long long)progress->done);
  if (progress->total > 0)
    text_append_format(out, "/%lld (%.0f %%)", (long long)progress->total,
                       floor(100.0 * (double)progress->done / (double)progress->total));
  if (progress->loss >= 0)
    text_append_format(out, "  loss %.4g", progress->loss);
  if (progress->samples_per_second >= 0)
    text_append_format(out, progress->samples_per_second < 10 ? "  %.2f samples/s" : "  %.0f samples/s",
                       progress->samples_per_second);
  if (progress->waiting_share >= 0)
    text_append_format(out, "  waiting %.0f %%", 100 * progress->waiting_share);
  if (seconds_left >= 0) {
    char duration[32];
    clock_format_duration(seconds_left, duration);
    text_append_format(out, "  %s left", duration);
  }
}

static double estimate_seconds_left(const struct report_progress *progress, double now) {
  int64_t done = progress->done - state.start_done;
  if (done <= 0 || progress->total <= progress->done)
    return -1;
  return (now - state.start_seconds) / (double)done * (double)(progress->total - progress->done);
}

/* A new count, or one that begins again, starts the clock of the time left. */
static void follow(const struct report_progress *progress, double now) {
  if (state.what && strcmp(state.what, progress->what) == 0 && progress->done >= state.start_done)
    return;
  state.what = progress->what;
  state.start_done = progress->done;
  state.start_seconds = now;
  state.last_seconds = state.terminal ? 0 : now;
}

void progress_update(const struct report_progress *progress) {
  double now = clock_seconds();
  follow(progress, now);
  if (now - state.last_seconds < (state.terminal ? REDRAW_SECONDS : PLAIN_SECONDS))
    return;
  state.last_seconds = now;
  struct text line = {0};
  progress_format(progress, estimate_seconds_left(progress, now), &line);
  snprintf(state.line, sizeof state.line, "%s", line.data);
  text_release(&line);
  if (state.terminal)
    progress_show();
  else
    fprintf(stderr, "%s\n", state.line);
}

void progress_hide(void) {
  if (state.shown)
    fputs("\r\033[K", stderr);
  state.shown = false;
}

void progress_show(void) {
  if (!state.terminal || state.line[0] == '\0')
    return;
  fprintf(stderr, "\r%s\033[K", state.line);
  fflush(stderr);
  state.shown = true;
}

void progress_end(void) {
  progress_hide();
  state.line[0] = '\0';
  state.what = NULL;
}

#include "transfer_progress.h"
#include "base/clock.h"
#include <stdio.h>
#include <unistd.h>

/* Once work has gone on for a second. */
static void show(int64_t done_bytes, int64_t total_bytes) {
  static double last;
  const double now = clock_seconds_of_run();
  if (now < 1 || (now - last < 0.2 && done_bytes < total_bytes))
    return;
  last = now;
  fprintf(stderr, "\r%.0f %% of %.2f GB%s", 100.0 * (double)done_bytes / (double)total_bytes,
          1e-9 * (double)total_bytes, done_bytes < total_bytes ? "\033[K" : "\r\033[K");
  fflush(stderr);
}

void (*transfer_progress(void))(int64_t done_bytes, int64_t total_bytes) {
  return isatty(STDERR_FILENO) ? show : NULL;
}

#include "config.h"
#include "base/clock.h"
#include <errno.h>
#include <stdio.h>
#include <time.h>

static double start_seconds;

double clock_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

__attribute__((constructor)) static void remember_start(void) {
  start_seconds = clock_seconds();
}

double clock_seconds_of_run(void) {
  return clock_seconds() - start_seconds;
}

double clock_wall_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void clock_format_now(char out[32]) {
  time_t now = time(NULL);
  struct tm local;
  localtime_r(&now, &local);
  strftime(out, 32, "%Y-%m-%d %H:%M:%S", &local);
}

void clock_sleep(double seconds) {
  if (!(seconds > 0))
    return;
  struct timespec left = {.tv_sec = (time_t)seconds};
  left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
  while (nanosleep(&left, &left) != 0 && errno == EINTR)
    ;
}

void clock_format_duration(double seconds, char out[32]) {
  if (!(seconds >= 0 && seconds < 1e12)) {
    snprintf(out, 32, "?");
    return;
  }
  long long whole = (long long)(seconds + 0.5);
  if (whole < 60)
    snprintf(out, 32, "%lld s", whole);
  else if (whole < 3600)
    snprintf(out, 32, "%lld min %02lld s", whole / 60, whole % 60);
  else
    snprintf(out, 32, "%lld h %02lld min", whole / 3600, whole % 3600 / 60);
}

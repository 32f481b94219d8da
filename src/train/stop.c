/* Requests to stop: signals, the time limit, the file STOP. */
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "report/report.h"
#include "train/run.h"
#include <signal.h>
#include <unistd.h>

static volatile sig_atomic_t requeue_signal, user_signal;

static void on_requeue(int signal_number) {
  requeue_signal = signal_number;
}

static void on_user(int signal_number) {
  if (user_signal) { /* the second one: at once */
    signal(signal_number, SIG_DFL);
    raise(signal_number);
  }
  user_signal = signal_number;
}

void run_watch_signals(void) {
  struct sigaction requeue = {.sa_handler = on_requeue, .sa_flags = SA_RESTART},
                   user = {.sa_handler = on_user, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &requeue, NULL);
  sigaction(SIGTERM, &requeue, NULL);
  sigaction(SIGINT, &user, NULL);
}

/* A checkpoint must still fit: twice the longest one seen, and half a minute. */
static bool out_of_time(const struct run *run) {
  return run->end > 0 && clock_seconds() > run->end - 2 * run->longest_checkpoint - 30;
}

static bool stop_file(struct run *run) {
  static double last;
  if (clock_seconds() - last < 1)
    return false;
  last = clock_seconds();
  char *path = run_path(run, "STOP");
  const bool found = file_exists(path);
  if (found)
    unlink(path);
  memory_release(path);
  return found;
}

enum stop run_stop_requested(struct run *run) {
  if (user_signal)
    return STOP_USER;
  if (requeue_signal)
    return STOP_REQUEUE;
  if (comm_rank() != 0)
    return STOP_NONE;
  if (stop_file(run))
    return STOP_USER;
  return out_of_time(run) ? STOP_REQUEUE : STOP_NONE;
}

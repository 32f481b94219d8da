/* Requests to stop: signals, the time limit, the file STOP. */
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/thread.h"
#include "comm/comm.h"
#include "report/report.h"
#include "train/run.h"
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static atomic_bool requeue_asked, user_asked;

static void *await_signals(void *argument) {
  sigset_t *watched = argument;
  for (int number;;) {
    if (sigwait(watched, &number) != 0)
      continue;
    if (number != SIGINT) {
      atomic_store(&requeue_asked, true);
    } else if (atomic_exchange(&user_asked, true)) { /* the second one: at once */
      pthread_sigmask(SIG_UNBLOCK, watched, NULL);
      raise(number);
    }
  }
  return NULL;
}

/* One thread waits for them and all others, which are started later, block them. A handler may not run in a thread that
 * computes: oneDNN's products take a buffer on the heap for their stack (2.6 to 3.11 at least), and the frame of a
 * handler, some kilobytes, would be written over the blocks before it. */
void run_watch_signals(void) {
  static sigset_t watched;
  pthread_t thread;
  const int numbers[] = {SIGUSR1, SIGTERM, SIGINT};
  sigemptyset(&watched);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    signal(numbers[i], SIG_DFL); /* an ignored one would never come: shells start background jobs so */
    sigaddset(&watched, numbers[i]);
  }
  pthread_sigmask(SIG_BLOCK, &watched, NULL);
  thread_start(&thread, "signals", await_signals, &watched);
  pthread_detach(thread);
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
  if (atomic_load(&user_asked))
    return STOP_USER;
  if (atomic_load(&requeue_asked))
    return STOP_REQUEUE;
  if (comm_rank() != 0)
    return STOP_NONE;
  if (stop_file(run))
    return STOP_USER;
  return out_of_time(run) ? STOP_REQUEUE : STOP_NONE;
}

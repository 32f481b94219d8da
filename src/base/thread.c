#include "config.h"
#include "base/thread.h"
#include "base/error.h"
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

int thread_count_online(void) {
  long count = sysconf(_SC_NPROCESSORS_ONLN);
  return count < 1 ? 1 : (int)count;
}

int thread_count_available(void) {
  enum { LARGEST_NODE = 8192 };
  cpu_set_t *mask = CPU_ALLOC(LARGEST_NODE);
  size_t bytes = CPU_ALLOC_SIZE(LARGEST_NODE);
  int count = 0;
  if (mask && sched_getaffinity(0, bytes, mask) == 0)
    count = CPU_COUNT_S(bytes, mask);
  CPU_FREE(mask);
  return count > 0 ? count : thread_count_online();
}

void thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *argument) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before); /* the new thread inherits the mask */
  int cause = pthread_create(thread, NULL, run, argument);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (cause != 0)
    fatal("cannot start the thread %s: %s", name, strerror(cause));
  char shown[16]; /* the kernel keeps 15 characters */
  strncpy(shown, name, sizeof shown - 1);
  shown[sizeof shown - 1] = '\0';
  pthread_setname_np(*thread, shown);
}

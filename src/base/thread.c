#include "config.h"
#include "base/thread.h"
#include "base/error.h"
#include "base/memory.h"
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
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

struct crew {
  enum status (*run)(void *argument, int item);
  void *argument;
  int count;
  atomic_int next;
  pthread_mutex_t lock; /* guards what follows */
  int failed_item;
  enum status status;
  char *message;
};

static void note_failure(struct crew *crew, int item, enum status status) {
  pthread_mutex_lock(&crew->lock);
  if (item < crew->failed_item) {
    memory_release(crew->message);
    crew->message = memory_copy_string(error_message(), "message");
    crew->failed_item = item;
    crew->status = status;
  }
  pthread_mutex_unlock(&crew->lock);
  atomic_store(&crew->next, crew->count);
}

static void *run_crew(void *argument) {
  struct crew *crew = argument;
  for (int item; (item = atomic_fetch_add(&crew->next, 1)) < crew->count;) {
    enum status status = crew->run(crew->argument, item);
    if (status != STATUS_OK)
      note_failure(crew, item, status);
  }
  return NULL;
}

enum status thread_for_each(int threads, int count, enum status (*run)(void *argument, int item), void *argument) {
  struct crew crew = {
      .run = run, .argument = argument, .count = count, .lock = PTHREAD_MUTEX_INITIALIZER, .failed_item = count};
  int helpers = (threads < count ? threads : count) - 1;
  pthread_t *handles = memory_allocate((size_t)(helpers > 0 ? helpers : 1) * sizeof *handles, "threads");
  for (int i = 0; i < helpers; i++)
    thread_start(&handles[i], "helper", run_crew, &crew);
  run_crew(&crew);
  for (int i = 0; i < helpers; i++)
    pthread_join(handles[i], NULL);
  memory_release(handles);
  if (crew.status != STATUS_OK)
    error_set(crew.status, "%s", crew.message);
  memory_release(crew.message);
  return crew.status;
}

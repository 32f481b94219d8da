#include "comm/queue.h"
#include "base/thread.h"
#include <stdbool.h>

enum { QUEUE_CAPACITY = 256 };

/* Tickets count from 1; jobs (completed, submitted] wait in the ring or run. */
static struct {
  pthread_mutex_t mutex;
  pthread_cond_t work, done;
  pthread_t thread;
  struct job ring[QUEUE_CAPACITY];
  uint64_t submitted, completed;
  bool stopping;
} queue = {.mutex = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static void *run_jobs(void *unused) {
  (void)unused;
  pthread_mutex_lock(&queue.mutex);
  for (;;) {
    while (queue.completed == queue.submitted && !queue.stopping)
      pthread_cond_wait(&queue.work, &queue.mutex);
    if (queue.completed == queue.submitted)
      break;
    const struct job *job = &queue.ring[(queue.completed + 1) % QUEUE_CAPACITY];
    pthread_mutex_unlock(&queue.mutex);
    job->run(job);
    pthread_mutex_lock(&queue.mutex);
    queue.completed++;
    pthread_cond_broadcast(&queue.done);
  }
  pthread_mutex_unlock(&queue.mutex);
  return NULL;
}

void queue_start(void) {
  queue.stopping = false;
  thread_start(&queue.thread, "comm", run_jobs, NULL);
}

void queue_stop(void) {
  pthread_mutex_lock(&queue.mutex);
  queue.stopping = true;
  pthread_cond_signal(&queue.work);
  pthread_mutex_unlock(&queue.mutex);
  pthread_join(queue.thread, NULL);
}

uint64_t queue_submit(const struct job *job) {
  pthread_mutex_lock(&queue.mutex);
  while (queue.submitted - queue.completed == QUEUE_CAPACITY)
    pthread_cond_wait(&queue.done, &queue.mutex);
  const uint64_t ticket = ++queue.submitted;
  queue.ring[ticket % QUEUE_CAPACITY] = *job;
  pthread_cond_signal(&queue.work);
  pthread_mutex_unlock(&queue.mutex);
  return ticket;
}

void queue_wait(uint64_t ticket) {
  pthread_mutex_lock(&queue.mutex);
  while (queue.completed < ticket)
    pthread_cond_wait(&queue.done, &queue.mutex);
  pthread_mutex_unlock(&queue.mutex);
}

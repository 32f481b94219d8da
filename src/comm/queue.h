/* The communication thread and its jobs. Jobs run one after another in the order they were submitted; the thread sleeps
 * when there is none, and whoever waits for a job sleeps too. Nothing is allocated per job. */
#ifndef MEMCLIP_COMM_QUEUE_H
#define MEMCLIP_COMM_QUEUE_H
#include "base/dtype.h"
#include "comm/comm.h"
#include <stddef.h>
#include <stdint.h>

/* One collective; each `run` uses the fields it needs. */
struct job {
  void (*run)(const struct job *job);
  void *data;
  const void *source;
  size_t count;        /* elements or bytes */
  size_t slice;        /* bytes */
  const size_t *sizes; /* bytes of each rank */
  enum dtype dtype;
  enum comm_operation operation;
  int root;
  void (*call)(void *context); /* with data */
};

void queue_start(void);
/* Runs what was submitted, then ends the thread. */
void queue_stop(void);
/* Returns the job's ticket at once; waits only while the queue is full. */
uint64_t queue_submit(const struct job *job);
/* Returns once the job with this ticket and all before it are done. */
void queue_wait(uint64_t ticket);
#endif

/* A run and its directory: lock, input as given and as used, resume or branch, stop requests, status.json. */
#ifndef MEMCLIP_TRAIN_RUN_H
#define MEMCLIP_TRAIN_RUN_H
#include "base/error.h"
#include "base/text.h"
#include "input/settings.h"
#include <stdbool.h>
#include <stdint.h>

struct run {
  const struct settings *settings;
  const char *input_path;
  struct text input, used; /* the file as given; every key with its value */
  char *checkpoint;        /* to start from; NULL: anew */
  int64_t checkpoint_step;
  bool branched;            /* the checkpoint is another run's */
  int64_t step, saved_step; /* where the run stands; its newest complete checkpoint, -1: none */
  struct lock *lock;
  double started, end;       /* clock_seconds(); end of the time limit, 0: none */
  double longest_checkpoint; /* seconds */
};
/* Takes the lock, writes input.nml and used.nml, decides about resuming. Collective: all ranks get the same answer. */
enum status run_open(struct run *run, const struct settings *settings, const char *input_path,
                     const struct text *input);
void run_close(struct run *run);
char *run_path(const struct run *run, const char *name); /* memory_release */
/* Passes over checkpoints that `check` refuses, with a warning each, until one fits. STATUS_INPUT with the first
 * refusal when none does; a branch has only one. Collective; `check` is called on rank 0. */
enum status run_settle_checkpoint(struct run *run, enum status (*check)(const char *path, void *argument),
                                  void *argument);
/* What starts anew with run.resume_reset: "data", "schedule" or "optimizer". False unless the run is a branch. */
bool run_resets(const struct run *run, const char *what);
/* status.json, on rank 0: where the run stands and its newest complete checkpoint. */
void run_report_status(const struct run *run, const char *state, enum status status, const char *message);

enum stop { STOP_NONE, STOP_REQUEUE /* time limit, SIGUSR1, SIGTERM */, STOP_USER /* SIGINT, file STOP */ };
/* From here on SIGUSR1 and SIGTERM ask for a checkpoint and a requeue, SIGINT for a stop; a second SIGINT ends at once.
 * Called before any other thread is started: threads inherit that these signals are blocked. */
void run_watch_signals(void);
/* This process's view; rank 0 alone looks for the file STOP (once a second) and at the clock. Removes the file when
 * honoured. */
enum stop run_stop_requested(struct run *run);
#endif

/* The content of a checkpoint (interface.md "HDF5 files") from a session, and back. */
#ifndef MEMCLIP_TRAIN_SNAPSHOT_H
#define MEMCLIP_TRAIN_SNAPSHOT_H
#include "io/checkpoint.h"
#include "train/session.h"

/* Where a run stands; everything that a restart needs beside weights and optimiser. */
struct progress {
  int64_t step, samples;         /* optimiser steps done; samples seen */
  int64_t updates;               /* of the moments: optimiser steps since they were zero */
  int64_t epoch, epoch_step;     /* position in the data: the next step's epoch and number in it */
  double best, best_step, waits; /* early stopping: best value, its step, validations without improvement */
  double last_validation;        /* step of the last validation, -1: none */
};
struct snapshot; /* host copies, reused from one checkpoint to the next */
struct snapshot *snapshot_open(struct session *session);
void snapshot_close(struct snapshot *snapshot);
/* Copies weights and optimiser to the host and lists them; the content is valid until the next call. Rank 0. */
const struct checkpoint_content *snapshot_take(struct snapshot *snapshot, const struct progress *progress);
/* Is it a training checkpoint of this model, with every tensor in its shape? Reads no data. */
enum status snapshot_check(const char *path, const struct session *session);
/* Weights, moments and progress from a checkpoint of the same model and global batch. A branch starts its own early
 * stopping, and what run.resume_reset names. */
enum status snapshot_restore(const char *path, struct session *session, struct progress *progress);
#endif

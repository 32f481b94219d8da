/* Stretches of a step that repeat, for devices that record them (device.h: record, submit). */
#ifndef MEMCLIP_TRAIN_RECORD_H
#define MEMCLIP_TRAIN_RECORD_H
#include "train/session.h"

/* What tells one stretch from another: what it does (from 1; RECORD_OPTIMIZER is the optimiser's), the micro-batch
 * whose inputs it reads (NULL: none), its place in the step, and the columns of ids. 0, which is never recorded, for
 * numbers beyond what a key holds. */
enum { RECORD_OPTIMIZER = 15 };
struct record_key {
  int what;
  const struct micro_batch *micro;
  int64_t place;
  int columns;
};
/* True: done, by the device alone. Else the caller does it and ends with session_submit; it is recorded when `wanted`
 * and debug.graphs is set. */
bool session_record(struct session *session, const struct record_key *key, bool wanted);
void session_submit(struct session *session);
/* Whether the backward of a step's last micro-batch may be recorded: not when its gradients are summed over ranks
 * meanwhile. NCCL wants each rank to replay what all of them captured together, but ranks differ in the lengths of
 * their texts, and MPI works on the host. */
bool session_records_last(void);
#endif

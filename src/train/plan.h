/* The plan of a run. Memory: each part of a rank's device memory is named before it is allocated, and one that does not
 * fit ends the run with a message instead of in the middle of it. --check prints all of it, an estimate of the time
 * from a measured product, and what to ask Slurm for. */
#ifndef MEMCLIP_TRAIN_PLAN_H
#define MEMCLIP_TRAIN_PLAN_H
#include "train/session.h"

/* Looks at the device's free memory and at who shares it, before anybody takes any. Collective. */
void plan_open(struct session *session);
/* Part `what` (a literal) takes `bytes`; called again, so many instead. STATUS_INPUT when the parts of all ranks that
 * share the device are more than was free. All ranks get the same answer from the same numbers. */
enum status plan_memory(struct session *session, const char *what, size_t bytes);
/* The inputs of micro-batches, once their size and number are known. */
enum status plan_inputs(struct session *session, bool short_captions, bool tokens);
/* Rank 0 prints to stdout. */
enum status plan_print(struct session *session);
#endif

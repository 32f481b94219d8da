/* What --check prints: the plan of a run, its memory, an estimate of its time from a measured product, and what to ask
 * Slurm for. Rank 0 prints to stdout. */
#ifndef MEMCLIP_TRAIN_PLAN_H
#define MEMCLIP_TRAIN_PLAN_H
#include "train/session.h"
enum status plan_print(struct session *session, size_t activation_bytes);
#endif

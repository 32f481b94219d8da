/* A device's choices of matrix products (device.h): the same on all ranks, in products.txt of the run's directory and
 * in every checkpoint, so that a run that goes on repeats its bits. Nothing happens on a device that chooses nothing.
 * Collective. */
#ifndef MEMCLIP_TRAIN_CHOICES_H
#define MEMCLIP_TRAIN_CHOICES_H
#include "train/session.h"

/* Those of products.txt, then those of the checkpoint to go on from, which win. What is of another library or GPU is
 * told and left. */
void choices_restore(struct session *session);
/* All ranks get those of all; where several have made one for the same product, the lowest rank's. */
void choices_share(struct session *session);
/* Shares them and writes products.txt, if there are new ones. */
enum status choices_save(struct session *session);
/* How many there are. */
int64_t choices_count(const struct session *session);
#endif

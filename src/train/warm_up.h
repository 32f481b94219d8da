/* Every shape that a step may take runs once before the first step, so that whatever a device plans or allocates by
 * shape (primitives, scratch memory, graphs) is there: an image batch, and text batches of every length. */
#ifndef MEMCLIP_TRAIN_WARM_UP_H
#define MEMCLIP_TRAIN_WARM_UP_H
#include "train/session.h"

/* Forward of zeros in the session's micro-batch, and backward where the run keeps what that needs; gradients end as
 * zero. features, dfeatures [batch,E] are overwritten. */
void warm_up_images(struct session *session, struct tower_run *run, float *features, float *dfeatures);
void warm_up_texts(struct session *session, struct tower_run *run, float *features, float *dfeatures);
/* Runs it on all ranks; where the device chooses how to multiply, on rank 0 first, whose choices the others take over.
 * Collective, as the others are. */
void warm_up_in_turn(struct session *session, void (*run)(void *context), void *context);
#endif

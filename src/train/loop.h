/* The step loop that all training stages share: gradients, reduction, optimiser, reports, validation, early stop,
 * checkpoints, stop requests. */
#ifndef MEMCLIP_TRAIN_LOOP_H
#define MEMCLIP_TRAIN_LOOP_H
#include "train/objective.h"

/* STATUS_OK when the run is complete, STATUS_REQUEUE or STATUS_STOPPED when it stopped at a request with a complete
 * checkpoint. Collective. */
enum status train_loop(struct session *session, const struct objective *objective, bool short_captions);
#endif

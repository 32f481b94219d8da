/* What a training stage minimises: adds to the gradient arena what one optimiser step needs. */
#ifndef MEMCLIP_TRAIN_OBJECTIVE_H
#define MEMCLIP_TRAIN_OBJECTIVE_H
#include "train/reduce.h"
#include "train/session.h"

struct step_timing {
  double waiting_seconds;
};
struct objective {
  void *state;
  /* Runs the accumulation's micro-batches of optimiser step `step`, adds this rank's gradients (they sum over ranks to
   * the gradient of the loss over the global batch) and leaves this rank's share of the loss in session->loss (device,
   * summed over ranks by the caller). */
  void (*gradients)(void *state, struct session *session, struct reducer *reducer, int64_t step,
                    struct step_timing *timing);
  void (*close)(void *state);
  double loss_factor; /* session->loss is this many times the loss */
};
/* Distillation of image embeddings (methods 2): cosine, mse or l2 against the frozen teacher. */
enum status objective_open_distill(struct session *session, struct objective *objective);
/* The CLIP loss over the global batch for long and short captions with weights (methods 3). */
enum status objective_open_contrastive(struct session *session, struct objective *objective);
size_t objective_distill_bytes(struct session *session);
size_t objective_contrastive_bytes(struct session *session);
#endif

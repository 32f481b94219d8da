/* AdamW over the flat arenas of a model's trainable parameters: neighbours of one kind are one sweep. */
#ifndef MEMCLIP_TRAIN_OPTIMIZER_H
#define MEMCLIP_TRAIN_OPTIMIZER_H
#include "model/model.h"

enum { OPTIMIZER_SQUARES = 2 };
struct optimizer {
  double beta1, beta2, eps, weight_decay, clip_norm; /* clip_norm 0: off */
  /* Of the memories' value tables: learning rate of this step (0: that of all), norm at which their gradient is clipped
   * apart from the others' (0: together with them), and whether they and their moments are kept in bf16 alone. */
  double value_rate, value_clip_norm;
  bool bf16_values;
  double *squares; /* [OPTIMIZER_SQUARES] on the device: of the gradient's norm, over all but the value tables, and over
                      these */
};
/* One step, t = `step` + 1 for the bias corrections; gradients are zeroed, and logit_scale is clamped to [0, ln 100]
 * (contract 6.4). `squares` are those before clipping, made when the norm is wanted or needed. Returns at once. */
void optimizer_step(const struct optimizer *optimizer, struct model *model, int64_t step, double rate, bool want_norm);
#endif

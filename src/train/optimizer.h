/* AdamW over the flat arenas of a model's trainable parameters, in one sweep: parameters with equal settings are a
 * group (device.h: adamw). */
#ifndef MEMCLIP_TRAIN_OPTIMIZER_H
#define MEMCLIP_TRAIN_OPTIMIZER_H
#include "model/model.h"

/* The kinds of parameters, by what they are updated with. */
struct optimizer_kind {
  bool values, decay;
  double rate_scale;
};
struct optimizer {
  double beta1, beta2, eps, weight_decay, clip_norm; /* clip_norm 0: off */
  /* Of the memories' value tables: learning rate of this step (0: that of all), norm at which their gradient is clipped
   * apart from the others' (0: together with them), and whether they and their moments are kept in bf16 alone. */
  double value_rate, value_clip_norm;
  bool bf16_values;
  double *squares; /* [ADAMW_SQUARES] on the device: of the gradient's norm, over all but the value tables, and over
                      these; NULL: no norm is wanted or needed, ever */
  /* optimizer_open makes the rest. */
  struct model *model;
  struct optimizer_kind *kinds;           /* [group_count] */
  struct adamw_group *groups, *on_device; /* [group_count] of the step, on the host and as the device sees them */
  uint16_t *group_of;                     /* on the device: of each block of the arenas */
  int group_count;
};
/* For a model whose trainable marks and rates are set. */
void optimizer_open(struct optimizer *optimizer, struct model *model);
void optimizer_close(struct optimizer *optimizer);
/* Rates and settings of a step, t = `step` + 1 for the bias corrections, to the device. */
void optimizer_prepare(struct optimizer *optimizer, int64_t step, double rate);
/* The step; gradients are zeroed, and logit_scale is clamped to [0, ln 100] (contract 6.4). `squares` are those before
 * clipping, made when the norm is wanted or needed. The same calls each time, which a device may record. */
void optimizer_step(const struct optimizer *optimizer, bool want_norm);
#endif

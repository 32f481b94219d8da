#include "train/optimizer.h"
#include <math.h>

static double gradient_norm(struct model *model) {
  struct parameters *list = &model->parameters;
  struct device *device = model->device;
  double sum = 0;
  device->op->zero(device, model->scalar, sizeof sum);
  device->op->sum_of_squares(device, list->gradient, list->trainable_elements, model->scalar);
  device->op->copy_out(device, &sum, model->scalar, sizeof sum);
  return sqrt(sum);
}

/* The end, in elements, of the stretch of neighbours that share `first`'s decay; *next is the first parameter behind
 * it. */
static int64_t stretch_end(const struct parameters *list, int first, int *next) {
  int i = first;
  for (; i < list->count; i++) {
    const struct parameter *parameter = list->items[i];
    if (parameter->trainable && parameter->decay != list->items[first]->decay)
      break;
  }
  *next = i;
  return i < list->count ? list->items[i]->offset : list->trainable_elements;
}

static void clamp_logit_scale(struct model *model) {
  const float highest = (float)log(100);
  float scale;
  if (!model->logit_scale->trainable)
    return;
  parameter_get(&model->parameters, model->logit_scale, &scale);
  if (scale > highest || scale < 0) {
    scale = scale > highest ? highest : 0;
    parameter_set(&model->parameters, model->logit_scale, &scale);
  }
}

double optimizer_step(const struct optimizer *optimizer, struct model *model, int64_t step, double rate,
                      bool want_norm) {
  struct parameters *list = &model->parameters;
  struct device *device = model->device;
  const double norm = want_norm || optimizer->clip_norm > 0 ? gradient_norm(model) : 0;
  const double scale = optimizer->clip_norm > 0 ? fmin(1, optimizer->clip_norm / (norm + 1e-6)) : 1;
  for (int i = 0, next; i < list->count; i = next) {
    next = i + 1;
    if (!list->items[i]->trainable)
      continue;
    const int64_t from = list->items[i]->offset, end = stretch_end(list, i, &next);
    device->op->adamw(device, &(struct adamw){.count = end - from,
                                              .step = step + 1,
                                              .parameter = list->master + from,
                                              .gradient = list->gradient + from,
                                              .first_moment = list->first_moment + from,
                                              .second_moment = list->second_moment + from,
                                              .compute = list->compute ? list->compute + from : NULL,
                                              .lr = rate,
                                              .beta1 = optimizer->beta1,
                                              .beta2 = optimizer->beta2,
                                              .eps = optimizer->eps,
                                              .decay = list->items[i]->decay ? optimizer->weight_decay : 0,
                                              .gradient_scale = scale,
                                              .zero_gradient = true});
  }
  clamp_logit_scale(model);
  return norm;
}

#include "train/optimizer.h"
#include <math.h>

static bool one_kind(const struct parameter *a, const struct parameter *b) {
  return a->decay == b->decay && a->values == b->values;
}

/* A stretch of neighbours of one kind, in elements of the arenas; `next` is the first parameter behind it. */
struct stretch {
  const struct parameter *first;
  int64_t from, end;
  int next;
};

/* The first stretch from parameter `start` on; false when none is left. */
static bool find_stretch(const struct parameters *list, int start, struct stretch *stretch) {
  while (start < list->count && !list->items[start]->trainable)
    start++;
  if (start == list->count)
    return false;
  int next = start;
  while (next < list->count && (!list->items[next]->trainable || one_kind(list->items[next], list->items[start])))
    next++;
  *stretch = (struct stretch){.first = list->items[start],
                              .from = list->items[start]->offset,
                              .end = next < list->count ? list->items[next]->offset : list->trainable_elements,
                              .next = next};
  return true;
}

/* The square of the gradient's norm over the value tables, or over all else. */
static double squared_norm(struct model *model, bool values) {
  struct parameters *list = &model->parameters;
  struct device *device = model->device;
  struct stretch s = {0};
  double sum;
  device->op->zero(device, model->scalar, sizeof sum);
  while (find_stretch(list, s.next, &s))
    if (s.first->values == values)
      device->op->sum_of_squares(device, list->gradient + s.from, s.end - s.from, model->scalar);
  device->op->copy_out(device, &sum, model->scalar, sizeof sum);
  return sum;
}

static double clip_scale(double limit, double squares) {
  return limit > 0 ? fmin(1, limit / (sqrt(squares) + 1e-6)) : 1;
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
  const bool apart = optimizer->value_clip_norm > 0, norms = want_norm || optimizer->clip_norm > 0 || apart;
  const double rest = norms ? squared_norm(model, false) : 0, values = norms ? squared_norm(model, true) : 0;
  const double scale = clip_scale(optimizer->clip_norm, apart ? rest : rest + values),
               value_scale = apart ? clip_scale(optimizer->value_clip_norm, values) : scale,
               value_rate = optimizer->value_rate > 0 ? optimizer->value_rate : rate;
  struct stretch s = {0};
  while (find_stretch(list, s.next, &s))
    model->device->op->adamw(model->device, &(struct adamw){.count = s.end - s.from,
                                                            .step = step + 1,
                                                            .parameter = list->master + s.from,
                                                            .gradient = list->gradient + s.from,
                                                            .first_moment = list->first_moment + s.from,
                                                            .second_moment = list->second_moment + s.from,
                                                            .compute = list->compute ? list->compute + s.from : NULL,
                                                            .lr = s.first->values ? value_rate : rate,
                                                            .beta1 = optimizer->beta1,
                                                            .beta2 = optimizer->beta2,
                                                            .eps = optimizer->eps,
                                                            .decay = s.first->decay ? optimizer->weight_decay : 0,
                                                            .gradient_scale = s.first->values ? value_scale : scale,
                                                            .zero_gradient = true,
                                                            .bf16_state = s.first->values && optimizer->bf16_values});
  clamp_logit_scale(model);
  return sqrt(rest + values);
}

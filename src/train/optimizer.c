#include "train/optimizer.h"
#include <math.h>

/* Neighbours that one call serves: values of a memory are clipped apart, decay and rate go by parameter. */
typedef bool one_kind(const struct parameter *a, const struct parameter *b);
static bool one_sum(const struct parameter *a, const struct parameter *b) {
  return a->values == b->values;
}
static bool one_update(const struct parameter *a, const struct parameter *b) {
  return a->values == b->values && a->decay == b->decay && a->rate_scale == b->rate_scale;
}

/* A stretch of neighbours of one kind, in elements of the arenas; `next` is the first parameter behind it. */
struct stretch {
  const struct parameter *first;
  int64_t from, end;
  int next;
};

/* The first stretch from parameter `start` on; false when none is left. */
static bool find_stretch(const struct parameters *list, int start, one_kind *alike, struct stretch *stretch) {
  while (start < list->count && !list->items[start]->trainable)
    start++;
  if (start == list->count)
    return false;
  int next = start;
  while (next < list->count && (!list->items[next]->trainable || alike(list->items[next], list->items[start])))
    next++;
  *stretch = (struct stretch){.first = list->items[start],
                              .from = list->items[start]->offset,
                              .end = next < list->count ? list->items[next]->offset : list->trainable_elements,
                              .next = next};
  return true;
}

enum { REST, VALUES };

static void sum_squares(double *squares, struct model *model) {
  struct parameters *list = &model->parameters;
  struct device *device = model->device;
  struct stretch s = {0};
  device->op->zero(device, squares, OPTIMIZER_SQUARES * sizeof *squares);
  while (find_stretch(list, s.next, one_sum, &s))
    device->op->sum_of_squares(device, list->gradient + s.from, s.end - s.from,
                               squares + (s.first->values ? VALUES : REST));
}

void optimizer_step(const struct optimizer *optimizer, struct model *model, int64_t step, double rate, bool want_norm) {
  struct parameters *list = &model->parameters;
  const bool apart = optimizer->value_clip_norm > 0;
  const double value_rate = optimizer->value_rate > 0 ? optimizer->value_rate : rate;
  struct stretch s = {0};
  if (want_norm || optimizer->clip_norm > 0 || apart)
    sum_squares(optimizer->squares, model);
  while (find_stretch(list, s.next, one_update, &s))
    model->device->op->adamw(
        model->device,
        &(struct adamw){.count = s.end - s.from,
                        .step = step + 1,
                        .parameter = list->master + s.from,
                        .gradient = list->gradient + s.from,
                        .first_moment = list->first_moment + s.from,
                        .second_moment = list->second_moment + s.from,
                        .compute = list->compute ? list->compute + s.from : NULL,
                        .lr = (s.first->values ? value_rate : rate) * s.first->rate_scale,
                        .beta1 = optimizer->beta1,
                        .beta2 = optimizer->beta2,
                        .eps = optimizer->eps,
                        .decay = s.first->decay ? optimizer->weight_decay : 0,
                        .clip_norm = s.first->values && apart ? optimizer->value_clip_norm : optimizer->clip_norm,
                        .squares = optimizer->squares + (s.first->values && apart ? VALUES : REST),
                        .squares_count = apart ? 1 : OPTIMIZER_SQUARES,
                        .zero_gradient = true,
                        .bf16_state = s.first->values && optimizer->bf16_values});
  if (model->logit_scale->trainable) {
    model->device->op->clamp(model->device, model->logit_scale->master, 1, 0, (float)log(100));
    parameter_refresh_compute(list, model->logit_scale);
  }
}

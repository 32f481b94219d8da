#include "train/optimizer.h"
#include "base/memory.h"
#include "device/adamw.h"
#include <math.h>

enum { REST, VALUES };
_Static_assert(VALUES + 1 == ADAMW_SQUARES, "a sum of squares for each");

static int group_of_kind(struct optimizer *optimizer, const struct parameter *parameter) {
  for (int i = 0; i < optimizer->group_count; i++) {
    const struct optimizer_kind *kind = &optimizer->kinds[i];
    if (kind->values == parameter->values && kind->decay == parameter->decay &&
        kind->rate_scale == parameter->rate_scale)
      return i;
  }
  if (optimizer->group_count == ADAMW_GROUPS_MAX)
    fatal("more than %d kinds of parameters", ADAMW_GROUPS_MAX);
  optimizer->kinds[optimizer->group_count] =
      (struct optimizer_kind){parameter->values, parameter->decay, parameter->rate_scale};
  return optimizer->group_count++;
}

/* Parameters begin with a block of their own. */
static void assign_blocks(struct optimizer *optimizer, uint16_t *group_of) {
  const struct parameters *list = &optimizer->model->parameters;
  int64_t block = 0;
  for (int i = 0; i < list->count; i++) {
    const struct parameter *parameter = list->items[i];
    if (!parameter->trainable)
      continue;
    if (parameter->offset != block * ADAMW_BLOCK)
      fatal("%s does not lie behind the parameter before it", parameter->name);
    const uint16_t group = (uint16_t)group_of_kind(optimizer, parameter);
    for (; block * ADAMW_BLOCK < parameter->offset + parameter->count; block++)
      group_of[block] = group;
  }
}

static struct adamw call_of(const struct optimizer *optimizer) {
  const struct parameters *list = &optimizer->model->parameters;
  return (struct adamw){.count = list->trainable_elements,
                        .group_of = optimizer->group_of,
                        .groups = optimizer->on_device,
                        .group_count = optimizer->group_count,
                        .parameter = list->master,
                        .gradient = list->gradient,
                        .first_moment = list->first_moment,
                        .second_moment = list->second_moment,
                        .compute = list->compute,
                        .beta1 = optimizer->beta1,
                        .beta2 = optimizer->beta2,
                        .eps = optimizer->eps,
                        .squares = optimizer->squares,
                        .zero_gradient = true};
}

static void find_squares(const struct optimizer *optimizer) {
  const struct adamw call = call_of(optimizer);
  optimizer->model->device->op->adamw_squares(optimizer->model->device, &call);
}

/* The sum of squares once, so that its scratch memory is there when a step first wants the norm. */
void optimizer_open(struct optimizer *optimizer, struct model *model) {
  struct device *device = model->device;
  const size_t bytes = (size_t)(model->parameters.trainable_elements / ADAMW_BLOCK) * sizeof(uint16_t);
  uint16_t *group_of = memory_allocate(bytes, "optimiser's groups");
  optimizer->model = model;
  optimizer->group_count = 0;
  optimizer->kinds = memory_allocate(ADAMW_GROUPS_MAX * sizeof *optimizer->kinds, "optimiser's groups");
  assign_blocks(optimizer, group_of);
  optimizer->groups = memory_allocate((size_t)optimizer->group_count * sizeof *optimizer->groups, "optimiser's groups");
  optimizer->on_device =
      device->op->allocate(device, (size_t)optimizer->group_count * sizeof *optimizer->on_device, "optimiser's groups");
  optimizer->group_of = device->op->allocate(device, bytes, "optimiser's groups");
  device->op->copy_in(device, optimizer->group_of, group_of, bytes);
  memory_release(group_of);
  optimizer_prepare(optimizer, 0, 0);
  if (optimizer->squares)
    find_squares(optimizer);
}

void optimizer_close(struct optimizer *optimizer) {
  struct device *device = optimizer->model->device;
  device->op->release(device, optimizer->on_device);
  device->op->release(device, optimizer->group_of);
  memory_release(optimizer->groups);
  memory_release(optimizer->kinds);
}

void optimizer_prepare(struct optimizer *optimizer, int64_t step, double rate) {
  struct device *device = optimizer->model->device;
  const bool apart = optimizer->value_clip_norm > 0;
  const double value_rate = optimizer->value_rate > 0 ? optimizer->value_rate : rate;
  for (int i = 0; i < optimizer->group_count; i++) {
    const struct optimizer_kind *kind = &optimizer->kinds[i];
    struct adamw_group *group = &optimizer->groups[i];
    *group = adamw_group_at(step + 1, (kind->values ? value_rate : rate) * kind->rate_scale,
                            kind->decay ? optimizer->weight_decay : 0, optimizer->beta1, optimizer->beta2);
    group->bf16_state = kind->values && optimizer->bf16_values;
    group->squares = kind->values ? VALUES : REST;
    group->clip_first = apart ? group->squares : 0;
    group->clip_count = apart ? 1 : ADAMW_SQUARES;
    group->clip_norm = kind->values && apart ? optimizer->value_clip_norm : optimizer->clip_norm;
  }
  device->op->copy_in(device, optimizer->on_device, optimizer->groups,
                      (size_t)optimizer->group_count * sizeof *optimizer->groups);
}

void optimizer_step(const struct optimizer *optimizer, bool want_norm) {
  struct model *model = optimizer->model;
  const struct adamw call = call_of(optimizer);
  if (want_norm || optimizer->clip_norm > 0 || optimizer->value_clip_norm > 0)
    find_squares(optimizer);
  model->device->op->adamw(model->device, &call);
  if (model->logit_scale->trainable) {
    model->device->op->clamp(model->device, model->logit_scale->master, 1, 0, (float)log(100));
    parameter_refresh_compute(&model->parameters, model->logit_scale);
  }
}

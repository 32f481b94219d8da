#include "model/parameter.h"
#include "base/checksum.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include <stdarg.h>

enum { ALIGNMENT_ELEMENTS = 128 }; /* slices start on whole cache lines of either dtype */

static int64_t padded(int64_t count) {
  return (count + ALIGNMENT_ELEMENTS - 1) / ALIGNMENT_ELEMENTS * ALIGNMENT_ELEMENTS;
}

struct parameter *parameters_declare(struct parameters *list, enum init init, double scale,
                                     const int64_t shape[PARAMETER_AXES_MAX], const char *format, ...) {
  struct parameter *parameter = memory_allocate(sizeof *parameter, "parameter");
  va_list arguments;
  va_start(arguments, format);
  parameter->name = text_format_list(format, arguments);
  va_end(arguments);
  parameter->count = 1;
  while (parameter->axes < PARAMETER_AXES_MAX && shape[parameter->axes] > 0) {
    parameter->shape[parameter->axes] = shape[parameter->axes];
    parameter->count *= shape[parameter->axes++];
  }
  parameter->init = init;
  parameter->init_scale = scale;
  parameter->rate_scale = 1;
  list->items = memory_resize(list->items, (size_t)(list->count + 1) * sizeof *list->items, "parameters");
  parameter->number = list->count;
  list->items[list->count++] = parameter;
  return parameter;
}

void parameters_declare_alias(struct parameters *list, struct parameter *of, const char *format, ...) {
  list->aliases =
      memory_resize(list->aliases, (size_t)(list->alias_count + 1) * sizeof *list->aliases, "parameter aliases");
  va_list arguments;
  va_start(arguments, format);
  list->aliases[list->alias_count++] = (struct parameter_alias){text_format_list(format, arguments), of};
  va_end(arguments);
}

struct parameter *parameters_find(const struct parameters *list, const char *name) {
  for (int i = 0; i < list->count; i++)
    if (strcmp(list->items[i]->name, name) == 0)
      return list->items[i];
  for (int i = 0; i < list->alias_count; i++)
    if (strcmp(list->aliases[i].name, name) == 0)
      return list->aliases[i].of;
  return NULL;
}

void parameters_set_decay(struct parameters *list, const char *const *no_decay, int count) {
  static const char *const words[] = {"bn", "ln", "bias", "logit_scale"};
  for (int i = 0; i < list->count; i++) {
    struct parameter *parameter = list->items[i];
    parameter->decay = parameter->axes >= 2;
    for (size_t w = 0; w < sizeof words / sizeof *words; w++)
      if (strstr(parameter->name, words[w]))
        parameter->decay = false;
    for (int p = 0; p < count; p++)
      if (text_match(no_decay[p], parameter->name))
        parameter->decay = false;
  }
}

static int64_t total_padded(const struct parameters *list, bool trainable) {
  int64_t total = 0;
  for (int i = 0; i < list->count; i++)
    if (list->items[i]->trainable == trainable)
      total += padded(list->items[i]->count);
  return total;
}

size_t parameters_bytes(const struct parameters *list, bool training) {
  size_t copies = sizeof(float) + (list->dtype == DTYPE_BF16 ? sizeof(bf16) : 0);
  size_t trained = (size_t)total_padded(list, true), frozen = (size_t)total_padded(list, false);
  return (trained + frozen) * copies + (training ? 3 * sizeof(float) * trained : 0);
}

static void *take(struct device *device, int64_t elements, size_t size, const char *label) {
  if (elements == 0)
    return NULL;
  void *block = device->op->allocate(device, (size_t)elements * size, label);
  device->op->zero(device, block, (size_t)elements * size);
  return block;
}

static void place(struct parameters *list, bool trainable, float *master, bf16 *compute) {
  int64_t offset = 0;
  for (int i = 0; i < list->count; i++) {
    struct parameter *parameter = list->items[i];
    if (parameter->trainable != trainable)
      continue;
    parameter->offset = offset;
    parameter->master = master + offset;
    parameter->compute = compute ? (void *)(compute + offset) : (void *)parameter->master;
    parameter->gradient = trainable && list->gradient ? list->gradient + offset : NULL;
    offset += padded(parameter->count);
  }
}

void parameters_allocate(struct parameters *list, bool training) {
  struct device *device = list->device;
  int64_t trained = total_padded(list, true), frozen = total_padded(list, false);
  bool copies = list->dtype == DTYPE_BF16;
  list->trainable_elements = trained;
  list->master = take(device, trained, sizeof(float), "master weights");
  list->frozen_master = take(device, frozen, sizeof(float), "frozen weights");
  list->compute = copies ? take(device, trained, sizeof(bf16), "compute weights") : NULL;
  list->frozen_compute = copies ? take(device, frozen, sizeof(bf16), "frozen compute weights") : NULL;
  if (training) {
    list->gradient = take(device, trained, sizeof(float), "gradients");
    list->first_moment = take(device, trained, sizeof(float), "first moments");
    list->second_moment = take(device, trained, sizeof(float), "second moments");
  }
  place(list, true, list->master, list->compute);
  place(list, false, list->frozen_master, list->frozen_compute);
}

void parameter_refresh_compute(struct parameters *list, struct parameter *parameter) {
  if (parameter->compute != parameter->master)
    list->device->op->cast(list->device, parameter->compute, DTYPE_BF16, parameter->master, DTYPE_F32,
                           parameter->count);
}

void parameter_set(struct parameters *list, struct parameter *parameter, const float *values) {
  list->device->op->copy_in(list->device, parameter->master, values, (size_t)parameter->count * sizeof *values);
  parameter_refresh_compute(list, parameter);
}

void parameter_get(struct parameters *list, const struct parameter *parameter, float *values) {
  list->device->op->copy_out(list->device, values, parameter->master, (size_t)parameter->count * sizeof *values);
}

void parameters_refresh_compute(struct parameters *list) {
  for (int i = 0; i < list->count; i++)
    parameter_refresh_compute(list, list->items[i]);
  list->device->op->forget_weights(list->device);
}

void parameter_initialize(struct parameters *list, struct parameter *parameter, uint64_t seed) {
  /* Keyed by the name, so that adding a layer leaves the others' initial values as they were. */
  struct random_key key = {seed, checksum_crc32c(0, parameter->name, strlen(parameter->name)), RANDOM_INIT, 0};
  float *values = memory_allocate((size_t)parameter->count * sizeof *values, "initial values");
  for (int64_t i = 0; i < parameter->count; i++) {
    if (parameter->init == INIT_CONSTANT)
      values[i] = (float)parameter->init_scale;
    else if (parameter->init == INIT_NORMAL)
      values[i] = (float)(parameter->init_scale * random_normal(&key, (uint64_t)i));
    else
      values[i] = (float)(parameter->init_scale * (2 * random_uniform(&key, (uint64_t)i) - 1));
  }
  parameter_set(list, parameter, values);
  memory_release(values);
}

void parameters_initialize(struct parameters *list, uint64_t seed) {
  for (int i = 0; i < list->count; i++)
    parameter_initialize(list, list->items[i], seed);
}

uint32_t parameters_checksum(struct parameters *list, const char *prefix) {
  uint32_t crc = 0;
  for (int i = 0; i < list->count; i++) {
    const struct parameter *parameter = list->items[i];
    if (!text_starts_with(parameter->name, prefix))
      continue;
    float *values = memory_allocate((size_t)parameter->count * sizeof *values, "checksum");
    parameter_get(list, parameter, values);
    crc = checksum_crc32c(crc, parameter->name, strlen(parameter->name));
    crc = checksum_crc32c(crc, values, (size_t)parameter->count * sizeof *values);
    memory_release(values);
  }
  return crc;
}

int64_t parameters_count_elements(const struct parameters *list, bool trainable_only) {
  int64_t total = 0;
  for (int i = 0; i < list->count; i++)
    if (!trainable_only || list->items[i]->trainable)
      total += list->items[i]->count;
  return total;
}

void parameters_release(struct parameters *list) {
  void *blocks[] = {list->master,  list->gradient,      list->first_moment,  list->second_moment,
                    list->compute, list->frozen_master, list->frozen_compute};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    if (blocks[i])
      list->device->op->release(list->device, blocks[i]);
  for (int i = 0; i < list->count; i++) {
    memory_release(list->items[i]->name);
    memory_release(list->items[i]);
  }
  for (int i = 0; i < list->alias_count; i++)
    memory_release(list->aliases[i].name);
  memory_release(list->items);
  memory_release(list->aliases);
  *list = (struct parameters){0};
}

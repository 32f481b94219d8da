/* Variants of the architecture against open_clip's numbers (parity/make_parity.py): LayerScale, pooling by token
 * and average before and after the norm, no ln_pre, no causal mask, other MLP widths. Features within 2e-5, every
 * gradient within 1e-4. */
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "fixture.h"
#include "io/safetensors.h"
#include "tiny_model.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct device *device;

static char *unpacked_variant(const char *name, const char *suffix) {
  char *file = text_format("parity/variants/%s%s", name, suffix), *path = unpacked_path(file);
  memory_release(file);
  return path;
}

static void *read_tensor(const struct safetensors *file, const char *prefix, const char *name, enum dtype dtype,
                         int64_t *count) {
  char *full = text_format("%s%s", prefix, name);
  const struct tensor_entry *entry = safetensors_find(file, full);
  if (!entry)
    fail_msg("%s is missing", full);
  void *values = memory_allocate((size_t)entry->elements * dtype_size(dtype), "variant");
  assert_int_equal(tensor_entry_read(entry, dtype, entry->elements, values), STATUS_OK);
  if (count)
    *count = entry->elements;
  memory_release(full);
  return values;
}

static void expect_near(const char *what, const float *ours, int64_t count, const struct safetensors *file,
                        const char *prefix, const char *name, double bound) {
  char *full = text_format("%s%s", prefix, name);
  const struct distance distance = reference_distance(file, full, ours, count);
  if (!(distance.error <= bound * distance.size + 1e-7))
    fail_msg("%s: %s is off by %g of %g", what, full, distance.error, distance.size);
  memory_release(full);
}

static struct model *open_variant(const char *name, const struct safetensors *file, struct model_switches switches) {
  char *path = unpacked_variant(name, ".json");
  struct text json = {0};
  assert_int_equal(file_read(path, &json), STATUS_OK);
  struct model *model = tiny_model_open(device, json.data, DTYPE_F32, switches, 1, "all");
  for (int i = 0; i < model->parameters.count; i++) {
    float *values = read_tensor(file, "w.", model->parameters.items[i]->name, DTYPE_F32, NULL);
    parameter_set(&model->parameters, model->parameters.items[i], values);
    memory_release(values);
  }
  text_release(&json);
  memory_release(path);
  return model;
}

static struct tiny_batch read_batch(const struct model *model, const struct safetensors *file) {
  const int context = model->config.context_length;
  int64_t elements;
  struct tiny_batch batch = {.images = read_tensor(file, "in.", "images", DTYPE_F32, NULL),
                             .ids = read_tensor(file, "in.", "tokens", DTYPE_I32, &elements),
                             .dimage = read_tensor(file, "in.", "dimages", DTYPE_F32, NULL),
                             .dtext = read_tensor(file, "in.", "dtexts", DTYPE_F32, NULL)};
  batch.count = (int)(elements / context);
  batch.end = memory_allocate((size_t)batch.count * sizeof *batch.end, "ends");
  batch.samples = memory_allocate((size_t)batch.count * sizeof *batch.samples, "samples");
  for (int i = 0; i < batch.count; i++)
    for (int t = 1; t < context; t++)
      if (batch.ids[i * context + t] > batch.ids[i * context + batch.end[i]])
        batch.end[i] = t;
  batch.tokens = tiny_columns(&model->config, batch.end, batch.count);
  return batch;
}

static void check_variant(const char *name, struct model_switches switches) {
  enum { ROWS_MAX = 64 };
  float images[ROWS_MAX], texts[ROWS_MAX];
  struct safetensors file;
  char *path = unpacked_variant(name, ".safetensors");
  if (safetensors_open(path, &file) != STATUS_OK)
    fail_msg("%s", error_message());
  struct model *model = open_variant(name, &file, switches);
  struct tiny_batch batch = read_batch(model, &file);
  const int64_t numbers = batch.count * (int64_t)model->config.embed_dim;
  tiny_model_run(model, &batch, true, images, texts);
  expect_near(name, images, numbers, &file, "out.", "image_features", 2e-5);
  expect_near(name, texts, numbers, &file, "out.", "text_features", 2e-5);
  for (int i = 0; i < model->parameters.count; i++) {
    const struct parameter *parameter = model->parameters.items[i];
    if (parameter == model->logit_scale)
      continue;
    float *gradient = memory_allocate((size_t)parameter->count * sizeof *gradient, "gradient");
    device->op->copy_out(device, gradient, parameter->gradient, (size_t)parameter->count * sizeof *gradient);
    expect_near(name, gradient, parameter->count, &file, "grad.", parameter->name, 1e-4);
    memory_release(gradient);
  }
  tiny_batch_release(&batch);
  model_release(model);
  safetensors_close(&file);
  memory_release(path);
}

static void variant_is_open_clips(void **state) {
  const struct model_switches plain = {0}, saving = {.pooled_last_block = true, .skip_frozen = true},
                              recomputing = {true, true, true};
  check_variant(*state, plain);
  check_variant(*state, saving);
  check_variant(*state, recomputing);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(variant_is_open_clips, "scaled_average"),
                                     cmocka_unit_test_prestate(variant_is_open_clips, "norm_then_average"),
                                     cmocka_unit_test_prestate(variant_is_open_clips, "token_after_norm")};
  memory_set_poison(true);
  if (device_open("cpu", 1, &device) != STATUS_OK)
    fatal("%s", error_message());
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  device_close(device);
  return failed;
}

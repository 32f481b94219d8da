/* One optimiser step over the kinds of parameters: decay, the value tables' own rate, clipping and dtype. */
#include "base/memory.h"
#include "base/text.h"
#include "tiny_model.h"
#include "train/optimizer.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static struct device *device;
static const char *const json =
    "{\"embed_dim\": 12, \"quick_gelu\": true, \"vision_cfg\": {\"image_size\": 12, \"layers\": 3, \"width\": 32, "
    "\"head_width\": 8, \"patch_size\": 6}, \"text_cfg\": {\"context_length\": 13, \"vocab_size\": 41, \"width\": 24, "
    "\"heads\": 2, \"layers\": 1}, \"memory\": {\"layers\": [0, 2], \"n_keys\": 5, \"heads\": 2, \"knn\": 3, "
    "\"k_dim\": 8, \"v_dim\": 10, \"share_values\": false}}";
static double layer_decay[2] = {1, 1}; /* vision, text */
static struct optimizer usual = {.beta1 = 0.9, .beta2 = 0.98, .eps = 1e-6, .weight_decay = 0.1};

/* A model with all gradients 0.5 at value tables and 0.25 elsewhere, padding aside; squares add up to these. */
struct stand {
  struct model *model;
  double values, rest;
};

static struct stand open_stand(enum dtype dtype) {
  struct stand stand = {tiny_model_open(device, json, dtype, (struct model_switches){0}, 3, "all"), 0, 0};
  struct parameters *list = &stand.model->parameters;
  model_set_layer_decay(stand.model, layer_decay[0], layer_decay[1]);
  for (int i = 0; i < list->count; i++) {
    const struct parameter *parameter = list->items[i];
    const double gradient = parameter->values ? 0.5 : 0.25;
    device->op->fill(device, parameter->gradient, parameter->count, (float)gradient);
    *(parameter->values ? &stand.values : &stand.rest) += (double)parameter->count * gradient * gradient;
  }
  return stand;
}

static float *copy_of(struct parameters *list, const struct parameter *parameter) {
  float *values = memory_allocate((size_t)parameter->count * sizeof *values, "values");
  parameter_get(list, parameter, values);
  return values;
}

static void take_step(struct optimizer *optimizer, struct model *model, int64_t step, double rate, bool want_norm) {
  optimizer_open(optimizer, model);
  const uint64_t before = memory_count_allocations();
  optimizer_prepare(optimizer, step, rate);
  optimizer_step(optimizer, want_norm);
  assert_int_equal(memory_count_allocations() - before, 0);
  optimizer_close(optimizer);
}

/* Takes one step and compares every element with the formula for the kind's rate and gradient scale; Adam's first step
 * is the rate whatever the gradient, so moments tell the scale. */
static void expect_step(struct optimizer *optimizer, double rate, double value_rate, double scale, double value_scale,
                        enum dtype dtype) {
  struct stand stand = open_stand(dtype);
  struct parameters *list = &stand.model->parameters;
  float **before = memory_allocate((size_t)list->count * sizeof *before, "values");
  for (int i = 0; i < list->count; i++)
    before[i] = copy_of(list, list->items[i]);
  double squares[ADAMW_SQUARES];
  take_step(optimizer, stand.model, 0, rate, true);
  device->op->copy_out(device, squares, optimizer->squares, sizeof squares);
  const double norm = sqrt(squares[0] + squares[1]);
  assert_true(fabs(norm - sqrt(stand.values + stand.rest)) < 1e-6 * norm);
  for (int i = 0; i < list->count; i++) {
    const struct parameter *parameter = list->items[i];
    const double lr = (parameter->values ? value_rate : rate) * parameter->rate_scale,
                 gradient = parameter->values ? 0.5 * value_scale : 0.25 * scale,
                 decay = parameter->decay ? optimizer->weight_decay : 0;
    float *after = copy_of(list, parameter), moment;
    device->op->copy_out(device, &moment, list->first_moment + parameter->offset, sizeof moment);
    if (!(fabs((double)moment - 0.1 * gradient) <= 1e-6))
      fail_msg("%s: first moment %g instead of %g", parameter->name, (double)moment, 0.1 * gradient);
    for (int64_t j = 0; j < parameter->count; j++) {
      const double expected = (double)before[i][j] * (1 - lr * decay) - lr * gradient / (gradient + optimizer->eps);
      if (parameter != stand.model->logit_scale && !(fabs((double)after[j] - expected) <= 1e-6))
        fail_msg("%s[%lld]: %.9g instead of %.9g", parameter->name, (long long)j, (double)after[j], expected);
    }
    memory_release(after);
    memory_release(before[i]);
  }
  memory_release(before);
  model_release(stand.model);
}

static void rates_of_kinds(void **state) {
  (void)state;
  struct optimizer optimizer = usual;
  expect_step(&optimizer, 1e-3, 1e-3, 1, 1, DTYPE_F32);
  optimizer.value_rate = 5e-3;
  expect_step(&optimizer, 1e-3, 5e-3, 1, 1, DTYPE_BF16);
}

static void rates_decay_by_layers(void **state) {
  (void)state;
  static const struct {
    const char *pattern;
    double scale;
  } expected[] = {{"visual.proj", 1},
                  {"visual.ln_post.*", 0.5},
                  {"visual.transformer.resblocks.2.*", 0.5},
                  {"visual.transformer.resblocks.1.*", 0.25},
                  {"visual.transformer.resblocks.0.*", 0.125},
                  {"visual.ln_pre.*", 0.0625},
                  {"visual.conv1.weight", 0.0625},
                  {"visual.*_embedding", 0.0625},
                  {"text_projection", 1},
                  {"ln_final.*", 0.1},
                  {"transformer.resblocks.0.*", 0.1},
                  {"token_embedding.weight", 0.01},
                  {"positional_embedding", 0.01},
                  {"logit_scale", 1}};
  layer_decay[0] = 0.5, layer_decay[1] = 0.1;
  struct stand stand = open_stand(DTYPE_F32);
  const struct parameters *list = &stand.model->parameters;
  for (int i = 0; i < list->count; i++) {
    double scale = 0;
    for (size_t e = 0; e < sizeof expected / sizeof *expected && scale == 0; e++)
      if (text_match(expected[e].pattern, list->items[i]->name))
        scale = expected[e].scale;
    if (!(fabs(list->items[i]->rate_scale - scale) <= 1e-12))
      fail_msg("%s: %g instead of %g", list->items[i]->name, list->items[i]->rate_scale, scale);
  }
  model_release(stand.model);
  expect_step(&usual, 1e-3, 1e-3, 1, 1, DTYPE_F32);
  layer_decay[0] = layer_decay[1] = 1;
}

static void norms_are_clipped_together_or_apart(void **state) {
  (void)state;
  struct stand stand = open_stand(DTYPE_F32);
  const double all = sqrt(stand.values + stand.rest), values = sqrt(stand.values), rest = sqrt(stand.rest);
  model_release(stand.model);
  struct optimizer optimizer = usual;
  optimizer.clip_norm = 1;
  expect_step(&optimizer, 1e-3, 1e-3, 1 / (all + 1e-6), 1 / (all + 1e-6), DTYPE_F32);
  optimizer.value_clip_norm = 0.5;
  expect_step(&optimizer, 1e-3, 1e-3, 1 / (rest + 1e-6), 0.5 / (values + 1e-6), DTYPE_F32);
  optimizer.clip_norm = 0;
  expect_step(&optimizer, 1e-3, 1e-3, 1, 0.5 / (values + 1e-6), DTYPE_F32);
  optimizer.value_clip_norm = 1e6;
  expect_step(&optimizer, 1e-3, 1e-3, 1, 1, DTYPE_F32);
}

/* All else keeps its fp32 master. */
static void only_values_are_kept_in_bf16(void **state) {
  (void)state;
  struct optimizer optimizer = usual;
  optimizer.bf16_values = true;
  struct stand stand = open_stand(DTYPE_F32);
  struct parameters *list = &stand.model->parameters;
  take_step(&optimizer, stand.model, 0, 1e-4, false);
  for (int i = 0; i < list->count; i++) {
    float *after = copy_of(list, list->items[i]);
    int64_t rounded = 0;
    for (int64_t j = 0; j < list->items[i]->count; j++)
      rounded += bf16_to_float(bf16_from_float(after[j])) == after[j];
    if (list->items[i]->values)
      assert_int_equal(rounded, list->items[i]->count);
    else if (list->items[i]->count > 100)
      assert_true(rounded < list->items[i]->count / 2);
    memory_release(after);
  }
  model_release(stand.model);
}

static void logit_scale_is_clamped(void **state) {
  (void)state;
  struct stand stand = open_stand(DTYPE_F32);
  struct parameters *list = &stand.model->parameters;
  float high = 6, low = -1, after;
  parameter_set(list, stand.model->logit_scale, &high);
  take_step(&usual, stand.model, 0, 1e-3, false);
  parameter_get(list, stand.model->logit_scale, &after);
  assert_true(after == (float)log(100));
  parameter_set(list, stand.model->logit_scale, &low);
  take_step(&usual, stand.model, 1, 1e-3, false);
  parameter_get(list, stand.model->logit_scale, &after);
  assert_true(after == 0);
  model_release(stand.model);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rates_of_kinds),
      cmocka_unit_test(rates_decay_by_layers),
      cmocka_unit_test(norms_are_clipped_together_or_apart),
      cmocka_unit_test(only_values_are_kept_in_bf16),
      cmocka_unit_test(logit_scale_is_clamped),
  };
  if (device_open("cpu", 1, &device) != STATUS_OK)
    fatal("%s", error_message());
  usual.squares = device->op->allocate(device, ADAMW_SQUARES * sizeof *usual.squares, "squares");
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  device->op->release(device, usual.squares);
  device_close(device);
  return failed;
}

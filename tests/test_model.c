/* Whole towers: exact savings change nothing, gradients against finite differences, configuration arithmetic. */
#include "tiny_model.h"
#include "base/memory.h"
#include "base/random.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct device *device;
static const struct model_switches plain = {.pooled_last_block = false, .skip_frozen = false},
                                   saving = {.pooled_last_block = true, .skip_frozen = true};

#define MODEL(vision, text, rest)                                                                                      \
  "{\"embed_dim\": 12, \"quick_gelu\": true, \"vision_cfg\": {\"image_size\": 20, \"layers\": 3, \"width\": 32, "      \
  "\"head_width\": 8, \"patch_size\": 6" vision "}, "                                                                  \
  "\"text_cfg\": {\"context_length\": 13, \"vocab_size\": 41, \"width\": 24, \"heads\": 2, \"layers\": 2" text         \
  "}" rest "}"
#define MEMORY(layers, rest)                                                                                           \
  ", \"memory\": {\"layers\": [" layers "], \"n_keys\": 5, \"heads\": 2, \"knn\": 3, \"k_dim\": 8, \"v_dim\": 10" rest \
  "}"

#define EXPERTS(tower, layers)                                                                                         \
  ", \"memory\": {\"tower\": \"" tower "\", \"layers\": [" layers "], \"n_keys\": 5, \"heads\": 2, \"knn\": 3, "       \
  "\"k_dim\": 8, \"peer\": true, \"gated\": true}"

/* dropout: of all three places in a memory; kept: patches of an image, 0 for all nine. */
static const struct tiny {
  const char *name, *json;
  double dropout;
  int kept;
} models[] = {
    {.name = "plain", .json = MODEL("", "", "")},
    {.name = "LayerScale", .json = MODEL(", \"ls_init_value\": 0.3", ", \"ls_init_value\": 0.2", "")},
    {.name = "average pooling", .json = MODEL(", \"pool_type\": \"avg\", \"no_ln_pre\": true", "", "")},
    {.name = "average, norm after pooling",
     .json = MODEL(", \"pool_type\": \"avg\", \"final_ln_after_pool\": true", "", "")},
    {.name = "memory", .json = MODEL("", "", MEMORY("0, 1", ""))},
    {.name = "memory in the last block, gated",
     .json = MODEL("", "", MEMORY("1, 2", ", \"gated\": true, \"share_values\": false"))},
    {.name = "memory as wide as the tower",
     .json = MODEL("", "",
                   ", \"memory\": {\"layers\": [1], \"n_keys\": 5, \"heads\": 3, \"knn\": 5, "
                   "\"k_dim\": 6, \"swilu_projection\": false, \"gated\": true}")},
    {.name = "memory in the text tower",
     .json = MODEL("", "",
                   ", \"memory\": {\"tower\": \"text\", \"layers\": [0, 1], \"n_keys\": 4, "
                   "\"heads\": 2, \"knn\": 2, \"k_dim\": 6, \"swilu_projection\": true}")},
    {.name = "experts", .json = MODEL("", "", EXPERTS("vision", "0, 1"))},
    {.name = "experts in the last block of the text tower", .json = MODEL("", "", EXPERTS("text", "1") "")},
    {.name = "patch dropout", .json = MODEL("", "", ""), .kept = 4},
    {.name = "one patch kept, with memory", .json = MODEL("", "", MEMORY("0, 2", "")), .kept = 1},
    {.name = "dropout", .json = MODEL("", "", MEMORY("1, 2", ", \"gated\": true")), .dropout = 0.3},
    {.name = "dropout of plain values, with patches left out",
     .json = MODEL("", "", MEMORY("0, 2", ", \"swilu_projection\": false")),
     .dropout = 0.5,
     .kept = 5},
    {.name = "dropout of experts in the text tower", .json = MODEL("", "", EXPERTS("text", "0, 1")), .dropout = 0.4},
};
enum { DROPPING = 12 }; /* the first model with dropout in its memory */
enum { MODELS = sizeof models / sizeof *models, COUNT = 3, WIDTH = 12 };

struct result {
  double loss;
  float images[COUNT * WIDTH], texts[COUNT * WIDTH];
  float *gradient;
  int64_t elements;
};

static struct model *open_tiny(const struct tiny *tiny, enum dtype dtype, struct model_switches switches,
                               const char *train) {
  struct model *model = tiny_model_open(device, tiny->json, dtype, switches, 7, train);
  struct memory_config *memories[] = {&model->config.vision.memory, &model->config.text.memory};
  for (int i = 0; i < 2; i++)
    memories[i]->input_dropout = memories[i]->query_dropout = memories[i]->value_dropout = tiny->dropout;
  return model;
}

static struct tiny_batch make_batch(const struct tiny *tiny, const struct model *model, uint64_t seed) {
  struct tiny_batch batch = tiny_batch_make(&model->config, COUNT, seed);
  if (tiny->kept)
    tiny_batch_drop_patches(&batch, model->vision.tokens - 1, tiny->kept);
  return batch;
}

static struct result run(const struct tiny *tiny, enum dtype dtype, struct model_switches switches, const char *train,
                         bool crop) {
  struct result result;
  struct model *model = open_tiny(tiny, dtype, switches, train);
  struct tiny_batch batch = make_batch(tiny, model, 11);
  if (!crop)
    batch.tokens = model->config.context_length;
  result.loss = tiny_model_run(model, &batch, true, result.images, result.texts);
  result.elements = model->parameters.trainable_elements;
  result.gradient = memory_allocate((size_t)result.elements * sizeof(float), "gradient");
  device->op->copy_out(device, result.gradient, model->parameters.gradient, (size_t)result.elements * sizeof(float));
  tiny_batch_release(&batch);
  model_release(model);
  return result;
}

static double distance(const float *a, const float *b, int64_t count) {
  double difference = 0, size = 0;
  for (int64_t i = 0; i < count; i++) {
    difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    size += (double)b[i] * (double)b[i];
  }
  return sqrt(difference / fmax(size, 1e-30));
}

static void expect_equal(const char *what, const struct result *a, const struct result *b, double bound) {
  assert_int_equal(a->elements, b->elements);
  const double images = distance(a->images, b->images, COUNT * WIDTH),
               texts = distance(a->texts, b->texts, COUNT * WIDTH),
               gradient = distance(a->gradient, b->gradient, a->elements);
  if (!(images <= bound) || !(texts <= bound) || !(gradient <= bound))
    fail_msg("%s: features differ by %g and %g, gradients by %g (bound %g)", what, images, texts, gradient, bound);
}

static void savings_change_nothing(void **state) {
  (void)state;
  for (int m = 0; m < MODELS; m++) {
    struct result reference = run(&models[m], DTYPE_F32, plain, "all", false),
                  other = run(&models[m], DTYPE_F32, saving, "all", true);
    expect_equal(models[m].name, &other, &reference, 1e-5);
    memory_release(other.gradient);
    struct model_switches checkpointing = saving;
    checkpointing.gradient_checkpointing = true;
    other = run(&models[m], DTYPE_F32, checkpointing, "all", true);
    expect_equal(models[m].name, &other, &reference, 1e-5);
    memory_release(other.gradient);
    memory_release(reference.gradient);
  }
}

static void frozen_parts_are_skipped_exactly(void **state) {
  (void)state;
  static const struct {
    int model;
    const char *words;
  } cases[] = {{4, "memory"},       {4, "vision:last1"},    {4, "text"},
               {4, "visual.proj"},  {4, "*.mlp.*"},         {1, "*.ls_1*"},
               {1, "*.ls_2*"},      {1, "*.attn.in_proj*"}, {1, "*.out_proj*"},
               {1, "*.c_fc.*"},     {1, "*.c_proj.*"},      {1, "*.ln_2.*"},
               {2, "vision:last1"}, {0, "*.bias"},          {0, "*class_embedding"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct result reference = run(&models[cases[i].model], DTYPE_F32, plain, cases[i].words, false),
                  other = run(&models[cases[i].model], DTYPE_F32, saving, cases[i].words, true);
    expect_equal(cases[i].words, &other, &reference, 1e-5);
    memory_release(other.gradient);
    memory_release(reference.gradient);
  }
}

static void bf16_is_near_fp32(void **state) {
  (void)state;
  for (int m = 0; m < 4; m++) { /* memories select by rank, which rounding may change */
    struct result reference = run(&models[m], DTYPE_F32, saving, "all", true),
                  other = run(&models[m], DTYPE_BF16, saving, "all", true);
    expect_equal(models[m].name, &other, &reference, 0.03);
    memory_release(other.gradient);
    memory_release(reference.gradient);
  }
}

/* (L(p + e d) - L(p - e d)) / 2e against <gradient, d> for a random direction d over all parameters, relative to the
 * size that the sum may have. */
static double slope_error(struct model *model, const struct tiny_batch *batch, uint64_t direction_number, double step) {
  struct parameters *list = &model->parameters;
  const size_t bytes = (size_t)list->trainable_elements * sizeof(float);
  const struct random_key key = {3, direction_number, RANDOM_TEST, 0};
  float images[COUNT * WIDTH], texts[COUNT * WIDTH];
  float *gradient = memory_allocate(bytes, "gradient"), *values = memory_allocate(bytes, "values"),
        *moved = memory_allocate(bytes, "moved");
  double slope = 0, size = 0, loss[2];
  tiny_model_run(model, batch, true, images, texts);
  device->op->copy_out(device, gradient, list->gradient, bytes);
  device->op->copy_out(device, values, list->master, bytes);
  for (int side = 0; side < 2; side++) {
    for (int64_t i = 0; i < list->trainable_elements; i++) {
      const double direction = random_normal(&key, (uint64_t)i) * 0.02;
      moved[i] = (float)((double)values[i] + (side ? -step : step) * direction);
      slope += side ? 0 : direction * (double)gradient[i];
      size += side ? 0 : direction * direction * (double)gradient[i] * (double)gradient[i];
    }
    device->op->copy_in(device, list->master, moved, bytes);
    loss[side] = tiny_model_run(model, batch, false, images, texts);
  }
  device->op->copy_in(device, list->master, values, bytes);
  memory_release(gradient);
  memory_release(values);
  memory_release(moved);
  return fabs((loss[0] - loss[1]) / (2 * step) - slope) / fmax(sqrt(size), 1e-9);
}

static int compare_doubles(const void *a, const void *b) {
  return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

/* The median over directions and batches: on the way of one a memory may select another slot, where the loss has a
 * step. */
static double median_slope_error(const struct tiny *tiny, const char *word, double step) {
  enum { DIRECTIONS = 5 };
  struct model *model = open_tiny(tiny, DTYPE_F32, saving, word);
  double errors[DIRECTIONS];
  for (int d = 0; d < DIRECTIONS; d++) {
    struct tiny_batch batch = make_batch(tiny, model, 11 + 10 * (uint64_t)d);
    errors[d] = slope_error(model, &batch, (uint64_t)d, step);
    tiny_batch_release(&batch);
  }
  qsort(errors, DIRECTIONS, sizeof *errors, compare_doubles);
  model_release(model);
  return errors[DIRECTIONS / 2];
}

static bool model_has(const struct tiny *tiny, const char *word) {
  struct model *model = open_tiny(tiny, DTYPE_F32, saving, "all");
  const bool has = model_set_trainable(model, &word, 1) == STATUS_OK;
  model_release(model);
  return has;
}

/* All parameters together, and each kind alone: a small gradient hides among large ones. */
static void gradients_match_finite_differences(void **state) {
  (void)state;
  static const char *const words[] = {"all",
                                      "*.attn.in_proj*",
                                      "*.attn.out_proj*",
                                      "*.mlp.c_*",
                                      "*.ln_?.*",
                                      "*.ls_?.gamma",
                                      "*embedding*",
                                      "*conv1*",
                                      "*.query_mlps.0.weight",
                                      "*.mlp.keys",
                                      "*.mlp.values.weight",
                                      "*.mlp.values_u.weight",
                                      "*.mlp.values_v.weight",
                                      "*.swilu_projection.*",
                                      "*.value_proj.weight",
                                      "*.value_proj.bias",
                                      "*.gating.*"};
  for (int m = 0; m < MODELS; m++)
    for (size_t w = 0; w < sizeof words / sizeof *words; w++) {
      if (!model_has(&models[m], words[w]))
        continue;
      /* Small steps drown small gradients in rounding, large ones meet other slots: a right gradient passes one. */
      const double error =
          fmin(median_slope_error(&models[m], words[w], 2e-3), median_slope_error(&models[m], words[w], 2e-2));
      if (!(error <= 0.03))
        fail_msg("%s, %s: the slope along a direction is off by %g of its size", models[m].name, words[w], error);
    }
}

static void configuration_survives_writing(void **state) {
  (void)state;
  for (int m = 0; m < MODELS; m++) {
    struct clip_config first, second;
    struct text json = {0};
    assert_int_equal(config_parse(models[m].json, "test", &first), STATUS_OK);
    config_write(&first, &json);
    assert_int_equal(config_parse(json.data, "written", &second), STATUS_OK);
    struct text again = {0};
    config_write(&second, &again);
    assert_string_equal(json.data, again.data);
    text_release(&json);
    text_release(&again);
  }
}

/* A mask is there, and another step has another one. */
static void dropout_drops(void **state) {
  (void)state;
  for (int m = DROPPING; m < MODELS; m++) {
    struct tiny none = models[m];
    none.dropout = 0;
    struct result dropped = run(&models[m], DTYPE_F32, saving, "all", true),
                  whole = run(&none, DTYPE_F32, saving, "all", true);
    assert_true(distance(dropped.images, whole.images, COUNT * WIDTH) +
                    distance(dropped.texts, whole.texts, COUNT * WIDTH) >
                0.01);
    assert_true(distance(dropped.gradient, whole.gradient, whole.elements) > 0.01);
    memory_release(dropped.gradient);
    memory_release(whole.gradient);
  }
}

/* All patches kept is no patch dropout, to the bit. */
static void keeping_all_patches_changes_nothing(void **state) {
  (void)state;
  struct tiny all = models[0];
  all.kept = 9;
  struct result kept = run(&all, DTYPE_F32, saving, "all", true),
                plain_run = run(&models[0], DTYPE_F32, saving, "all", true);
  expect_equal("nine of nine patches", &kept, &plain_run, 0);
  memory_release(kept.gradient);
  memory_release(plain_run.gradient);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(savings_change_nothing),
      cmocka_unit_test(frozen_parts_are_skipped_exactly),
      cmocka_unit_test(bf16_is_near_fp32),
      cmocka_unit_test(dropout_drops),
      cmocka_unit_test(keeping_all_patches_changes_nothing),
      cmocka_unit_test(gradients_match_finite_differences),
      cmocka_unit_test(configuration_survives_writing),
  };
  memory_set_poison(true); /* what is read before it is written is NaN */
  if (device_open("cpu", 0, &device) != STATUS_OK)
    fatal("%s", error_message());
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  device_close(device);
  return failed;
}

/* A device against the CPU, on whole models: compare_devices [device] [part of a name]. Features and gradients of small
 * models of every kind, then twenty optimiser steps of each training pass. In fp32 the two differ by rounding; in bf16
 * a device may be twice as far from the CPU's fp32 as the CPU's own bf16 is. Needs no test library and no file, so that
 * it runs on a machine that has only a CUDA toolkit. Prints TAP. */
#include "base/memory.h"
#include "bench/pass.h"
#include "tiny_model.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 20 };
static struct device *cpu, *other;
static bool emulated; /* models of a published width take hours there */
static int number, failures;

static void report(bool good, const char *what, const char *variant, enum dtype dtype, const char *figures) {
  printf("%s %d - %s, %s, %s\n", good ? "ok" : "not ok", ++number, what, variant, dtype_name(dtype));
  printf("# %s\n", figures);
  fflush(stdout);
  failures += !good;
}

/* ---- models */

static struct clip_config small_config(void) {
  struct clip_config config;
  config_set_defaults(&config);
  config.embed_dim = 12;
  config.activation = ACTIVATION_QUICKGELU;
  config.activation_known = true;
  config.image_height = config.image_width = 20;
  config.patch = 6;
  config.vision = (struct tower_config){.width = 32, .layers = 3, .heads = 2, .mlp_width = 128, .layer_scale = -1};
  config.text = (struct tower_config){.width = 24, .layers = 2, .heads = 1, .mlp_width = 96, .layer_scale = -1};
  config.context_length = 13;
  config.vocab_size = 41;
  return config;
}

static void add_memory(struct tower_config *tower, int first, int second) {
  tower->memory = (struct memory_config){.count = 2,
                                         .n_keys = 5,
                                         .heads = 2,
                                         .knn = 3,
                                         .k_dim = 8,
                                         .v_dim = 10,
                                         .share_values = true,
                                         .swilu_projection = true,
                                         .meta_init = true};
  tower->memory.layers[first] = tower->memory.layers[second] = true;
}

static void change_nothing(struct clip_config *config) {
  (void)config;
}
static void change_layer_scale(struct clip_config *config) {
  config->vision.layer_scale = config->text.layer_scale = 0.3;
  config->activation = ACTIVATION_GELU;
}
static void change_pooling(struct clip_config *config) {
  config->vision_pool = POOL_AVERAGE;
  config->no_ln_pre = true;
}
static void change_memory(struct clip_config *config) {
  add_memory(&config->vision, 0, 1);
}
static void change_gated(struct clip_config *config) {
  add_memory(&config->vision, 1, 2);
  config->vision.memory.gated = true;
  config->vision.memory.share_values = false;
}
static void change_many_slots(struct clip_config *config) {
  add_memory(&config->vision, 0, 2);
  config->vision.memory.n_keys = 40;
  config->vision.memory.knn = 16;
}
static void change_experts(struct clip_config *config) {
  add_memory(&config->text, 0, 1);
  config->text.memory.peer = true;
  config->text.memory.v_dim = 0;
  config->text.memory.swilu_projection = false;
}
static void change_dropout(struct clip_config *config) {
  add_memory(&config->vision, 0, 1);
  config->vision.memory.input_dropout = config->vision.memory.query_dropout = config->vision.memory.value_dropout = 0.3;
}
/* Head widths that the tensor cores take, more tokens than one of their tiles. */
static void change_heads(struct clip_config *config, int width) {
  config->image_height = config->image_width = 36;
  config->vision =
      (struct tower_config){.width = 2 * width, .layers = 2, .heads = 2, .mlp_width = 2 * width, .layer_scale = -1};
  config->text = (struct tower_config){.width = 64, .layers = 2, .heads = 1, .mlp_width = 64, .layer_scale = -1};
}
static void change_heads_64(struct clip_config *config) {
  change_heads(config, 64);
}
static void change_heads_80(struct clip_config *config) {
  change_heads(config, 80);
}
static void change_to_b16(struct clip_config *config) {
  if (config_built_in("ViT-B-16-quickgelu", config) != STATUS_OK)
    fatal("%s", error_message());
  config->vision.layers = 4;
  config->text.layers = 2;
  config->vocab_size = 1000;
  config->vision.memory = pass_reference_memory(&config->vision);
}

static const struct variant {
  const char *name;
  void (*change)(struct clip_config *config);
  int kept;       /* patches of an image when > 0 */
  bool published; /* of a published width */
} variants[] = {{.name = "plain", .change = change_nothing},
                {.name = "LayerScale and erf GELU", .change = change_layer_scale},
                {.name = "average pooling", .change = change_pooling},
                {.name = "memory", .change = change_memory},
                {.name = "memory with gates and tables of its own", .change = change_gated},
                {.name = "memory of 1600 slots", .change = change_many_slots},
                {.name = "experts in the text tower", .change = change_experts},
                {.name = "dropout and left-out patches", .change = change_dropout, .kept = 4},
                {.name = "heads of 64", .change = change_heads_64},
                {.name = "heads of 80", .change = change_heads_80},
                {.name = "four blocks of B/16", .change = change_to_b16, .published = true}};

/* ---- features and gradients */

enum { COUNT = 3 };
struct result {
  struct model *model;
  float *features[2], *gradient; /* images, texts: [COUNT,E] */
};

static void release_result(struct result *result) {
  model_release(result->model);
  memory_release(result->features[0]);
  memory_release(result->features[1]);
  memory_release(result->gradient);
}

static struct result run(struct device *device, const struct variant *variant, enum dtype dtype) {
  struct clip_config config = small_config();
  variant->change(&config);
  struct model *model = tiny_model_create(
      device, &config, dtype, (struct model_switches){.pooled_last_block = true, .skip_frozen = true}, 7, "all");
  struct tiny_batch batch = tiny_batch_make(&config, COUNT, 11);
  if (variant->kept)
    tiny_batch_drop_patches(&batch, model->vision.tokens - 1, variant->kept);
  const size_t bytes = (size_t)model->parameters.trainable_elements * sizeof(float),
               rows = (size_t)(COUNT * config.embed_dim) * sizeof(float);
  struct result result = {model,
                          {memory_allocate(rows, "features"), memory_allocate(rows, "features")},
                          memory_allocate(bytes, "gradient")};
  tiny_model_run(model, &batch, true, result.features[0], result.features[1]);
  device->op->copy_out(device, result.gradient, model->parameters.gradient, bytes);
  tiny_batch_release(&batch);
  return result;
}

struct squares {
  double difference, size;
};
static void add_squares(struct squares *sum, const float *a, const float *b, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    sum->difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    sum->size += (double)b[i] * (double)b[i];
  }
}
static double distance(const float *a, const float *b, int64_t count) {
  struct squares sum = {0, 0};
  add_squares(&sum, a, b, count);
  return sqrt(sum.difference / fmax(sum.size, 1e-30));
}
/* The larger one, NaN if there is one. */
static double worse(double a, double b) {
  return !(b <= a) ? b : a;
}

/* The worst of the two towers, of all parameters of one; and of a single parameter, where those with hardly a gradient
 * (a key's bias has none but rounding) count as a thousandth of their tower's. */
struct errors {
  double features, gradient, parameter;
};
static struct errors errors_of(const struct result *result, const struct result *reference) {
  const struct parameters *list = &reference->model->parameters;
  const int64_t features = COUNT * reference->model->config.embed_dim;
  struct errors errors = {0, 0, 0};
  for (int text = 0; text < 2; text++) {
    struct squares tower = {0, 0};
    errors.features = worse(errors.features, distance(result->features[text], reference->features[text], features));
    for (int pass = 0; pass < 2; pass++)
      for (int i = 0; i < list->count; i++) {
        const struct parameter *parameter = list->items[i];
        const float *a = result->gradient + parameter->offset, *b = reference->gradient + parameter->offset;
        struct squares own = {0, 0};
        if ((strncmp(parameter->name, "visual.", 7) != 0) != text || parameter == reference->model->logit_scale)
          continue;
        add_squares(pass == 0 ? &tower : &own, a, b, parameter->count);
        if (pass == 1)
          errors.parameter = worse(errors.parameter, sqrt(own.difference / fmax(own.size, 1e-6 * tower.size)));
      }
    errors.gradient = worse(errors.gradient, sqrt(tower.difference / tower.size));
  }
  return errors;
}

static void compare_variant(const struct variant *variant) {
  const double features_bound = 1e-5, gradient_bound = 2e-5, parameter_bound = 2e-4, slack = 0.01;
  char figures[200];
  struct result reference = run(cpu, variant, DTYPE_F32), full = run(other, variant, DTYPE_F32),
                half = run(other, variant, DTYPE_BF16), own_half = run(cpu, variant, DTYPE_BF16);
  const struct errors e = errors_of(&full, &reference), h = errors_of(&half, &reference),
                      own = errors_of(&own_half, &reference);
  snprintf(figures, sizeof figures, "features differ by %.1e, gradients by %.1e, of one parameter by %.1e", e.features,
           e.gradient, e.parameter);
  report(e.features <= features_bound && e.gradient <= gradient_bound && e.parameter <= parameter_bound,
         "features and gradients", variant->name, DTYPE_F32, figures);
  snprintf(figures, sizeof figures, "from the CPU's fp32 by %.4f, %.4f, %.3f; the CPU's bf16 by %.4f, %.4f, %.3f",
           h.features, h.gradient, h.parameter, own.features, own.gradient, own.parameter);
  report(h.features <= 2 * own.features + slack && h.gradient <= 2 * own.gradient + slack, "features and gradients",
         variant->name, DTYPE_BF16, figures);
  release_result(&reference);
  release_result(&full);
  release_result(&half);
  release_result(&own_half);
}

/* ---- training */

struct course {
  double loss[STEPS];
  int64_t elements;
  float *start, *end; /* the masters */
};

static float *masters(const struct pass *pass) {
  const struct parameters *list = pass_parameters(pass);
  const size_t bytes = (size_t)list->trainable_elements * sizeof(float);
  float *values = memory_allocate(bytes, "masters");
  list->device->op->copy_out(list->device, values, list->master, bytes);
  return values;
}

static struct course train(struct device *device, enum pass_kind kind, enum dtype dtype, bool published) {
  struct clip_config config = small_config();
  change_memory(&config);
  config.vision.layers = 2;
  config.vision.heads = 1;
  if (published)
    change_to_b16(&config);
  const struct memory_config memory = config.vision.memory;
  config.vision.memory = (struct memory_config){.count = 0};
  struct pass *pass;
  const struct pass_request request = {
      .kind = kind, .device = device, .dtype = dtype, .config = &config, .memory = &memory, .batch = 3, .rate = 1e-3};
  if (pass_open(&request, &pass) != STATUS_OK)
    fatal("%s", error_message());
  struct course course = {.elements = pass_parameters(pass)->trainable_elements, .start = masters(pass)};
  for (int i = 0; i < STEPS; i++) {
    pass_step(pass);
    course.loss[i] = pass_take_loss(pass);
  }
  course.end = masters(pass);
  pass_close(pass);
  return course;
}

static void release_course(struct course *course) {
  memory_release(course->start);
  memory_release(course->end);
}

/* The largest difference of a loss, of the first one. */
static double loss_error(const struct course *a, const struct course *b) {
  double worst = 0;
  for (int i = 0; i < STEPS; i++)
    worst = worse(worst, fabs(a->loss[i] - b->loss[i]) / fabs(b->loss[0]));
  return worst;
}

/* How far the weights end apart, of the way that they went. */
static double weight_error(const struct course *a, const struct course *b) {
  return distance(a->end, b->end, b->elements) / distance(b->end, b->start, b->elements);
}

static bool same_bits(const struct course *a, const struct course *b) {
  return memcmp(a->loss, b->loss, sizeof a->loss) == 0 &&
         memcmp(a->end, b->end, (size_t)a->elements * sizeof *a->end) == 0;
}

static void compare_training(enum pass_kind kind, bool published) {
  /* bf16 selects other slots now and then, and AdamW makes full steps of small gradients */
  const double loss_bound = 1e-4, weight_bound = 0.01, loss_slack = 0.02, weight_slack = 0.3;
  const char *steps = published ? "20 steps of four blocks of B/16" : "20 steps";
  char figures[160];
  struct course reference = train(cpu, kind, DTYPE_F32, published), full = train(other, kind, DTYPE_F32, published),
                half = train(other, kind, DTYPE_BF16, published), own = train(cpu, kind, DTYPE_BF16, published);
  double loss = loss_error(&full, &reference), weight = weight_error(&full, &reference);
  snprintf(figures, sizeof figures, "losses %.4f to %.4f differ by %.1e, weights by %.1e of their way",
           reference.loss[0], reference.loss[STEPS - 1], loss, weight);
  report(loss <= loss_bound && weight <= weight_bound, pass_names[kind], steps, DTYPE_F32, figures);
  loss = loss_error(&half, &reference);
  weight = weight_error(&half, &reference);
  const double own_loss = loss_error(&own, &reference), own_weight = weight_error(&own, &reference);
  snprintf(figures, sizeof figures, "from the CPU's fp32 by %.4f and %.3f; the CPU's bf16 by %.4f and %.3f", loss,
           weight, own_loss, own_weight);
  report(loss <= 2 * own_loss + loss_slack && weight <= 2 * own_weight + weight_slack, pass_names[kind], steps,
         DTYPE_BF16, figures);
  release_course(&own);
  own = train(other, kind, DTYPE_F32, published);
  report(same_bits(&own, &full), pass_names[kind], "once more to the same bits", DTYPE_F32, steps);
  release_course(&own);
  release_course(&reference);
  release_course(&full);
  release_course(&half);
}

int main(int count, char **argument) {
  memory_set_poison(true);
  if (device_open(count > 1 ? argument[1] : "cuda", 2, &other) != STATUS_OK ||
      device_open("cpu", 2, &cpu) != STATUS_OK) {
    printf("Bail out! %s\n", error_message());
    return 1;
  }
  printf("# %s: %s\n# %s: %s\n", other->op->name, other->description, cpu->op->name, cpu->description);
  emulated = strcmp(other->op->name, "cuda") != 0;
  const char *part = count > 2 ? argument[2] : "";
  for (size_t i = 0; i < sizeof variants / sizeof *variants; i++)
    if (strstr(variants[i].name, part) && (!variants[i].published || !emulated))
      compare_variant(&variants[i]);
  static const enum pass_kind kinds[] = {PASS_DISTILL, PASS_CONTRASTIVE, PASS_CACHED};
  for (int i = 0; i < (emulated ? 2 : 3); i++)
    for (int published = 0; published < (emulated ? 1 : 2); published++)
      if (strstr(pass_names[kinds[i]], part))
        compare_training(kinds[i], published);
  printf("1..%d\n", number);
  device_close(other);
  device_close(cpu);
  return failures ? 1 : 0;
}

/* Speed of whole passes at a published size with synthetic inputs: the forward of the vision tower, the distillation
 * step of the thesis (two accumulated micro-batches), the same with the teacher's features cached, the contrastive
 * step; beside the product rate measured in the same run, and by class of operation.
 *
 * bench_step [--precision bf16|fp32] [--batch N] [--model NAME] [--threads N] [forward] [distill] [cached]
 * [contrastive]; --paced ITEM is for bench/beside.py: one JSON line when ready, a step for every line read, its seconds
 * as a JSON line, and a last line at the end of the input. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "model/model.h"
#include "op_times.h"
#include "pace.h"
#include "train/optimizer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS = 7, PRODUCT_RUNS = 10 };
static struct device *device;
static enum dtype dtype = DTYPE_BF16;
static int batch = 20;
static bool paced;
static const char *model_name = "ViT-B-16-quickgelu";
static double product_rate; /* FLOP/s */
static long first_kilobytes;

static int compare_doubles(const void *a, const void *b) {
  return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

struct step {
  void (*run)(void *context);
  void *context;
};
static double time_step(void *opaque) {
  const struct step *step = opaque;
  const double start = clock_seconds();
  step->run(step->context);
  device->op->synchronize(device);
  return clock_seconds() - start;
}

/* The classes of one step, each operation waited for. */
static struct op_times split_step(struct step *step, double *seconds) {
  op_times_attach(device);
  *seconds = time_step(step);
  return op_times_detach(device);
}

/* Median, best and worst of RUNS steps. */
static void measure_freely(const char *name, double items, struct step *step) {
  double seconds[RUNS], split_seconds;
  const struct op_times times = split_step(step, &split_seconds);
  const double flops = op_times_flops(&times);
  const uint64_t allocations = memory_count_allocations();
  for (int i = 0; i < RUNS; i++)
    seconds[i] = time_step(step);
  qsort(seconds, RUNS, sizeof *seconds, compare_doubles);
  const double median = seconds[RUNS / 2];
  printf("%-12s %8.3f /s (best %.3f, worst %.3f), %.1f GFLOP each: %.1f GFLOP/s, %.1f %% of the product rate; "
         "%llu allocations, %.2f GB\n",
         name, items / median, items / seconds[0], items / seconds[RUNS - 1], 1e-9 * flops / items,
         1e-9 * flops / median, 100 * flops / median / product_rate,
         (unsigned long long)(memory_count_allocations() - allocations), 1e-6 * (double)pace_peak_kilobytes());
  op_times_print(&times, split_seconds, stdout);
  fflush(stdout);
}

static void measure_paced(double items, struct step *step) {
  double split_seconds;
  const struct op_times times = split_step(step, &split_seconds);
  printf("{\"items\": %.0f, \"gflop\": %.3f, \"product_gflops\": %.1f}\n", items, 1e-9 * op_times_flops(&times),
         1e-9 * product_rate);
  fflush(stdout);
  pace_steps(time_step, step);
  printf("{\"gigabytes\": %.3f, \"shares\": {", 1e-6 * (double)(pace_peak_kilobytes() - first_kilobytes));
  for (int i = 0; i < OP_CLASSES; i++)
    printf("\"%s\": %.4f%s", op_class_name(i), times.seconds[i] / split_seconds, i + 1 < OP_CLASSES ? ", " : "}}\n");
}

static void measure(const char *name, double items, void (*run)(void *context), void *context) {
  struct step step = {run, context};
  time_step(&step); /* warms up: primitives, scratch, first touch */
  if (paced)
    measure_paced(items, &step);
  else
    measure_freely(name, items, &step);
}

static void run_product(void *call) {
  device->op->linear(device, call);
}

/* Numbers of either dtype with |x| in [1, 2), of both signs. */
static void fill_with_numbers(void *block, size_t bytes) {
  const struct random_key key = {1, 0, RANDOM_TEST, 0};
  uint32_t *host = memory_allocate(bytes, "numbers");
  for (size_t i = 0; i < bytes / sizeof *host; i++)
    host[i] = ((uint32_t)random_bits(&key, i) & 0x807f807fu) | 0x3f803f80u;
  device->op->copy_in(device, block, host, bytes);
  memory_release(host);
}

/* The largest product of a block at this batch with a packed weight, the best of several: what the device can do. */
static void measure_product(void) {
  const int64_t rows = (int64_t)batch * 197, in = 768, out = 3072;
  const size_t size = dtype_size(dtype);
  char *block = device->op->allocate(device, (size_t)(rows * in + in * out + rows * out) * size, "product");
  fill_with_numbers(block, (size_t)(rows * in + in * out) * size);
  struct linear product = {.rows = rows,
                           .in = in,
                           .out = out,
                           .dtype = dtype,
                           .y_dtype = dtype,
                           .frozen = true,
                           .x = block,
                           .weight = block + (size_t)(rows * in) * size,
                           .y = block + (size_t)(rows * in + in * out) * size};
  double best = INFINITY;
  for (int i = 0; i < PRODUCT_RUNS; i++)
    best = fmin(best, time_step(&(struct step){run_product, &product}));
  product_rate = 2.0 * (double)(rows * in * out) / best;
  device->op->release(device, block);
  if (!paced)
    printf("%-12s %7.1f GFLOP/s (%lld x %lld x %lld), %s, %s\n", "product", 1e-9 * product_rate, (long long)rows,
           (long long)out, (long long)in, dtype_name(dtype), device->description);
}

static struct model *open_model(bool memory, bool training, const char *train) {
  struct clip_config config;
  struct model *model;
  if (config_read(model_name, &config) != STATUS_OK)
    fatal("%s", error_message());
  if (memory) {
    config.vision.memory = (struct memory_config){.count = 5,
                                                  .n_keys = 8,
                                                  .heads = 2,
                                                  .knn = 4,
                                                  .k_dim = 256,
                                                  .v_dim = 256,
                                                  .share_values = true,
                                                  .swilu_projection = true,
                                                  .meta_init = true};
    for (int i = 2; i <= 10; i += 2)
      config.vision.memory.layers[i] = true;
  }
  const struct model_switches switches = {.pooled_last_block = true, .skip_frozen = true};
  if (model_create(&config, device, dtype, switches, &model) != STATUS_OK ||
      model_set_trainable(model, &train, training ? 1 : 0) != STATUS_OK)
    fatal("%s", error_message());
  parameters_allocate(&model->parameters, training);
  parameters_initialize(&model->parameters, 1);
  return model;
}

struct work {
  struct model *student, *teacher;
  struct tower_run *run, *teacher_run, *text_run;
  void *images;
  int32_t *ids, *end;
  float *features[2], *gradient[2], *unit[2], *norm[2], *dunit[2];
  double *loss;
  int64_t step;
  int shared;
};

static void *take_rows(const struct model *model) {
  return device->op->allocate(device, (size_t)(batch * model->config.embed_dim) * sizeof(float), "rows");
}

static void open_inputs(struct work *work, const struct model *model) {
  const size_t pixels = (size_t)batch * 3 * (size_t)(model->config.image_height * model->config.image_width);
  const int context = model->config.context_length;
  const struct random_key key = {1, 0, RANDOM_TEST, 0};
  uint8_t *host = memory_allocate(pixels, "images");
  int32_t *ids = memory_allocate((size_t)(batch * context) * sizeof *ids, "ids"),
          *end = memory_allocate((size_t)batch * sizeof *end, "ids");
  for (size_t i = 0; i < pixels; i += 8) {
    const uint64_t bits = random_bits(&key, i);
    memcpy(host + i, &bits, pixels - i < 8 ? pixels - i : 8);
  }
  for (int b = 0; b < batch; b++) { /* captions of 41 tokens */
    for (int t = 0; t <= 40; t++)
      ids[b * context + t] = t == 0    ? 49406
                             : t == 40 ? 49407
                                       : 1 + (int32_t)random_below(&key, (uint64_t)(b * 100 + t), 49000);
    end[b] = 40;
  }
  work->images = device->op->allocate(device, pixels, "images");
  work->ids = device->op->allocate(device, (size_t)(batch * context) * sizeof *ids, "ids");
  work->end = device->op->allocate(device, (size_t)batch * sizeof *end, "ids");
  work->loss = device->op->allocate(device, sizeof *work->loss, "loss");
  device->op->copy_in(device, work->images, host, pixels);
  device->op->copy_in(device, work->ids, ids, (size_t)(batch * context) * sizeof *ids);
  device->op->copy_in(device, work->end, end, (size_t)batch * sizeof *end);
  for (int side = 0; side < 2; side++) {
    work->features[side] = take_rows(model);
    work->gradient[side] = take_rows(model);
    work->unit[side] = take_rows(model);
    work->norm[side] = take_rows(model);
    work->dunit[side] = take_rows(model);
  }
  fill_with_numbers(work->features[1], (size_t)(batch * model->config.embed_dim) * sizeof(float));
  memory_release(host);
  memory_release(ids);
  memory_release(end);
}

static void forward(void *context) {
  struct work *work = context;
  const struct tower_input images = {.count = batch, .images = work->images, .image_dtype = DTYPE_U8};
  tower_forward(work->run, &images, work->features[0]);
}

static const struct optimizer optimizer = {.beta1 = 0.9, .beta2 = 0.98, .eps = 1e-6, .weight_decay = 0.1};

/* Two accumulated micro-batches, as the peers' loop. */
static void distill(void *context) {
  struct work *work = context;
  const struct tower_input images = {.count = batch, .images = work->images, .image_dtype = DTYPE_U8};
  for (int a = 0; a < 2; a++) {
    tower_begin(work->run, &images);
    if (work->teacher_run) {
      tower_advance(work->run, work->shared);
      tower_adopt(work->teacher_run, work->run);
      tower_advance(work->teacher_run, work->teacher->vision.count);
      tower_finish(work->teacher_run, work->features[1]);
    }
    tower_advance(work->run, work->student->vision.count);
    tower_finish(work->run, work->features[0]);
    device->op->distill(device, &(struct distill){.batch = batch,
                                                  .width = work->student->config.embed_dim,
                                                  .kind = DISTILL_COSINE,
                                                  .scale = 0.5 / batch,
                                                  .teacher = work->features[1],
                                                  .student = work->features[0],
                                                  .loss = work->loss,
                                                  .dstudent = work->gradient[0]});
    tower_backward(work->run, work->gradient[0], NULL);
  }
  optimizer_step(&optimizer, work->student, work->step++, 5e-4, false);
}

static void contrastive(void *context) {
  struct work *work = context;
  struct model *model = work->student;
  const int64_t width = model->config.embed_dim;
  const struct tower_input images = {.count = batch, .images = work->images, .image_dtype = DTYPE_U8},
                           texts = {.count = batch, .ids = work->ids, .end = work->end, .tokens = 48};
  tower_forward(work->run, &images, work->features[0]);
  tower_forward(work->text_run, &texts, work->features[1]);
  for (int side = 0; side < 2; side++)
    device->op->normalize(
        device,
        &(struct normalize){
            .rows = batch, .width = width, .x = work->features[side], .y = work->unit[side], .norm = work->norm[side]});
  device->op->contrastive(device, &(struct contrastive){.global = batch,
                                                        .width = width,
                                                        .count = batch,
                                                        .weight = 1,
                                                        .images = work->unit[0],
                                                        .texts = work->unit[1],
                                                        .logit_scale = model->logit_scale->master,
                                                        .loss = work->loss,
                                                        .dimages = work->dunit[0],
                                                        .dtexts = work->dunit[1],
                                                        .dlogit_scale = model->logit_scale->gradient});
  for (int side = 0; side < 2; side++)
    device->op->normalize_backward(device, &(struct normalize){.rows = batch,
                                                               .width = width,
                                                               .y = work->unit[side],
                                                               .norm = work->norm[side],
                                                               .dy = work->dunit[side],
                                                               .dx = work->gradient[side]});
  tower_backward(work->text_run, work->gradient[1], NULL);
  tower_backward(work->run, work->gradient[0], NULL);
  optimizer_step(&optimizer, model, work->step++, 5e-4, false);
}

static void measure_forward(void) {
  struct work work = {.student = open_model(false, false, "")};
  open_inputs(&work, work.student);
  work.run = tower_run_create(work.student, &work.student->vision, batch, false, 0);
  measure("forward", batch, forward, &work);
  tower_run_release(work.run);
  model_release(work.student);
}

static void measure_distill(bool cached) {
  struct work work = {.student = open_model(true, true, "memory"),
                      .teacher = cached ? NULL : open_model(false, false, "")};
  open_inputs(&work, work.student);
  work.shared = tower_first_memory(&work.student->vision);
  work.run = tower_run_create(work.student, &work.student->vision, batch, true, 0);
  work.teacher_run = cached ? NULL : tower_run_create(work.teacher, &work.teacher->vision, batch, false, 0);
  measure(cached ? "cached" : "distill", 2 * batch, distill, &work);
  tower_run_release(work.run);
  tower_run_release(work.teacher_run);
  model_release(work.student);
  model_release(work.teacher);
}

static void measure_contrastive(void) {
  struct work work = {.student = open_model(false, true, "all")};
  open_inputs(&work, work.student);
  work.run = tower_run_create(work.student, &work.student->vision, batch, true, 0);
  work.text_run = tower_run_create(work.student, &work.student->text, batch, true, 0);
  measure("contrastive", batch, contrastive, &work);
  tower_run_release(work.run);
  tower_run_release(work.text_run);
  model_release(work.student);
}

int main(int argc, char **argv) {
  int threads = 0, items = 0;
  for (int i = 1; i < argc; i++) {
    if (i + 1 < argc && strcmp(argv[i], "--precision") == 0)
      dtype = strcmp(argv[++i], "fp32") == 0 ? DTYPE_F32 : DTYPE_BF16;
    else if (i + 1 < argc && strcmp(argv[i], "--batch") == 0)
      batch = atoi(argv[++i]);
    else if (i + 1 < argc && strcmp(argv[i], "--model") == 0)
      model_name = argv[++i];
    else if (i + 1 < argc && strcmp(argv[i], "--threads") == 0)
      threads = atoi(argv[++i]);
    else if (strcmp(argv[i], "--paced") == 0)
      paced = true;
    else
      items++;
  }
  if (device_open("cpu", threads, &device) != STATUS_OK)
    fatal("%s", error_message());
  measure_product();
  first_kilobytes = pace_peak_kilobytes();
  for (int i = 1; i < argc; i++) {
    const bool all = items == 0 && i == argc - 1;
    if (all || strcmp(argv[i], "forward") == 0)
      measure_forward();
    if (all || strcmp(argv[i], "distill") == 0)
      measure_distill(false);
    if (all || strcmp(argv[i], "cached") == 0)
      measure_distill(true);
    if (all || strcmp(argv[i], "contrastive") == 0)
      measure_contrastive();
  }
  device_close(device);
  return 0;
}

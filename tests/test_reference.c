/* Whole models against numbers that open_clip and the thesis's code computed in double precision: features within 2e-5,
 * every gradient tensor within 1e-4, training trajectories. */
#include "base/memory.h"
#include "io/safetensors.h"
#include "model/model.h"
#include "reference.h"
#include "train/optimizer.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct device *device;
static const struct model_switches saving = {.pooled_last_block = true, .skip_frozen = true};

static float *read_floats(const struct safetensors *file, const char *name, int64_t *count) {
  const struct tensor_entry *entry = safetensors_find(file, name);
  if (!entry)
    fail_msg("%s is missing in the reference", name);
  float *values = memory_allocate((size_t)entry->elements * sizeof *values, "reference");
  assert_int_equal(tensor_entry_read(entry, DTYPE_F32, entry->elements, values), STATUS_OK);
  if (count)
    *count = entry->elements;
  return values;
}

/* |a - b| / |b|. */
static double distance(const float *a, const float *b, int64_t count) {
  double difference = 0, size = 0;
  for (int64_t i = 0; i < count; i++) {
    difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    size += (double)b[i] * (double)b[i];
  }
  return sqrt(difference / fmax(size, 1e-30));
}

static void expect_near(const char *what, const float *ours, const struct safetensors *file, const char *name,
                        double bound) {
  int64_t count;
  float *theirs = read_floats(file, name, &count);
  const double error = distance(ours, theirs, count);
  if (!(error <= bound))
    fail_msg("%s: relative error %g, bound %g", what, error, bound);
  memory_release(theirs);
}

static struct safetensors open_file(const char *name) {
  char *path = reference_path(name);
  struct safetensors file;
  if (!path)
    skip();
  if (safetensors_open(path, &file) != STATUS_OK)
    fail_msg("%s", error_message());
  memory_release(path);
  return file;
}

static struct model *open_model(const char *config_name, const char *weights_name, enum activation activation,
                                const char *train) {
  struct clip_config config;
  struct model *model;
  char *path = reference_path(config_name);
  if (!path)
    skip();
  assert_int_equal(config_read(path, &config), STATUS_OK);
  memory_release(path);
  config.activation = activation;
  config.activation_known = true;
  assert_int_equal(model_create(&config, device, DTYPE_F32, saving, &model), STATUS_OK);
  assert_int_equal(model_set_trainable(model, &train, 1), STATUS_OK);
  parameters_allocate(&model->parameters, true);
  struct safetensors weights = open_file(weights_name);
  for (int i = 0; i < model->parameters.count; i++) {
    float *values = read_floats(&weights, model->parameters.items[i]->name, NULL);
    parameter_set(&model->parameters, model->parameters.items[i], values);
    memory_release(values);
  }
  safetensors_close(&weights);
  return model;
}

/* One network on one batch: inputs on the device and the results of the last forward and loss. */
struct network {
  struct model *model;
  struct tower_run *image_run, *text_run;
  int count;
  float *images, *raw[2], *unit[2], *norm[2], *dunit[2], *draw[2];
  int32_t *ids, *end;
  double *loss;
};

static struct network open_network(struct model *model, int count) {
  const size_t rows = (size_t)(count * model->config.embed_dim) * sizeof(float),
               pixels =
                   (size_t)count * 3 * (size_t)(model->config.image_height * model->config.image_width) * sizeof(float);
  struct network network = {.model = model, .count = count};
  network.image_run = tower_run_create(model, &model->vision, count, true, 0);
  network.text_run = tower_run_create(model, &model->text, count, true, 0);
  network.images = device->op->allocate(device, pixels, "images");
  for (int side = 0; side < 2; side++) {
    network.raw[side] = device->op->allocate(device, rows, "features");
    network.unit[side] = device->op->allocate(device, rows, "features");
    network.norm[side] = device->op->allocate(device, rows, "features");
    network.dunit[side] = device->op->allocate(device, rows, "features");
    network.draw[side] = device->op->allocate(device, rows, "features");
  }
  network.ids = device->op->allocate(device, (size_t)(count * model->config.context_length) * sizeof(int32_t), "ids");
  network.end = device->op->allocate(device, (size_t)count * sizeof(int32_t), "ids");
  network.loss = device->op->allocate(device, sizeof(double), "loss");
  return network;
}

static void close_network(struct network *network) {
  for (int side = 0; side < 2; side++) {
    float *blocks[] = {network->raw[side], network->unit[side], network->norm[side], network->dunit[side],
                       network->draw[side]};
    for (int i = 0; i < 5; i++)
      device->op->release(device, blocks[i]);
  }
  device->op->release(device, network->images);
  device->op->release(device, network->ids);
  device->op->release(device, network->end);
  device->op->release(device, network->loss);
  tower_run_release(network->image_run);
  tower_run_release(network->text_run);
  model_release(network->model);
}

static void set_images(struct network *network, const float *images) {
  device->op->copy_in(device, network->images, images,
                      (size_t)network->count * 3 *
                          (size_t)(network->model->config.image_height * network->model->config.image_width) *
                          sizeof *images);
}

/* The pooled position is that of the largest id, the first one among equals. */
static int set_texts(struct network *network, const int32_t *ids) {
  const int context = network->model->config.context_length;
  int32_t end[64];
  int columns = 0;
  for (int i = 0; i < network->count; i++) {
    end[i] = 0;
    for (int t = 1; t < context; t++)
      if (ids[i * context + t] > ids[i * context + end[i]])
        end[i] = t;
    columns = end[i] + 1 > columns ? end[i] + 1 : columns;
  }
  device->op->copy_in(device, network->ids, ids, (size_t)(network->count * context) * sizeof *ids);
  device->op->copy_in(device, network->end, end, (size_t)network->count * sizeof *end);
  return columns;
}

static void forward(struct network *network, int columns) {
  const int64_t width = network->model->config.embed_dim;
  const struct tower_input images = {.count = network->count, .images = network->images, .image_dtype = DTYPE_F32};
  const struct tower_input texts = {
      .count = network->count, .ids = network->ids, .end = network->end, .tokens = columns};
  tower_forward(network->image_run, &images, network->raw[0]);
  tower_forward(network->text_run, &texts, network->raw[1]);
  for (int side = 0; side < 2; side++)
    device->op->normalize(device, &(struct normalize){.rows = network->count,
                                                      .width = width,
                                                      .x = network->raw[side],
                                                      .y = network->unit[side],
                                                      .norm = network->norm[side]});
}

static double contrastive_backward(struct network *network) {
  struct model *model = network->model;
  const int64_t width = model->config.embed_dim;
  double loss;
  device->op->zero(device, network->loss, sizeof *network->loss);
  device->op->contrastive(device, &(struct contrastive){.global = network->count,
                                                        .width = width,
                                                        .count = network->count,
                                                        .weight = 1,
                                                        .images = network->unit[0],
                                                        .texts = network->unit[1],
                                                        .logit_scale = model->logit_scale->master,
                                                        .loss = network->loss,
                                                        .dimages = network->dunit[0],
                                                        .dtexts = network->dunit[1],
                                                        .dlogit_scale = model->logit_scale->gradient});
  for (int side = 0; side < 2; side++)
    device->op->normalize_backward(device, &(struct normalize){.rows = network->count,
                                                               .width = width,
                                                               .y = network->unit[side],
                                                               .norm = network->norm[side],
                                                               .dy = network->dunit[side],
                                                               .dx = network->draw[side]});
  tower_backward(network->text_run, network->draw[1], NULL);
  tower_backward(network->image_run, network->draw[0], NULL);
  device->op->copy_out(device, &loss, network->loss, sizeof loss);
  return loss;
}

static float *host_rows(const float *rows, int64_t count) {
  float *values = memory_allocate((size_t)count * sizeof *values, "rows");
  device->op->copy_out(device, values, rows, (size_t)count * sizeof *values);
  return values;
}

static void expect_features(struct network *network, const struct safetensors *file) {
  static const char *const names[2][2] = {{"out.image_features_unnormalised", "out.image_features"},
                                          {"out.text_features_unnormalised", "out.text_features"}};
  const int64_t count = network->count * network->model->config.embed_dim;
  for (int side = 0; side < 2; side++) {
    float *raw = host_rows(network->raw[side], count), *unit = host_rows(network->unit[side], count);
    expect_near(names[side][0], raw, file, names[side][0], 2e-5);
    expect_near(names[side][1], unit, file, names[side][1], 2e-5);
    memory_release(raw);
    memory_release(unit);
  }
}

static void expect_gradients(const struct model *model, const struct safetensors *file, const char *prefix) {
  for (int i = 0; i < model->parameters.count; i++) {
    const struct parameter *parameter = model->parameters.items[i];
    if (!parameter->gradient)
      continue;
    char *name = text_format("%s%s", prefix, parameter->name);
    float *gradient = host_rows(parameter->gradient, parameter->count);
    expect_near(name, gradient, file, name, 1e-4);
    memory_release(gradient);
    memory_release(name);
  }
}

static int32_t *read_ids(const struct safetensors *file, const char *name) {
  const struct tensor_entry *entry = safetensors_find(file, name);
  int32_t *ids = memory_allocate((size_t)entry->elements * sizeof *ids, "ids");
  assert_int_equal(tensor_entry_read(entry, DTYPE_I32, entry->elements, ids), STATUS_OK);
  return ids;
}

static void check_clip(const char *tag, const char *activation) {
  char *config = text_format("clip_%s/open_clip_config.json", tag),
       *weights = text_format("clip_%s/weights.safetensors", tag),
       *numbers = text_format("clip_%s/%s.safetensors", tag, activation);
  struct safetensors file = open_file(numbers);
  struct network network = open_network(
      open_model(config, weights, activation[0] == 'q' ? ACTIVATION_QUICKGELU : ACTIVATION_GELU, "all"), 6);
  float *images = read_floats(&file, "in.images", NULL), *loss = read_floats(&file, "out.loss", NULL);
  int32_t *ids = read_ids(&file, "in.tokens");
  set_images(&network, images);
  forward(&network, set_texts(&network, ids));
  expect_features(&network, &file);
  const double ours = contrastive_backward(&network);
  assert_true(fabs(ours - (double)loss[0]) <= 2e-5 * fabs((double)loss[0]));
  expect_gradients(network.model, &file, "grad.");
  memory_release(images);
  memory_release(ids);
  memory_release(loss);
  close_network(&network);
  safetensors_close(&file);
  memory_release(config);
  memory_release(weights);
  memory_release(numbers);
}

static void clip_features_and_gradients(void **state) {
  (void)state;
  check_clip("a", "gelu");
  check_clip("a", "quickgelu");
  check_clip("b", "gelu");
  check_clip("b", "quickgelu");
}

/* Weights after some steps, within 1 % of the distance that they moved. */
static void expect_moved(struct model *model, const struct safetensors *start, const struct safetensors *file,
                         const char *prefix) {
  for (int i = 0; i < model->parameters.count; i++) {
    const struct parameter *parameter = model->parameters.items[i];
    if (!parameter->trainable)
      continue;
    char *name = text_format("%s%s", prefix, parameter->name);
    float *before = read_floats(start, parameter->name, NULL), *after = read_floats(file, name, NULL),
          *ours = host_rows(parameter->master, parameter->count);
    double error = 0, moved = 0;
    for (int64_t e = 0; e < parameter->count; e++) {
      error += ((double)ours[e] - (double)after[e]) * ((double)ours[e] - (double)after[e]);
      moved += ((double)before[e] - (double)after[e]) * ((double)before[e] - (double)after[e]);
    }
    if (!(sqrt(error) <= 0.01 * sqrt(moved) + 1e-7))
      fail_msg("%s: off by %g after moving %g", name, sqrt(error), sqrt(moved));
    memory_release(before);
    memory_release(after);
    memory_release(ours);
    memory_release(name);
  }
}

static void check_five_steps(const char *tag, const char *activation) {
  char *config = text_format("clip_%s/open_clip_config.json", tag),
       *weights = text_format("clip_%s/weights.safetensors", tag),
       *numbers = text_format("clip_%s/%s_five_steps.safetensors", tag, activation);
  struct safetensors file = open_file(numbers), start = open_file(weights);
  struct network network = open_network(
      open_model(config, weights, activation[0] == 'q' ? ACTIVATION_QUICKGELU : ACTIVATION_GELU, "all"), 6);
  const struct clip_config *shape = &network.model->config;
  const struct optimizer optimizer = {.beta1 = 0.9, .beta2 = 0.98, .eps = 1e-6, .weight_decay = 0.2, .clip_norm = 1};
  float *images = read_floats(&file, "in.images", NULL), *rates = read_floats(&file, "in.lr", NULL),
        *losses = read_floats(&file, "out.loss", NULL), *norms = read_floats(&file, "out.grad_norm", NULL);
  int32_t *ids = read_ids(&file, "in.tokens");
  for (int step = 0; step < 5; step++) {
    set_images(&network, images + step * 6 * 3 * shape->image_height * shape->image_width);
    forward(&network, set_texts(&network, ids + step * 6 * shape->context_length));
    const double loss = contrastive_backward(&network);
    const double norm = optimizer_step(&optimizer, network.model, step, (double)rates[step], true);
    if (!(fabs(loss - (double)losses[step]) <= 1e-4 * fabs((double)losses[step])) ||
        !(fabs(norm - (double)norms[step]) <= 1e-3 * (double)norms[step]))
      fail_msg("clip_%s %s step %d: loss %g, reference %g; gradient norm %g, reference %g", tag, activation, step, loss,
               (double)losses[step], norm, (double)norms[step]);
  }
  expect_moved(network.model, &start, &file, "after.");
  void *blocks[] = {images, rates, losses, norms, ids, config, weights, numbers};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    memory_release(blocks[i]);
  close_network(&network);
  safetensors_close(&file);
  safetensors_close(&start);
}

static void clip_training_steps(void **state) {
  (void)state;
  check_five_steps("a", "gelu");
  check_five_steps("a", "quickgelu");
  check_five_steps("b", "gelu");
  check_five_steps("b", "quickgelu");
}

struct student {
  struct network network;
  struct model *teacher;
  struct tower_run *teacher_run;
  float *teacher_features;
};

static struct student open_student(enum activation activation, int count) {
  struct student student = {
      .network =
          open_network(open_model("student/config.json", "student/student.safetensors", activation, "memory"), count)};
  struct clip_config plain = student.network.model->config;
  plain.vision.memory = (struct memory_config){0};
  assert_int_equal(model_create(&plain, device, DTYPE_F32, saving, &student.teacher), STATUS_OK);
  parameters_allocate(&student.teacher->parameters, false);
  struct safetensors weights = open_file("student/teacher.safetensors");
  for (int i = 0; i < student.teacher->parameters.count; i++) {
    float *values = read_floats(&weights, student.teacher->parameters.items[i]->name, NULL);
    parameter_set(&student.teacher->parameters, student.teacher->parameters.items[i], values);
    memory_release(values);
  }
  safetensors_close(&weights);
  student.teacher_run = tower_run_create(student.teacher, &student.teacher->vision, count, false, 0);
  student.teacher_features =
      device->op->allocate(device, (size_t)(count * plain.embed_dim) * sizeof(float), "teacher features");
  return student;
}

static void close_student(struct student *student) {
  tower_run_release(student->teacher_run);
  device->op->release(device, student->teacher_features);
  model_release(student->teacher);
  close_network(&student->network);
}

/* Both networks with the frozen prefix computed once. */
static double distill(struct student *student, int first, int count, enum distill_loss kind, double scale) {
  struct network *network = &student->network;
  const struct clip_config *config = &network->model->config;
  const int64_t pixels = 3 * (int64_t)config->image_height * config->image_width;
  const struct tower_input images = {
      .count = count, .images = network->images + first * pixels, .image_dtype = DTYPE_F32};
  double loss;
  tower_begin(network->image_run, &images);
  tower_advance(network->image_run, tower_first_memory(&network->model->vision));
  tower_adopt(student->teacher_run, network->image_run);
  tower_advance(student->teacher_run, student->teacher->vision.count);
  tower_finish(student->teacher_run, student->teacher_features);
  tower_advance(network->image_run, network->model->vision.count);
  tower_finish(network->image_run, network->raw[0]);
  device->op->zero(device, network->loss, sizeof *network->loss);
  device->op->distill(device, &(struct distill){.batch = count,
                                                .width = config->embed_dim,
                                                .kind = kind,
                                                .scale = scale,
                                                .teacher = student->teacher_features,
                                                .student = network->raw[0],
                                                .loss = network->loss,
                                                .dstudent = network->draw[0]});
  tower_backward(network->image_run, network->draw[0], NULL);
  device->op->copy_out(device, &loss, network->loss, sizeof loss);
  return loss;
}

static void student_losses_and_gradients(void **state) {
  (void)state;
  static const struct {
    const char *loss, *gradient;
    enum distill_loss kind;
  } kinds[] = {{"out.loss_cosine", "grad_cosine.", DISTILL_COSINE},
               {"out.loss_mse", "grad_mse.", DISTILL_MSE},
               {"out.loss_l2", "grad_l2.", DISTILL_L2}};
  for (int activation = 0; activation < 2; activation++) {
    struct safetensors file = open_file(activation ? "student/quickgelu.safetensors" : "student/gelu.safetensors");
    struct student student = open_student(activation ? ACTIVATION_QUICKGELU : ACTIVATION_GELU, 6);
    struct model *model = student.network.model;
    float *images = read_floats(&file, "in.images", NULL);
    set_images(&student.network, images);
    for (int k = 0; k < 3; k++) {
      float *loss = read_floats(&file, kinds[k].loss, NULL);
      device->op->zero(device, model->parameters.gradient,
                       (size_t)model->parameters.trainable_elements * sizeof(float));
      const double ours = distill(&student, 0, 6, kinds[k].kind, 1.0 / 6);
      if (!(fabs(ours - (double)loss[0]) <= 2e-5 * fabs((double)loss[0])))
        fail_msg("%s: %.9g, reference %.9g", kinds[k].loss, ours, (double)loss[0]);
      expect_gradients(model, &file, kinds[k].gradient);
      memory_release(loss);
    }
    const int64_t count = 6 * model->config.embed_dim;
    float *student_rows = host_rows(student.network.raw[0], count),
          *teacher_rows = host_rows(student.teacher_features, count);
    expect_near("student features", student_rows, &file, "out.student", 2e-5);
    expect_near("teacher features", teacher_rows, &file, "out.teacher", 2e-5);
    memory_release(student_rows);
    memory_release(teacher_rows);
    memory_release(images);
    close_student(&student);
    safetensors_close(&file);
  }
}

static void student_training_steps(void **state) {
  (void)state;
  const struct optimizer optimizer = {.beta1 = 0.9, .beta2 = 0.98, .eps = 1e-6, .weight_decay = 0.1};
  for (int activation = 0; activation < 2; activation++) {
    struct safetensors file = open_file(activation ? "student/quickgelu.safetensors" : "student/gelu.safetensors"),
                       start = open_file("student/student.safetensors");
    struct student student = open_student(activation ? ACTIVATION_QUICKGELU : ACTIVATION_GELU, 6);
    struct model *model = student.network.model;
    const int64_t pixels = 6 * 3 * (int64_t)model->config.image_height * model->config.image_width;
    float *images = read_floats(&file, "steps.images", NULL), *losses = read_floats(&file, "steps.loss", NULL);
    for (int step = 0; step < 6; step++) {
      set_images(&student.network, images + step * pixels);
      const double loss =
          distill(&student, 0, 3, DISTILL_COSINE, 1.0 / 6) + distill(&student, 3, 3, DISTILL_COSINE, 1.0 / 6);
      optimizer_step(&optimizer, model, step, 5e-3, false);
      if (!(fabs(loss - (double)losses[step]) <= 1e-4 * fabs((double)losses[step])))
        fail_msg("step %d: loss %.9g, reference %.9g", step, loss, (double)losses[step]);
    }
    expect_moved(model, &start, &file, "steps.after.");
    memory_release(images);
    memory_release(losses);
    close_student(&student);
    safetensors_close(&file);
    safetensors_close(&start);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(clip_features_and_gradients), cmocka_unit_test(clip_training_steps),
      cmocka_unit_test(student_losses_and_gradients), cmocka_unit_test(student_training_steps)};
  memory_set_poison(true); /* what is read before it is written is NaN */
  if (device_open("cpu", 0, &device) != STATUS_OK)
    fatal("%s", error_message());
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  device_close(device);
  return failed;
}

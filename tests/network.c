#include "network.h"
#include "base/memory.h"
#include "fixture.h"
#include "reference.h"
#include "train/weights.h"
#include "weight_import.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

char *fixture_path(const char *name) {
  return text_starts_with(name, "reference/") ? reference_path(name + strlen("reference/")) : unpacked_path(name);
}

struct safetensors fixture_open(const char *name) {
  char *path = fixture_path(name);
  struct safetensors file;
  if (!path)
    skip();
  if (safetensors_open(path, &file) != STATUS_OK)
    fail_msg("%s", error_message());
  memory_release(path);
  return file;
}

float *fixture_floats(const struct safetensors *file, const char *name, int64_t *count) {
  const struct tensor_entry *entry = safetensors_find(file, name);
  if (!entry)
    fail_msg("%s is missing in the reference", name);
  float *values = memory_allocate((size_t)entry->elements * sizeof *values, "reference");
  assert_int_equal(tensor_entry_read(entry, DTYPE_F32, entry->elements, values), STATUS_OK);
  if (count)
    *count = entry->elements;
  return values;
}

int32_t *fixture_ids(const struct safetensors *file, const char *name) {
  const struct tensor_entry *entry = safetensors_find(file, name);
  if (!entry)
    fail_msg("%s is missing in the reference", name);
  int32_t *ids = memory_allocate((size_t)entry->elements * sizeof *ids, "ids");
  assert_int_equal(tensor_entry_read(entry, DTYPE_I32, entry->elements, ids), STATUS_OK);
  return ids;
}

struct model *fixture_model(struct device *device, const char *config_name, const char *weights_name,
                            enum activation activation, const char *train, enum dtype dtype) {
  static const struct model_switches saving = {.pooled_last_block = true, .skip_frozen = true};
  char *config_path = config_name ? fixture_path(config_name) : NULL, *path = fixture_path(weights_name),
       *store = text_format("fixture.%ld.h5", (long)getpid()); /* ranks share a folder */
  const struct import_request request = {
      .source = path,
      .out = store,
      .config = {.config = config_path, .activation = activation == ACTIVATION_QUICKGELU ? "quickgelu" : "gelu"}};
  struct import_summary imported;
  struct weights_summary loaded;
  struct text report = {0};
  struct clip_config config;
  struct model *model;
  if (!path || (config_name && !config_path))
    skip();
  if (weight_import(&request, &imported, &report) != STATUS_OK || weights_read_config(store, &config) != STATUS_OK ||
      model_create(&config, device, dtype, saving, &model) != STATUS_OK ||
      model_set_trainable(model, &train, 1) != STATUS_OK)
    fail_msg("%s", error_message());
  parameters_allocate(&model->parameters, true);
  if (weights_load(store, model, &loaded) != STATUS_OK)
    fail_msg("%s", error_message());
  assert_int_equal(loaded.missing_memory + loaded.dropped_mlp, 0);
  unlink(store);
  text_release(&report);
  memory_release(config_path);
  memory_release(path);
  memory_release(store);
  return model;
}

/* |a - b| / |b|. */
double relative_distance(const float *a, const float *b, int64_t count) {
  double difference = 0, size = 0;
  for (int64_t i = 0; i < count; i++) {
    difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    size += (double)b[i] * (double)b[i];
  }
  return sqrt(difference / fmax(size, 1e-30));
}

void expect_near(const char *what, const float *ours, const struct safetensors *file, const char *name, double bound) {
  int64_t count;
  float *theirs = fixture_floats(file, name, &count);
  const double error = relative_distance(ours, theirs, count);
  if (!(error <= bound))
    fail_msg("%s: relative error %g, bound %g", what, error, bound);
  memory_release(theirs);
}

float *host_rows(struct device *device, const float *rows, int64_t count) {
  float *values = memory_allocate((size_t)count * sizeof *values, "rows");
  device->op->copy_out(device, values, rows, (size_t)count * sizeof *values);
  return values;
}

struct network network_open(struct model *model, int count) {
  const size_t rows = (size_t)(count * model->config.embed_dim) * sizeof(float),
               pixels =
                   (size_t)count * 3 * (size_t)(model->config.image_height * model->config.image_width) * sizeof(float);
  struct device *device = model->device;
  struct network network = {.model = model, .device = device, .count = count};
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
  network.normalisers = device->op->allocate(device, 2 * (size_t)count * sizeof(float), "normalisers");
  return network;
}

void network_close(struct network *network) {
  struct device *device = network->device;
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
  device->op->release(device, network->normalisers);
  tower_run_release(network->image_run);
  tower_run_release(network->text_run);
  model_release(network->model);
}

void network_set_images(struct network *network, const float *images) {
  struct device *device = network->device;
  device->op->copy_in(device, network->images, images,
                      (size_t)network->count * 3 *
                          (size_t)(network->model->config.image_height * network->model->config.image_width) *
                          sizeof *images);
}

int network_set_texts(struct network *network, const int32_t *ids) {
  struct device *device = network->device;
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

void network_forward(struct network *network, int columns) {
  struct device *device = network->device;
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

double network_contrastive_backward(struct network *network) {
  struct device *device = network->device;
  struct model *model = network->model;
  const int64_t width = model->config.embed_dim;
  double loss;
  device->op->zero(device, network->loss, sizeof *network->loss);
  const struct contrastive call = {.global = network->count,
                                   .width = width,
                                   .count = network->count,
                                   .weight = 1,
                                   .images = network->unit[0],
                                   .texts = network->unit[1],
                                   .logit_scale = model->logit_scale->master,
                                   .normalisers = network->normalisers,
                                   .loss = network->loss,
                                   .dimages = network->dunit[0],
                                   .dtexts = network->dunit[1],
                                   .dlogit_scale = model->logit_scale->gradient};
  device->op->contrastive_normalisers(device, &call);
  device->op->contrastive(device, &call);
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

void network_expect_gradients(const struct network *network, const struct safetensors *file, const char *prefix,
                              double bound) {
  const struct parameters *list = &network->model->parameters;
  for (int i = 0; i < list->count; i++) {
    const struct parameter *parameter = list->items[i];
    if (!parameter->gradient)
      continue;
    char *name = text_format("%s%s", prefix, parameter->name);
    float *gradient = host_rows(network->device, parameter->gradient, parameter->count);
    const struct distance distance = reference_distance(file, name, gradient, parameter->count);
    if (!(distance.error <= bound * distance.size))
      fail_msg("%s: off by %g of %g, bound %g", name, distance.error, distance.size, bound);
    memory_release(gradient);
    memory_release(name);
  }
}

double network_gradient_error(const struct network *network, const struct safetensors *file, const char *prefix) {
  const struct parameters *list = &network->model->parameters;
  double error = 0, size = 0;
  for (int i = 0; i < list->count; i++) {
    const struct parameter *parameter = list->items[i];
    char *name = text_format("%s%s", prefix, parameter->name);
    float *gradient = host_rows(network->device, parameter->gradient, parameter->count);
    const struct distance distance = reference_distance(file, name, gradient, parameter->count);
    error += distance.error * distance.error;
    size += distance.size * distance.size;
    memory_release(gradient);
    memory_release(name);
  }
  return sqrt(error / size);
}

float *network_masters(const struct network *network) {
  const struct parameters *list = &network->model->parameters;
  return host_rows(network->device, list->master, list->trainable_elements);
}

void network_expect_moved(const struct network *network, const float *start, const struct safetensors *file,
                          const char *prefix) {
  const struct parameters *list = &network->model->parameters;
  float *masters = network_masters(network);
  for (int i = 0; i < list->count; i++) {
    const struct parameter *parameter = list->items[i];
    if (!parameter->trainable)
      continue;
    char *name = text_format("%s%s", prefix, parameter->name);
    const float *before = start + parameter->offset, *ours = masters + parameter->offset;
    float *after = fixture_floats(file, name, NULL);
    double error = 0, moved = 0;
    for (int64_t e = 0; e < parameter->count; e++) {
      error += ((double)ours[e] - (double)after[e]) * ((double)ours[e] - (double)after[e]);
      moved += ((double)before[e] - (double)after[e]) * ((double)before[e] - (double)after[e]);
    }
    if (!(sqrt(error) <= 0.01 * sqrt(moved) + 1e-7))
      fail_msg("%s: off by %g after moving %g", name, sqrt(error), sqrt(moved));
    memory_release(after);
    memory_release(name);
  }
  memory_release(masters);
}

/* Published sizes against open_clip's features in double precision. The reference gives weights by a formula, so they
 * are written as a safetensors file here, imported, and read from our HDF5 file as any others. */
#include "base/memory.h"
#include "network.h"
#include "reference.h"
#include "train/weights.h"
#include "weight_import.h"
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { SAMPLES = 2, IMAGE_STREAM = 1000 };
static struct device *device;

/* splitmix64's output for the counter stream * 2^32 + i, as a number in [-1, 1). */
static double draw(uint64_t stream, uint64_t i) {
  uint64_t z = (stream << 32) + i + 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  z ^= z >> 31;
  return 2 * (double)(z >> 11) * 0x1p-53 - 1;
}

/* Parameter number n, element i: s u(n, i), plus one for weights of one axis; s is 1.5 / sqrt(fan in), 0.05 for one
 * axis. */
static enum status fill(void *context, const struct tensor_entry *entry, void *data) {
  const struct parameter *parameter = parameters_find(context, entry->name);
  float *values = data;
  if (strcmp(entry->name, "logit_scale") == 0) {
    values[0] = (float)log(1 / 0.07);
    return STATUS_OK;
  }
  const double fan = parameter->axes == 2 ? (double)parameter->shape[1]
                                          : (double)(parameter->count / (parameter->axes ? parameter->shape[0] : 1)),
               scale = parameter->axes > 1 ? 1.5 / sqrt(fan) : 0.05,
               offset = parameter->axes == 1 && text_ends_with(entry->name, "weight") ? 1 : 0;
  for (int64_t i = 0; i < entry->elements; i++)
    values[i] = (float)(scale * draw((uint64_t)parameter->number, (uint64_t)i) + offset);
  return STATUS_OK;
}

static void write_weights(const struct clip_config *config) {
  struct model *model;
  if (model_create(config, device, DTYPE_F32, (struct model_switches){0}, &model) != STATUS_OK)
    fail_msg("%s", error_message());
  const struct parameters *list = &model->parameters;
  struct tensor_entry *entries = memory_allocate((size_t)list->count * sizeof *entries, "entries");
  for (int i = 0; i < list->count; i++) {
    entries[i] = (struct tensor_entry){.name = list->items[i]->name,
                                       .dtype = DTYPE_F32,
                                       .axes = list->items[i]->axes,
                                       .elements = list->items[i]->count};
    memcpy(entries[i].shape, list->items[i]->shape, sizeof list->items[i]->shape);
  }
  const struct tensor_reader reader = {fill, (void *)list};
  if (safetensors_write("full_size.safetensors", entries, list->count, &reader) != STATUS_OK)
    fail_msg("%s", error_message());
  memory_release(entries);
  model_release(model);
}

/* NAME-quickgelu has NAME's weights, and follows it in the reference. */
static bool same_weights(const char *name) {
  static char last[64];
  const size_t length = strlen(last);
  const bool same = length > 0 && strncmp(name, last, length) == 0 && strcmp(name + length, "-quickgelu") == 0;
  snprintf(last, sizeof last, "%s", name);
  return same;
}

static struct model *open_model(const char *name) {
  const struct import_request request = {
      .source = "full_size.safetensors",
      .out = "full_size.h5",
      .config = {.config = name, .activation = strstr(name, "quick") ? NULL : "gelu"}};
  struct clip_config config;
  struct import_summary imported;
  struct weights_summary loaded;
  struct text report = {0};
  struct model *model;
  if (config_read(name, &config) != STATUS_OK)
    fail_msg("%s", error_message());
  config.activation_known = true;
  if (!same_weights(name))
    write_weights(&config);
  if (weight_import(&request, &imported, &report) != STATUS_OK ||
      weights_read_config("full_size.h5", &config) != STATUS_OK ||
      model_create(&config, device, DTYPE_F32, (struct model_switches){.pooled_last_block = true}, &model) != STATUS_OK)
    fail_msg("%s", error_message());
  parameters_allocate(&model->parameters, false);
  if (weights_load("full_size.h5", model, &loaded) != STATUS_OK)
    fail_msg("%s", error_message());
  unlink("full_size.h5");
  text_release(&report);
  return model;
}

/* Two images and two texts by the reference's rule; runs that keep nothing for a backward pass. */
static void encode(struct model *model, float *rows[2]) {
  const struct clip_config *config = &model->config;
  const size_t bytes = SAMPLES * (size_t)config->embed_dim * sizeof(float);
  const int64_t pixels = SAMPLES * 3 * (int64_t)config->image_height * config->image_width;
  float *host = memory_allocate((size_t)pixels * sizeof *host, "images"),
        *images = device->op->allocate(device, (size_t)pixels * sizeof *host, "images"),
        *features = device->op->allocate(device, bytes, "features");
  int32_t *ids = memory_allocate((size_t)(SAMPLES * config->context_length) * sizeof *ids, "ids"), end[SAMPLES];
  for (int64_t i = 0; i < pixels; i++)
    host[i] = (float)(2 * draw(IMAGE_STREAM, (uint64_t)i));
  for (int b = 0; b < SAMPLES; b++) {
    int32_t *row = ids + b * config->context_length;
    end[b] = 20 + b;
    row[0] = 49406;
    row[end[b]] = 49407;
    for (int t = 1; t < end[b]; t++)
      row[t] = 1 + (37 * b + 11 * t) % 49000;
  }
  int32_t *device_ids = device->op->allocate(device, SAMPLES * (size_t)config->context_length * sizeof *ids, "ids"),
          *device_end = device->op->allocate(device, sizeof end, "ids");
  device->op->copy_in(device, images, host, (size_t)pixels * sizeof *host);
  device->op->copy_in(device, device_ids, ids, SAMPLES * (size_t)config->context_length * sizeof *ids);
  device->op->copy_in(device, device_end, end, sizeof end);
  const struct tower_input inputs[2] = {{.count = SAMPLES, .images = images, .image_dtype = DTYPE_F32},
                                        {.count = SAMPLES,
                                         .ids = device_ids,
                                         .end = device_end,
                                         .tokens = 24 < config->context_length ? 24 : config->context_length}};
  for (int side = 0; side < 2; side++) {
    struct tower_run *run = tower_run_create(model, side ? &model->text : &model->vision, SAMPLES, false, 0);
    tower_forward(run, &inputs[side], features);
    rows[side] = host_rows(device, features, SAMPLES * config->embed_dim);
    tower_run_release(run);
  }
  device->op->release(device, images);
  device->op->release(device, features);
  device->op->release(device, device_ids);
  device->op->release(device, device_end);
  memory_release(host);
  memory_release(ids);
}

static void compare(const char *name, const char *what, float *rows, int64_t width, json_t *expected) {
  double difference = 0, size = 0;
  for (int b = 0; b < SAMPLES; b++) {
    double norm = 0;
    for (int64_t e = 0; e < width; e++)
      norm += (double)rows[b * width + e] * (double)rows[b * width + e];
    for (int64_t e = 0; e < width; e++) {
      const double theirs = json_number_value(json_array_get(json_array_get(expected, (size_t)b), (size_t)e)),
                   error = (double)rows[b * width + e] / sqrt(norm) - theirs;
      difference += error * error;
      size += theirs * theirs;
    }
  }
  const double error = sqrt(difference / fmax(size, 1e-30));
  print_message("%s %s: relative error %.2g\n", name, what, error);
  if (!(error <= 2e-5))
    fail_msg("%s %s: relative error %g", name, what, error);
}

static void published_sizes(void **state) {
  (void)state;
  char *path = reference_path("full_size.json");
  json_error_t error;
  if (!path)
    skip();
  json_t *root = json_load_file(path, 0, &error), *entry;
  const char *name;
  assert_true(json_object_size(root) > 1);
  json_object_foreach(root, name, entry) {
    float *rows[2];
    if (!json_is_object(entry))
      continue;
    struct model *model = open_model(name);
    assert_int_equal(parameters_count_elements(&model->parameters, false),
                     json_integer_value(json_object_get(entry, "count")));
    encode(model, rows);
    compare(name, "image features", rows[0], model->config.embed_dim, json_object_get(entry, "image_features"));
    compare(name, "text features", rows[1], model->config.embed_dim, json_object_get(entry, "text_features"));
    model_release(model);
    memory_release(rows[0]);
    memory_release(rows[1]);
  }
  unlink("full_size.safetensors");
  json_decref(root);
  memory_release(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(published_sizes)};
  if (device_open("cpu", 0, &device) != STATUS_OK)
    fatal("%s", error_message());
  const int failed = cmocka_run_group_tests_name("full size", tests, NULL, NULL);
  device_close(device);
  return failed;
}

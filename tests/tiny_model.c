#include "tiny_model.h"
#include "base/memory.h"
#include "base/random.h"

int tiny_columns(const struct clip_config *config, const int32_t *end, int count) {
  int most = config->no_causal_mask ? config->context_length : 0;
  for (int i = 0; i < count; i++)
    most = end[i] > most ? end[i] : most;
  most = (most + 8) / 8 * 8;
  return most < config->context_length ? most : config->context_length;
}

static float *normals(int64_t count, uint64_t seed) {
  const struct random_key key = {seed, 0, RANDOM_TEST, 0};
  float *values = memory_allocate((size_t)count * sizeof *values, "test values");
  for (int64_t i = 0; i < count; i++)
    values[i] = (float)random_normal(&key, (uint64_t)i);
  return values;
}

struct tiny_batch tiny_batch_make(const struct clip_config *config, int count, uint64_t seed) {
  const int context = config->context_length, vocabulary = config->vocab_size;
  const struct random_key key = {seed, 1, RANDOM_TEST, 0};
  struct tiny_batch batch = {.count = count,
                             .images = normals((int64_t)count * 3 * config->image_height * config->image_width, seed),
                             .dimage = normals((int64_t)count * config->embed_dim, seed + 1),
                             .dtext = normals((int64_t)count * config->embed_dim, seed + 2)};
  batch.ids = memory_allocate((size_t)(count * context) * sizeof *batch.ids, "test ids");
  batch.end = memory_allocate((size_t)count * sizeof *batch.end, "test ids");
  for (int i = 0; i < count; i++) {
    const int length = 2 + (int)random_below(&key, (uint64_t)(i * 1000), (uint64_t)(context / 2));
    batch.ids[i * context] = vocabulary - 2;
    for (int t = 1; t < length; t++)
      batch.ids[i * context + t] =
          1 + (int32_t)random_below(&key, (uint64_t)(i * 1000 + t), (uint64_t)(vocabulary - 3));
    batch.ids[i * context + length] = vocabulary - 1;
    batch.end[i] = length;
  }
  batch.tokens = tiny_columns(config, batch.end, count);
  batch.samples = memory_allocate((size_t)count * sizeof *batch.samples, "test samples");
  for (int i = 0; i < count; i++)
    batch.samples[i] = 7 * i + 1000000007;
  return batch;
}

void tiny_batch_drop_patches(struct tiny_batch *batch, int grid, int kept) {
  batch->kept = kept;
  batch->keep = memory_allocate((size_t)(batch->count * kept) * sizeof *batch->keep, "kept patches");
  for (int i = 0; i < batch->count; i++)
    for (int j = 0; j < kept; j++) /* ascending; every second image has its neighbours' */
      batch->keep[i * kept + j] = (int32_t)(j * grid / kept + (kept < grid ? i % 2 : 0));
}

void tiny_batch_release(struct tiny_batch *batch) {
  void *blocks[] = {batch->images, batch->ids, batch->end, batch->dimage, batch->dtext, batch->samples, batch->keep};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    memory_release(blocks[i]);
}

struct model *tiny_model_create(struct device *device, const struct clip_config *config, enum dtype dtype,
                                struct model_switches switches, uint64_t seed, const char *train) {
  struct model *model;
  if (model_create(config, device, dtype, switches, &model) != STATUS_OK ||
      model_set_trainable(model, (const char *[]){train}, 1) != STATUS_OK)
    fatal("%s", error_message());
  parameters_allocate(&model->parameters, true);
  parameters_initialize(&model->parameters, seed);
  return model;
}

static double run_tower(struct model *model, struct tower *tower, const struct tower_input *input,
                        const float *dfeatures, bool gradients, int kept, float *features) {
  struct device *device = model->device;
  const size_t bytes = (size_t)(input->count * model->config.embed_dim) * sizeof(float);
  struct tower_run *run = tower_run_create(model, tower, input->count + 1, gradients, kept);
  float *on_device = device->op->allocate(device, bytes, "features"),
        *gradient = device->op->allocate(device, bytes, "features");
  tower_forward(run, input, on_device);
  device->op->copy_out(device, features, on_device, bytes);
  if (gradients && tower_trains(tower)) {
    device->op->copy_in(device, gradient, dfeatures, bytes);
    tower_backward(run, gradient, NULL);
  }
  tower_run_release(run);
  device->op->release(device, on_device);
  device->op->release(device, gradient);
  double sum = 0;
  for (int64_t i = 0; i < input->count * model->config.embed_dim; i++)
    sum += (double)features[i] * (double)dfeatures[i];
  return sum;
}

double tiny_model_run(struct model *model, const struct tiny_batch *batch, bool gradients, float *image_features,
                      float *text_features) {
  struct device *device = model->device;
  const struct clip_config *config = &model->config;
  const size_t pixels =
      (size_t)batch->count * 3 * (size_t)config->image_height * (size_t)config->image_width * sizeof(float);
  const size_t ids = (size_t)(batch->count * config->context_length) * sizeof(int32_t),
               end = (size_t)batch->count * sizeof(int32_t);
  void *images = device->op->allocate(device, pixels, "images");
  int32_t *device_ids = device->op->allocate(device, ids, "ids"),
          *device_end = device->op->allocate(device, end, "ids");
  device->op->copy_in(device, images, batch->images, pixels);
  device->op->copy_in(device, device_ids, batch->ids, ids);
  device->op->copy_in(device, device_end, batch->end, end);
  int64_t *samples = device->op->allocate(device, (size_t)batch->count * sizeof *samples, "samples");
  int32_t *keep = device->op->allocate(device, (size_t)(batch->count * batch->kept + 1) * sizeof *keep, "kept patches");
  device->op->copy_in(device, samples, batch->samples, (size_t)batch->count * sizeof *samples);
  int64_t *step = device->op->allocate(device, sizeof *step, "step");
  device->op->copy_in(device, step, &(const int64_t){77}, sizeof *step);
  if (batch->kept)
    device->op->copy_in(device, keep, batch->keep, (size_t)(batch->count * batch->kept) * sizeof *keep);
  if (gradients)
    device->op->zero(device, model->parameters.gradient, (size_t)model->parameters.trainable_elements * sizeof(float));
  const struct tower_input image_input = {.count = batch->count,
                                          .images = images,
                                          .image_dtype = DTYPE_F32,
                                          .keep = batch->kept ? keep : NULL,
                                          .samples = samples,
                                          .seed = 5,
                                          .step = step};
  const struct tower_input text_input = {.count = batch->count,
                                         .ids = device_ids,
                                         .end = device_end,
                                         .tokens = batch->tokens,
                                         .samples = samples,
                                         .seed = 5,
                                         .step = step};
  const double loss =
      run_tower(model, &model->vision, &image_input, batch->dimage, gradients, batch->kept, image_features) +
      run_tower(model, &model->text, &text_input, batch->dtext, gradients, 0, text_features);
  device->op->release(device, images);
  device->op->release(device, device_ids);
  device->op->release(device, device_end);
  device->op->release(device, samples);
  device->op->release(device, step);
  device->op->release(device, keep);
  return loss;
}

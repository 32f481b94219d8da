#include "train/warm_up.h"

static void run_once(struct session *session, struct tower_run *run, const struct tower_input *input, float *features,
                     float *dfeatures) {
  const struct parameters *list = &session->model->parameters;
  struct device *device = session->device;
  if (input->samples)
    device->op->zero(device, session->micro[0].dropout_samples, (size_t)input->count * sizeof *input->samples);
  const size_t bytes = (size_t)(input->count * session->model->config.embed_dim) * sizeof(float);
  tower_forward(run, input, features);
  device->op->zero(device, dfeatures, bytes);
  if (tower_run_keeps(run)) {
    tower_backward(run, dfeatures, NULL);
    device->op->zero(device, list->gradient, (size_t)list->trainable_elements * sizeof(float));
  }
}

void warm_up_images(struct session *session, struct tower_run *run, float *features, float *dfeatures) {
  const struct clip_config *config = &session->model->config;
  struct micro_batch *micro = &session->micro[0];
  struct device *device = session->device;
  micro->count = session->batch;
  device->op->zero(device, micro->images,
                   (size_t)session->batch * (size_t)config->image_height * (size_t)config->image_width * 3);
  if (micro->keep)
    device->op->zero(device, micro->keep, (size_t)(session->batch * session->kept_patches) * sizeof *micro->keep);
  const struct tower_input input = micro_batch_images(micro);
  run_once(session, run, &input, features, dfeatures);
}

/* The lengths that session_text_columns can give. */
void warm_up_texts(struct session *session, struct tower_run *run, float *features, float *dfeatures) {
  const int context = session->model->config.context_length;
  struct micro_batch *micro = &session->micro[0];
  struct device *device = session->device;
  const bool whole = micro->ids != NULL;
  micro->count = session->batch;
  device->op->zero(device, whole ? micro->ids : micro->short_ids,
                   (size_t)(session->batch * context) * sizeof *micro->ids);
  device->op->zero(device, whole ? micro->end : micro->short_end, (size_t)session->batch * sizeof *micro->end);
  struct tower_input input = micro_batch_texts(micro, !whole);
  for (int32_t end = 0; end < context; end += TEXT_COLUMN_STEP) {
    input.tokens = session_text_columns(session, &end, 1);
    run_once(session, run, &input, features, dfeatures);
  }
}

#include "train/warm_up.h"
#include "comm/comm.h"
#include "train/choices.h"

/* Where the device chooses how to multiply, rank 0 goes first and the others follow it. */
void warm_up_in_turn(struct session *session, void (*run)(void *context), void *context) {
  const bool follows = session->device->choices && comm_rank() != 0;
  if (!follows)
    run(context);
  choices_share(session);
  if (follows)
    run(context);
}

struct pass {
  struct session *session;
  struct tower_run *run;
  const struct tower_input *input;
  float *features, *dfeatures;
};

static void run_once(void *context) {
  const struct pass *pass = context;
  struct session *session = pass->session;
  const struct parameters *list = &session->model->parameters;
  struct device *device = session->device;
  const size_t count = (size_t)pass->input->count;
  tower_forward(pass->run, pass->input, pass->features);
  device->op->zero(device, pass->dfeatures, count * (size_t)session->model->config.embed_dim * sizeof(float));
  if (tower_run_keeps(pass->run)) {
    tower_backward(pass->run, pass->dfeatures, NULL);
    device->op->zero(device, list->gradient, (size_t)list->trainable_elements * sizeof(float));
  }
}

void warm_up_images(struct session *session, struct tower_run *run, float *features, float *dfeatures) {
  session_blank_micro_batch(session, &session->micro[0]);
  const struct tower_input input = micro_batch_images(&session->micro[0]);
  warm_up_in_turn(session, run_once, &(struct pass){session, run, &input, features, dfeatures});
}

/* The lengths that session_text_columns can give. */
void warm_up_texts(struct session *session, struct tower_run *run, float *features, float *dfeatures) {
  const int context = session->model->config.context_length;
  const struct micro_batch *micro = &session->micro[0];
  session_blank_micro_batch(session, &session->micro[0]);
  struct tower_input input = micro_batch_texts(micro, micro->on_device.ids == NULL);
  for (int32_t end = 0; end < context; end += TEXT_COLUMN_STEP) {
    input.tokens = session_text_columns(session, &end, 1);
    warm_up_in_turn(session, run_once, &(struct pass){session, run, &input, features, dfeatures});
  }
}

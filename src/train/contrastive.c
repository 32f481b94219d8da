/* The CLIP loss over the global batch. With accumulation every micro-batch is encoded once to have its features, the
 * loss and its feature gradients are computed once over all of them, and each micro-batch is encoded again, to the same
 * bits (parameters and random numbers are those of the step), and takes its rows of them: exactly the gradient of the
 * big batch. */
#include "base/memory.h"
#include "comm/comm.h"
#include "report/report.h"
#include "train/objective.h"
#include "train/record.h"
#include "train/warm_up.h"

enum { LONG, SHORT, TEXTS };

/* One tower's side of the loss: unit, norm and dunit of all local rows [accumulation * batch], raw and draw of a
 * micro-batch's [batch], `all` of all ranks' [global], rank by rank, which are `unit` on one; [.., E] but for the norm.
 */
struct side {
  struct tower_run *run; /* NULL: not used */
  bool trains;
  float *raw, *unit, *norm, *all, *dunit, *draw;
};
struct contrastive_state {
  struct device *device;
  struct side image, text[TEXTS];
  double weight[TEXTS];
  float *normalisers;  /* [2,global] */
  float *extra, *host; /* second contribution to the image gradient, as dunit; all ranks' rows on the host, where there
                          are several */
};

static size_t row_bytes(const struct session *session) {
  return (size_t)session->model->config.embed_dim * sizeof(float);
}

static int64_t local_rows(const struct session *session) {
  return session->accumulation * session->batch;
}

static float *take_rows(struct session *session, int64_t rows, const char *label) {
  return session->device->op->allocate(session->device, (size_t)rows * row_bytes(session), label);
}

static void open_side(struct session *session, struct side *side, struct tower *tower, int kept) {
  const int64_t local = local_rows(session);
  side->trains = tower_trains(tower) || !session->settings->debug.skip_frozen;
  side->run = tower_run_create(session->model, tower, session->batch, side->trains, kept);
  side->raw = take_rows(session, session->batch, "features");
  side->unit = take_rows(session, local, "unit features");
  side->norm = session->device->op->allocate(session->device, (size_t)local * sizeof(float), "feature norms");
  side->all = comm_size() == 1 ? side->unit : take_rows(session, session->global_batch, "features of all ranks");
  side->dunit = take_rows(session, local, "feature gradients");
  side->draw = take_rows(session, session->batch, "feature gradients");
  (tower->vision ? warm_up_images : warm_up_texts)(session, side->run, side->raw, side->draw);
}

static void close_side(struct device *device, struct side *side) {
  float *blocks[] = {side->raw, side->unit, side->norm, side->dunit, side->draw};
  if (!side->run)
    return;
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    device->op->release(device, blocks[i]);
  if (side->all != side->unit)
    device->op->release(device, side->all);
  tower_run_release(side->run);
}

/* Stretches of the step (record.h): of the image's side, behind which come those of the texts; of either text. */
enum { ENCODE = 1, BACKWARD = ENCODE + 1 + TEXTS, NORMALISERS = BACKWARD + 1 + TEXTS, LOSS = NORMALISERS + TEXTS };

static void encode(struct session *session, struct side *side, const struct tower_input *input,
                   const struct record_key *key) {
  const int64_t width = session->model->config.embed_dim, row = key->place * session->batch;
  if (session_record(session, key, true)) {
    tower_replayed(side->run, input);
    return;
  }
  tower_forward(side->run, input, side->raw);
  session->device->op->normalize(session->device, &(struct normalize){.rows = input->count,
                                                                      .width = width,
                                                                      .x = side->raw,
                                                                      .y = side->unit + row * width,
                                                                      .norm = side->norm + row});
  session_submit(session);
}

static void encode_all(struct contrastive_state *state, struct session *session, const struct micro_batch *micro,
                       int64_t a) {
  const struct tower_input images = micro_batch_images(micro);
  encode(session, &state->image, &images, &(struct record_key){ENCODE, micro, a, 0});
  for (int t = 0; t < TEXTS; t++)
    if (state->text[t].run) {
      const struct tower_input texts = micro_batch_texts(micro, t == SHORT);
      encode(session, &state->text[t], &texts, &(struct record_key){ENCODE + 1 + t, micro, a, texts.tokens});
    }
}

static void gather(struct contrastive_state *state, struct session *session, struct side *side) {
  const size_t bytes = (size_t)local_rows(session) * row_bytes(session);
  if (comm_size() > 1)
    ranks_gather(session->device, session->ranks, side->unit, side->all, bytes, state->host);
}

static bool is_second(const struct contrastive_state *state, int t) {
  return t == SHORT && state->text[LONG].run;
}

/* Those that this rank has made, to all. */
static void gather_normalisers(struct contrastive_state *state, struct session *session) {
  const size_t bytes = (size_t)local_rows(session) * sizeof(float);
  if (comm_size() == 1)
    return;
  for (int side = 0; side < 2; side++) {
    float *all = state->normalisers + side * session->global_batch;
    ranks_gather(session->device, session->ranks, all + comm_rank() * local_rows(session), all, bytes, state->host);
  }
}

/* Gradients of features that no tower wants are left out. The second text's of the images have a place of their own. */
static struct contrastive loss_call(const struct contrastive_state *state, const struct session *session, int t) {
  const struct parameter *scale = session->model->logit_scale;
  const struct side *image = &state->image, *text = &state->text[t];
  float *dimages = is_second(state, t) ? state->extra : image->dunit;
  return (struct contrastive){.global = session->global_batch,
                              .width = session->model->config.embed_dim,
                              .first = comm_rank() * local_rows(session),
                              .count = local_rows(session),
                              .dtype = session->dtype,
                              .weight = state->weight[t],
                              .images = image->all,
                              .texts = text->all,
                              .logit_scale = scale->master,
                              .normalisers = state->normalisers,
                              .loss = session->loss,
                              .dimages = image->trains ? dimages : NULL,
                              .dtexts = text->trains ? text->dunit : NULL,
                              .dlogit_scale = scale->gradient};
}

static void find_normalisers(struct contrastive_state *state, struct session *session, int t) {
  if (session_record(session, &(struct record_key){NORMALISERS + t, NULL, 0, 0}, true))
    return;
  const struct contrastive call = loss_call(state, session, t);
  session->device->op->contrastive_normalisers(session->device, &call);
  session_submit(session);
}

static void add_loss(struct contrastive_state *state, struct session *session, int t) {
  if (session_record(session, &(struct record_key){LOSS + t, NULL, 0, 0}, true))
    return;
  const struct contrastive call = loss_call(state, session, t);
  session->device->op->contrastive(session->device, &call);
  if (is_second(state, t) && state->image.trains)
    session->device->op->add(session->device, state->image.dunit, state->extra, 1, call.count * call.width);
  session_submit(session);
}

struct loss_pass {
  struct contrastive_state *state;
  struct session *session;
};

/* The loss of zeros, and no trace of it; nothing is exchanged, since ranks come here one after the other. */
static void run_loss_once(void *context) {
  const struct loss_pass *pass = context;
  struct contrastive_state *state = pass->state;
  struct session *session = pass->session;
  struct device *device = session->device;
  struct parameter *scale = session->model->logit_scale;
  const size_t bytes = (size_t)session->global_batch * row_bytes(session);
  device->op->zero(device, state->image.all, bytes);
  device->op->zero(device, state->normalisers, 2 * (size_t)session->global_batch * sizeof *state->normalisers);
  for (int t = 0; t < TEXTS; t++)
    if (state->text[t].run) {
      device->op->zero(device, state->text[t].all, bytes);
      find_normalisers(state, session, t);
      add_loss(state, session, t);
    }
  device->op->zero(device, session->loss, sizeof *session->loss);
  if (scale->gradient)
    device->op->zero(device, scale->gradient, sizeof(float));
}

static void backward(struct session *session, struct side *side, const struct record_key *key,
                     const struct gradient_listener *listener) {
  const int64_t width = session->model->config.embed_dim, row = key->place * session->batch;
  if (!side->run || !side->trains || session_record(session, key, !listener || session_records_last()))
    return;
  session->device->op->normalize_backward(session->device, &(struct normalize){.rows = session->batch,
                                                                               .width = width,
                                                                               .y = side->unit + row * width,
                                                                               .norm = side->norm + row,
                                                                               .dy = side->dunit + row * width,
                                                                               .dx = side->draw});
  tower_backward(side->run, side->draw, listener);
  session_submit(session);
}

/* The text tower's gradients are complete after its last use in the last micro-batch. */
static void backward_all(struct contrastive_state *state, struct session *session, const struct micro_batch *micro,
                         int64_t a, const struct gradient_listener *last) {
  const int final_text = state->text[SHORT].run ? SHORT : LONG;
  for (int t = 0; t < TEXTS; t++) {
    const int columns = t == SHORT ? micro->short_tokens : micro->tokens;
    backward(session, &state->text[t], &(struct record_key){BACKWARD + 1 + t, micro, a, columns},
             t == final_text ? last : NULL);
  }
  backward(session, &state->image, &(struct record_key){BACKWARD, micro, a, 0}, last);
}

/* open_clip computes the loss anew with each micro-batch, so its logit_scale gets the gradient that often. */
static void multiply_scale_gradient(struct session *session, float *gradient) {
  session->device->op->add(session->device, gradient, gradient, (double)(session->accumulation - 1), 1);
}

static void gradients(void *opaque, struct session *session, struct reducer *reducer, int64_t step,
                      struct step_timing *timing) {
  struct contrastive_state *state = opaque;
  struct gradient_listener listener = reducer_listener(reducer);
  for (int64_t a = 0; a < session->accumulation; a++) {
    encode_all(state, session, session_fetch(session, step, a, &timing->waiting_seconds), a);
    session_fetch_ahead(session, step, a + 1);
  }
  session->device->op->range_begin(session->device, "loss");
  gather(state, session, &state->image);
  for (int t = 0; t < TEXTS; t++)
    if (state->text[t].run) {
      gather(state, session, &state->text[t]);
      find_normalisers(state, session, t);
      gather_normalisers(state, session);
      add_loss(state, session, t);
    }
  session->device->op->range_end(session->device);
  for (int64_t a = 0; a < session->accumulation; a++) {
    const bool last = a + 1 == session->accumulation;
    if (session->accumulation > 1)
      encode_all(state, session, session_micro_batch(session, step, a), a);
    if (last) {
      reducer_begin(reducer);
      if (session->model->logit_scale->gradient && session->settings->parity.undivided_accumulation)
        multiply_scale_gradient(session, session->model->logit_scale->gradient);
      if (session->model->logit_scale->gradient)
        listener.done(listener.context, session->model->logit_scale);
    }
    backward_all(state, session, session_micro_batch(session, step, a), a, last ? &listener : NULL);
  }
}

static void close_state(void *opaque) {
  struct contrastive_state *state = opaque;
  struct device *device = state->device;
  device->op->release(device, state->extra);
  device->op->release(device, state->normalisers);
  memory_release(state->host);
  for (int t = 0; t < TEXTS; t++)
    close_side(device, &state->text[t]);
  close_side(device, &state->image);
  memory_release(state);
}

size_t objective_contrastive_bytes(struct session *session) {
  struct model *model = session->model;
  const int texts = (session->settings->loss.long_weight > 0) + (session->settings->loss.short_weight > 0);
  const int64_t local = local_rows(session);
  const size_t features =
      (size_t)(2 * local + 2 * (int64_t)session->batch + (comm_size() > 1 ? session->global_batch : 0));
  return ((size_t)(1 + texts) * features + (size_t)(texts == TEXTS ? local : 0)) * row_bytes(session) +
         tower_run_bytes(model, &model->vision, session->batch, tower_trains(&model->vision), session->kept_patches) +
         (size_t)texts * tower_run_bytes(model, &model->text, session->batch, tower_trains(&model->text), 0);
}

enum status objective_open_contrastive(struct session *session, struct objective *objective) {
  const struct loss_settings *loss = &session->settings->loss;
  if (loss->long_weight <= 0 && loss->short_weight <= 0)
    return error_set(STATUS_INPUT, "loss.long_weight and loss.short_weight are both 0: nothing would be trained");
  struct contrastive_state *state = memory_allocate(sizeof *state, "contrastive loss");
  state->device = session->device;
  state->weight[LONG] = loss->long_weight;
  state->weight[SHORT] = loss->short_weight;
  state->normalisers = session->device->op->allocate(
      session->device, 2 * (size_t)session->global_batch * sizeof *state->normalisers, "normalisers of the loss");
  if (loss->long_weight > 0 && loss->short_weight > 0)
    state->extra = take_rows(session, local_rows(session), "feature gradients");
  if (comm_size() > 1)
    state->host = memory_allocate((size_t)session->global_batch * row_bytes(session), "features being gathered");
  open_side(session, &state->image, &session->model->vision, session->kept_patches);
  for (int t = 0; t < TEXTS; t++)
    if (state->weight[t] > 0)
      open_side(session, &state->text[t], &session->model->text, 0);
  warm_up_in_turn(session, run_loss_once, &(struct loss_pass){state, session});
  *objective = (struct objective){state, gradients, close_state, 1};
  return STATUS_OK;
}

/* Training through the objectives, the reducer and the optimiser of the program, on batches that peers trained on:
 * trajectory CLIP-OR-STUDENT FOLDER CONFIG WEIGHTS NUMBERS ACTIVATION ACCUMULATION, on any number of ranks. Losses step
 * by step, and each weight after the steps within 1 % of the distance that it moved. Exit status 77: the numbers are
 * absent.
 *
 * Micro-batches come from this file instead of the loader: it defines what train/batch.c does. */
#include "base/memory.h"
#include "comm/comm.h"
#include "network.h"
#include "report/report.h"
#include "train/objective.h"
#include "train/optimizer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct feed {
  const float *images; /* [steps, batch, 3, h, w] */
  const int32_t *ids;  /* [steps, batch, context]; NULL for the student */
  int64_t pixels;
  int context;
} feed;

int session_text_columns(const struct session *session, const int32_t *end, int count) {
  (void)end, (void)count;
  return session->model->config.context_length;
}

struct micro_batch *session_micro_batch(struct session *session, int64_t step, int64_t a) {
  (void)step;
  return &session->micro[a];
}

/* Micro-batch a of rank r is at (a * ranks + r) * batch of the step's samples. */
struct micro_batch *session_fetch(struct session *session, int64_t step, int64_t a, double *waited_seconds) {
  struct device *device = session->device;
  struct micro_batch *micro = &session->micro[a];
  const int64_t first = step * session->global_batch + (a * comm_size() + comm_rank()) * session->batch;
  (void)waited_seconds;
  micro->count = session->batch;
  device->op->copy_in(device, micro->images, feed.images + first * feed.pixels,
                      (size_t)(session->batch * feed.pixels) * sizeof(float));
  if (!feed.ids)
    return micro;
  int32_t end[64];
  const int32_t *ids = feed.ids + first * feed.context;
  for (int i = 0; i < session->batch; i++) {
    end[i] = 0;
    for (int t = 1; t < feed.context; t++)
      if (ids[i * feed.context + t] > ids[i * feed.context + end[i]])
        end[i] = t;
  }
  micro->tokens = feed.context;
  device->op->copy_in(device, micro->on_device.ids, ids, (size_t)(session->batch * feed.context) * sizeof *ids);
  device->op->copy_in(device, micro->on_device.end, end, (size_t)session->batch * sizeof *end);
  return micro;
}

void session_fetch_ahead(struct session *session, int64_t step, int64_t a) {
  (void)session, (void)step, (void)a;
}

/* The numbers that a first pass reads are any that are valid. */
void session_blank_micro_batch(struct session *session, struct micro_batch *micro) {
  struct device *device = session->device;
  micro->count = session->batch;
  device->op->zero(device, micro->images, (size_t)(session->batch * feed.pixels) * sizeof(float));
  device->op->zero(device, micro->on_device.ids, (size_t)(session->batch * feed.context) * sizeof(int32_t));
  device->op->zero(device, micro->on_device.end, (size_t)session->batch * sizeof(int32_t));
}

struct tower_input micro_batch_images(const struct micro_batch *micro) {
  return (struct tower_input){.count = micro->count, .images = micro->images, .image_dtype = DTYPE_F32};
}

struct tower_input micro_batch_texts(const struct micro_batch *micro, bool short_captions) {
  (void)short_captions;
  return (struct tower_input){
      .count = micro->count, .ids = micro->on_device.ids, .end = micro->on_device.end, .tokens = micro->tokens};
}

/* ---- a session of nothing but models and micro-batches */

struct command {
  bool student;
  char *folder, *config, *weights, *numbers;
  enum activation activation;
  int64_t accumulation;
};

static char *join(const struct command *command, const char *name) {
  return text_format("%s/%s", command->folder, name);
}

static struct model *open_model(struct session *session, const struct command *command, const char *config,
                                const char *weights, const char *train) {
  char *config_name = join(command, config), *weights_name = join(command, weights);
  struct model *model =
      fixture_model(session->device, config_name, weights_name, command->activation, train, DTYPE_F32);
  memory_release(config_name);
  memory_release(weights_name);
  return model;
}

static void open_micro_batches(struct session *session) {
  struct device *device = session->device;
  const size_t batch = (size_t)session->batch;
  session->micro = memory_allocate((size_t)session->accumulation * sizeof *session->micro, "micro-batches");
  for (int64_t a = 0; a < session->accumulation; a++) {
    session->micro[a].images = device->op->allocate(device, batch * (size_t)feed.pixels * sizeof(float), "images");
    session->micro[a].on_device.ids =
        device->op->allocate(device, batch * (size_t)feed.context * sizeof(int32_t), "ids");
    session->micro[a].on_device.end = device->op->allocate(device, batch * sizeof(int32_t), "ids");
  }
}

static struct settings settings;

static enum status open_session(struct session *session, const struct command *command) {
  settings.loss.long_weight = 1;
  settings.loss.distill = "cosine";
  settings.teacher.cache = "";
  settings.debug.skip_frozen = settings.debug.share_prefix = true;
  *session = (struct session){.settings = &settings, .dtype = DTYPE_F32, .accumulation = command->accumulation};
  TRY(device_open("cpu", 1, &session->device));
  session->model = open_model(session, command, command->config, command->weights, command->student ? "memory" : "all");
  if (command->student)
    session->teacher = open_model(session, command,
                                  strstr(command->folder, "parity") ? "../clip/open_clip_config.json"
                                                                    : "../clip_b/open_clip_config.json",
                                  "teacher.safetensors", "all");
  session->loss = session->device->op->allocate(session->device, (1 + ADAMW_SQUARES) * sizeof *session->loss, "loss");
  return STATUS_OK;
}

/* ---- the steps */

static bool check_loss(struct session *session, int64_t step, double wanted) {
  double loss;
  session->device->op->copy_out(session->device, &loss, session->loss, sizeof loss);
  comm_all_reduce(&loss, 1, DTYPE_F64, COMM_SUM);
  if (fabs(loss - wanted) <= 1e-4 * fabs(wanted))
    return true;
  fprintf(stderr, "step %lld: loss %.9g, reference %.9g\n", (long long)step, loss, wanted);
  return false;
}

static bool run_steps(struct session *session, const struct command *command, const struct safetensors *file,
                      int64_t steps) {
  struct optimizer optimizer = {.squares = session->loss + 1,
                                .beta1 = 0.9,
                                .beta2 = 0.98,
                                .eps = 1e-6,
                                .weight_decay = command->student ? 0.1 : 0.2,
                                .clip_norm = command->student ? 0 : 1};
  float *losses = fixture_floats(file, command->student ? "steps.loss" : "out.loss", NULL),
        *rates = command->student ? NULL : fixture_floats(file, "in.lr", NULL);
  struct network network = {.model = session->model, .device = session->device};
  float *start = network_masters(&network);
  struct reducer *reducer = reducer_open(session->model, RANKS_ON_HOST, 4096, true);
  struct objective objective;
  struct step_timing timing = {0};
  optimizer_open(&optimizer, session->model);
  bool good = (command->student ? objective_open_distill(session, &objective)
                                : objective_open_contrastive(session, &objective)) == STATUS_OK;
  for (int64_t step = 0; step < steps && good; step++) {
    session->device->op->zero(session->device, session->loss, sizeof *session->loss);
    objective.gradients(objective.state, session, reducer, step, &timing);
    reducer_finish(reducer);
    good = check_loss(session, step, (double)losses[step]);
    optimizer_prepare(&optimizer, step, rates ? (double)rates[step] : 5e-3);
    optimizer_step(&optimizer, false);
  }
  if (good)
    network_expect_moved(&network, start, file, command->student ? "steps.after." : "after.");
  objective.close(objective.state);
  optimizer_close(&optimizer);
  reducer_close(reducer);
  memory_release(start);
  memory_release(losses);
  memory_release(rates);
  return good;
}

/* The gradients of the first step, of every trainable parameter. */
static float *first_gradients(struct session *session, const struct command *command, bool undivided) {
  const struct parameters *list = &session->model->parameters;
  struct reducer *reducer = reducer_open(session->model, RANKS_ON_HOST, 4096, true);
  struct objective objective;
  struct step_timing timing = {0};
  settings.parity.undivided_accumulation = undivided;
  if ((command->student ? objective_open_distill(session, &objective)
                        : objective_open_contrastive(session, &objective)) != STATUS_OK)
    fatal("%s", error_message());
  session->device->op->zero(session->device, session->loss, sizeof *session->loss);
  session->device->op->zero(session->device, list->gradient, (size_t)list->trainable_elements * sizeof(float));
  objective.gradients(objective.state, session, reducer, 0, &timing);
  reducer_finish(reducer);
  objective.close(objective.state);
  reducer_close(reducer);
  return host_rows(session->device, list->gradient, list->trainable_elements);
}

/* What parity.undivided_accumulation multiplies by the number of micro-batches: every gradient of the student, and of
 * the contrastive loss that of logit_scale alone. */
static bool check_undivided(struct session *session, const struct command *command) {
  const struct parameters *list = &session->model->parameters;
  float *divided = first_gradients(session, command, false), *undivided = first_gradients(session, command, true);
  bool good = true;
  for (int i = 0; i < list->count; i++) {
    const struct parameter *parameter = list->items[i];
    if (!parameter->trainable)
      continue;
    const bool multiplied = command->student || parameter == session->model->logit_scale;
    for (int64_t e = 0; e < parameter->count; e++)
      divided[parameter->offset + e] *= multiplied ? (float)session->accumulation : 1;
    const double error =
        relative_distance(undivided + parameter->offset, divided + parameter->offset, parameter->count);
    if (!(error <= 1e-5)) {
      fprintf(stderr, "%s: undivided gradient is off by %g\n", parameter->name, error);
      good = false;
    }
  }
  settings.parity.undivided_accumulation = false;
  session->device->op->zero(session->device, list->gradient, (size_t)list->trainable_elements * sizeof(float));
  memory_release(divided);
  memory_release(undivided);
  return good;
}

static int run(const struct command *command) {
  char *name = join(command, command->numbers), *path = fixture_path(name);
  struct session session;
  if (!path)
    return 77;
  struct safetensors file = fixture_open(name);
  const struct tensor_entry *images = safetensors_find(&file, command->student ? "steps.images" : "in.images");
  if (open_session(&session, command) != STATUS_OK)
    fatal("%s", error_message());
  session.global_batch = images->shape[1];
  session.batch = (int)(session.global_batch / (session.accumulation * comm_size()));
  if (session.batch * session.accumulation * comm_size() != session.global_batch)
    fatal("%lld samples cannot be dealt to %d ranks and %lld micro-batches", (long long)session.global_batch,
          comm_size(), (long long)session.accumulation);
  feed = (struct feed){.images = fixture_floats(&file, images->name, NULL),
                       .ids = command->student ? NULL : fixture_ids(&file, "in.tokens"),
                       .pixels = images->shape[2] * images->shape[3] * images->shape[4],
                       .context = session.model->config.context_length};
  open_micro_batches(&session);
  const bool good = check_undivided(&session, command) && run_steps(&session, command, &file, images->shape[0]);
  memory_release(name);
  memory_release(path);
  safetensors_close(&file);
  return good ? 0 : 1;
}

int main(int argument_count, char **arguments) {
  if (comm_start(&argument_count, &arguments) != STATUS_OK || argument_count != 8)
    return 2;
  const struct command command = {.student = strcmp(arguments[1], "student") == 0,
                                  .folder = arguments[2],
                                  .config = arguments[3],
                                  .weights = arguments[4],
                                  .numbers = arguments[5],
                                  .activation =
                                      strcmp(arguments[6], "quickgelu") == 0 ? ACTIVATION_QUICKGELU : ACTIVATION_GELU,
                                  .accumulation = atoi(arguments[7])};
  const int status = run(&command);
  comm_stop();
  return status;
}

/* Distillation: one forward of teacher and student per micro-batch. What both share (embedding and blocks below the
 * first memory, frozen and equal) is computed once. */
#include "base/memory.h"
#include "comm/comm.h"
#include "report/report.h"
#include "train/objective.h"
#include "train/record.h"
#include "train/teacher_cache.h"
#include "train/warm_up.h"
#include <stdio.h>
#include <string.h>

struct distill_state {
  struct device *device;
  enum distill_loss kind;
  struct tower_run *student, *teacher;
  int shared; /* sublayers of the common prefix */
  bool share;
  float *teacher_features, *student_features, *dstudent; /* device [batch,E] */
  float *host_features;
  struct teacher_cache *cache;
  int64_t cached, seen; /* samples of this rank whose features the cache had; all */
};

static enum distill_loss kind_of(const char *name) {
  if (strcmp(name, "mse") == 0)
    return DISTILL_MSE;
  return strcmp(name, "l2") == 0 ? DISTILL_L2 : DISTILL_COSINE;
}

static bool same_values(struct session *session, const struct parameter *a, const struct parameter *b) {
  const size_t bytes = a ? (size_t)a->count * sizeof(float) : 0;
  if (!a || !b)
    return a == b;
  if (a->count != b->count || a->trainable)
    return false;
  float *left = memory_allocate(bytes, "prefix"), *right = memory_allocate(bytes, "prefix");
  parameter_get(&session->model->parameters, a, left);
  parameter_get(&session->teacher->parameters, b, right);
  bool same = memcmp(left, right, bytes) == 0;
  memory_release(left);
  memory_release(right);
  return same;
}

/* The prefix may be shared when everything below sublayer `until` is frozen and equal to the teacher's, to the bit. */
static bool prefix_is_equal(struct session *session, int until) {
  const struct parameters *list = &session->model->parameters;
  const struct clip_config *a = &session->model->config, *b = &session->teacher->config;
  if (a->vision.width != b->vision.width || a->vision.heads != b->vision.heads || a->activation != b->activation ||
      a->patch != b->patch || a->image_height != b->image_height || a->image_width != b->image_width ||
      memcmp(a->image_mean, b->image_mean, sizeof a->image_mean) != 0 ||
      memcmp(a->image_std, b->image_std, sizeof a->image_std) != 0)
    return false;
  for (int i = 0; i < list->count; i++) {
    const struct parameter *parameter = list->items[i];
    int block = -1, half = 0;
    if (!text_starts_with(parameter->name, "visual.") || text_starts_with(parameter->name, "visual.ln_post") ||
        text_starts_with(parameter->name, "visual.proj"))
      continue;
    if (sscanf(parameter->name, "visual.transformer.resblocks.%d.", &block) == 1)
      half = strstr(parameter->name, ".attn.") || strstr(parameter->name, ".ln_1.") || strstr(parameter->name, ".ls_1.")
                 ? 0
                 : 1;
    if (2 * block + half >= until)
      continue;
    if (!same_values(session, parameter, parameters_find(&session->teacher->parameters, parameter->name)))
      return false;
  }
  return true;
}

/* The teacher's features of a micro-batch: from the cache when all are there. */
static bool read_cached(struct distill_state *state, struct session *session, const struct micro_batch *micro) {
  const int64_t width = session->model->config.embed_dim;
  if (!state->cache)
    return false;
  state->seen += micro->count;
  for (int i = 0; i < micro->count; i++)
    if (!teacher_cache_read(state->cache, micro->on_host.samples[i], state->host_features + i * width))
      return false;
  state->cached += micro->count;
  session->device->op->copy_in(session->device, state->teacher_features, state->host_features,
                               (size_t)(micro->count * width) * sizeof(float));
  return true;
}

static void write_cached(struct distill_state *state, struct session *session, const struct micro_batch *micro) {
  const int64_t width = session->model->config.embed_dim;
  if (!state->cache)
    return;
  session->device->op->copy_out(session->device, state->host_features, state->teacher_features,
                                (size_t)(micro->count * width) * sizeof(float));
  for (int i = 0; i < micro->count; i++)
    if (teacher_cache_write(state->cache, micro->on_host.samples[i], state->host_features + i * width) != STATUS_OK)
      fatal("%s", error_message());
}

static void forward(struct distill_state *state, struct session *session, const struct micro_batch *micro) {
  const struct tower_input images = micro_batch_images(micro);
  struct device *device = session->device;
  if (read_cached(state, session, micro)) {
    tower_forward(state->student, &images, state->student_features);
    return;
  }
  device->op->range_begin(device, "forward teacher");
  tower_begin(state->student, &images);
  if (state->share) {
    tower_advance(state->student, state->shared);
    tower_adopt(state->teacher, state->student);
  } else {
    tower_begin(state->teacher, &images);
  }
  tower_advance(state->teacher, session->teacher->vision.count);
  tower_finish(state->teacher, state->teacher_features);
  device->op->range_end(device);
  device->op->range_begin(device, "forward student");
  tower_advance(state->student, session->model->vision.count);
  tower_finish(state->student, state->student_features);
  device->op->range_end(device);
  write_cached(state, session, micro);
}

/* The thesis adds the gradients of whole micro-batch means; the loss that is reported stays the mean. */
static double gradient_factor(const struct session *session) {
  return session->settings->parity.undivided_accumulation ? (double)session->accumulation : 1;
}

static void forward_to_loss(struct distill_state *state, struct session *session, const struct micro_batch *micro) {
  struct device *device = session->device;
  forward(state, session, micro);
  device->op->range_begin(device, "loss");
  device->op->distill(device, &(struct distill){.batch = micro->count,
                                                .width = session->model->config.embed_dim,
                                                .kind = state->kind,
                                                .scale = gradient_factor(session) / (double)session->global_batch,
                                                .teacher = state->teacher_features,
                                                .student = state->student_features,
                                                .loss = session->loss,
                                                .dstudent = state->dstudent});
  device->op->range_end(device);
}

/* A cache of the teacher's features works on the host, so that forward is not recorded. */
static void gradients(void *opaque, struct session *session, struct reducer *reducer, int64_t step,
                      struct step_timing *timing) {
  enum { FORWARD = 1, BACKWARD };
  struct distill_state *state = opaque;
  struct gradient_listener listener = reducer_listener(reducer);
  for (int64_t a = 0; a < session->accumulation; a++) {
    const bool last = a + 1 == session->accumulation;
    const struct micro_batch *micro = session_fetch(session, step, a, &timing->waiting_seconds);
    const struct tower_input images = micro_batch_images(micro);
    if (session_record(session, &(struct record_key){FORWARD, micro, 0, 0}, !state->cache)) {
      tower_replayed(state->student, &images);
    } else {
      forward_to_loss(state, session, micro);
      session_submit(session);
    }
    if (last)
      reducer_begin(reducer);
    if (!session_record(session, &(struct record_key){BACKWARD, micro, 0, 0}, !last || session_records_last())) {
      tower_backward(state->student, state->dstudent, last ? &listener : NULL);
      session_submit(session);
    }
    session_fetch_ahead(session, step, a + 1);
  }
}

static void close_state(void *opaque) {
  struct distill_state *state = opaque;
  struct device *device = state->device;
  device->op->release(device, state->teacher_features);
  device->op->release(device, state->student_features);
  device->op->release(device, state->dstudent);
  tower_run_release(state->student);
  tower_run_release(state->teacher);
  if (state->cache)
    report_message("teacher.cache: %lld of %lld features were there", (long long)state->cached, (long long)state->seen);
  teacher_cache_close(state->cache);
  memory_release(state->host_features);
  memory_release(state);
}

size_t objective_distill_bytes(struct session *session) {
  return tower_run_bytes(session->model, &session->model->vision, session->batch, true, session->kept_patches) +
         tower_run_bytes(session->teacher, &session->teacher->vision, session->batch, false, session->kept_patches);
}

/* What the teacher's features are a function of: data, transform, the teacher's own weights and shape, precision. */
static char *cache_key(const struct session *session) {
  const struct data_settings *data = &session->settings->data;
  struct text config = {0};
  config_write(&session->teacher->config, &config);
  char *key = text_format(
      "data %016llx\naugment %s scale %g to %g ratio %g to %g seed %lld exif %d megapixels %g\nweights %08x\n"
      "precision %s\n%s",
      (unsigned long long)source_fingerprint(session->train), data->augment, data->crop_scale.items[0],
      data->crop_scale.items[1], data->crop_ratio.items[0], data->crop_ratio.items[1],
      (long long)session->settings->run.seed, data->exif_orientation, data->max_image_megapixels,
      parameters_checksum(&session->teacher->parameters, "visual."), session->settings->run.precision, config.data);
  text_release(&config);
  if (data->color_jitter_prob > 0 || data->gray_scale_prob > 0) {
    char *plain = key;
    key = text_format("%s\ncolor %g of %g %g %g %g gray %g", plain, data->color_jitter_prob,
                      data->color_jitter.count > 0 ? data->color_jitter.items[0] : 0,
                      data->color_jitter.count > 1 ? data->color_jitter.items[1] : 0,
                      data->color_jitter.count > 2 ? data->color_jitter.items[2] : 0,
                      data->color_jitter.count > 3 ? data->color_jitter.items[3] : 0, data->gray_scale_prob);
    memory_release(plain);
  }
  return key;
}

static enum status open_cache(struct session *session, struct distill_state *state) {
  const struct settings *settings = session->settings;
  const struct data_settings *data = &settings->data;
  if (!settings->teacher.cache[0])
    return STATUS_OK;
  if (strcmp(data->augment, "crop") == 0)
    return error_set(
        STATUS_INPUT,
        "teacher.cache needs a crop that depends on the sample alone: set data.augment to 'crop_fixed' or 'none'");
  if (session->kept_patches)
    return error_set(
        STATUS_INPUT,
        "teacher.cache cannot be used with model.patch_dropout: the teacher would see other patches every time");
  char *key = cache_key(session);
  enum status status = teacher_cache_open(settings->teacher.cache, key, source_count(session->train),
                                          session->model->config.embed_dim, &state->cache);
  memory_release(key);
  return status;
}

enum status objective_open_distill(struct session *session, struct objective *objective) {
  struct distill_state *state = memory_allocate(sizeof *state, "distillation");
  struct device *device = session->device;
  const size_t bytes = (size_t)session->batch * (size_t)session->model->config.embed_dim * sizeof(float);
  state->device = device;
  state->kind = kind_of(session->settings->loss.distill);
  state->student =
      tower_run_create(session->model, &session->model->vision, session->batch, true, session->kept_patches);
  state->teacher =
      tower_run_create(session->teacher, &session->teacher->vision, session->batch, false, session->kept_patches);
  state->teacher_features = device->op->allocate(device, bytes, "teacher features");
  state->student_features = device->op->allocate(device, bytes, "student features");
  state->dstudent = device->op->allocate(device, bytes, "student feature gradients");
  state->host_features = memory_allocate(bytes, "teacher features on the host");
  state->shared = tower_first_memory(&session->model->vision);
  state->share = session->settings->debug.share_prefix && prefix_is_equal(session, state->shared);
  warm_up_images(session, state->teacher, state->teacher_features, state->dstudent);
  warm_up_images(session, state->student, state->student_features, state->dstudent);
  *objective = (struct objective){state, gradients, close_state, gradient_factor(session)};
  report_message("distillation: %s loss; %d of %d sublayers are computed once for teacher and student",
                 session->settings->loss.distill, state->share ? state->shared : 0, session->model->vision.count);
  return open_cache(session, state);
}

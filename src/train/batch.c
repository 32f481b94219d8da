/* Micro-batches on the device. */
#include "base/memory.h"
#include "comm/comm.h"
#include "report/report.h"
#include "train/session.h"

int session_text_columns(const struct session *session, const int32_t *end, int count) {
  const int context = session->model->config.context_length;
  int longest = 0;
  if (!session->settings->debug.crop_text || session->model->config.no_causal_mask)
    return context;
  for (int i = 0; i < count; i++)
    longest = end[i] > longest ? end[i] : longest;
  const int columns = (longest / TEXT_COLUMN_STEP + 1) * TEXT_COLUMN_STEP;
  return columns < context ? columns : context;
}

/* The kept patches of a sample: those with the largest random numbers, in ascending order (contract 1.2 step 3). */
static void draw_kept(const struct session *session, int64_t step, int64_t sample, int32_t *keep) {
  const int grid = session->model->vision.tokens - 1, kept = session->kept_patches;
  struct random_key key = {(uint64_t)session->settings->run.seed, (uint64_t)step, RANDOM_PATCH_DROPOUT,
                           (uint32_t)sample};
  int chosen = 0;
  for (int j = 0; j < grid; j++) /* selection sampling: every subset is equally likely */
    if (random_below(&key, (uint64_t)j, (uint64_t)(grid - j)) < (uint64_t)(kept - chosen))
      keep[chosen++] = j;
}

static bool has_dropout(const struct memory_config *memory) {
  return memory->count && (memory->input_dropout > 0 || memory->query_dropout > 0 || memory->value_dropout > 0);
}

/* The small inputs of a micro-batch as they follow each other in one block. */
static void lay_out(const struct session *session, bool short_captions, bool tokens, struct arena *arena,
                    struct micro_inputs *inputs) {
  const size_t batch = (size_t)session->batch, ids = batch * (size_t)session->model->config.context_length;
  inputs->step = arena_take(arena, sizeof *inputs->step);
  inputs->samples = arena_take(arena, batch * sizeof *inputs->samples);
  inputs->ids = tokens ? arena_take(arena, ids * sizeof *inputs->ids) : NULL;
  inputs->end = tokens ? arena_take(arena, batch * sizeof *inputs->end) : NULL;
  inputs->short_ids = short_captions ? arena_take(arena, ids * sizeof *inputs->short_ids) : NULL;
  inputs->short_end = short_captions ? arena_take(arena, batch * sizeof *inputs->short_end) : NULL;
  inputs->keep =
      session->kept_patches ? arena_take(arena, batch * (size_t)session->kept_patches * sizeof *inputs->keep) : NULL;
}

static size_t image_bytes(const struct session *session) {
  const struct clip_config *config = &session->model->config;
  return (size_t)session->batch * (size_t)config->image_height * (size_t)config->image_width * 3;
}

static void open_micro_batch(struct session *session, bool short_captions, bool tokens, struct micro_batch *micro) {
  const struct clip_config *config = &session->model->config;
  struct device *device = session->device;
  micro->images = device->op->allocate(device, image_bytes(session), "images");
  micro->seed = (uint64_t)session->settings->run.seed;
  micro->has_dropout = has_dropout(&config->vision.memory) || has_dropout(&config->text.memory);
  micro->block = (struct arena){.device = device, .label = "inputs of a micro-batch"};
  lay_out(session, short_captions, tokens, &micro->block, &micro->on_device);
  arena_allocate(&micro->block);
  micro->bytes = micro->block.size_bytes;
  micro->pinned = device->op->allocate_pinned(device, micro->bytes, "inputs of a micro-batch");
  struct arena on_host = {.base = micro->pinned, .size_bytes = micro->bytes, .label = "inputs of a micro-batch"};
  lay_out(session, short_captions, tokens, &micro->block, &micro->on_device);
  lay_out(session, short_captions, tokens, &on_host, &micro->on_host);
}

void session_open_micro_batches(struct session *session, bool short_captions, bool tokens) {
  const int grid = session->model->vision.tokens - 1;
  const double wanted = session->settings->model.patch_dropout,
               dropout = wanted > 0 ? wanted : session->model->config.patch_dropout;
  session->kept_patches = dropout > 0 ? (int)(grid * (1 - dropout)) : 0;
  if (dropout > 0 && session->kept_patches < 1)
    session->kept_patches = 1;
  session->kept_micro = tokens ? session->accumulation : 1;
  session->fetched = session->ahead = -1;
  session->micro = memory_allocate((size_t)(session->kept_micro + 1) * sizeof *session->micro, "micro-batches");
  for (int64_t i = 0; i <= session->kept_micro; i++)
    open_micro_batch(session, short_captions, tokens, &session->micro[i]);
}

void session_close_micro_batches(struct session *session) {
  struct device *device = session->device;
  for (int64_t i = 0; session->micro && i <= session->kept_micro; i++) {
    device->op->release(device, session->micro[i].images);
    device->op->release_pinned(device, session->micro[i].pinned);
    arena_release(&session->micro[i].block);
  }
  memory_release(session->micro);
}

void session_blank_micro_batch(struct session *session, struct micro_batch *micro) {
  struct device *device = session->device;
  micro->count = session->batch;
  device->op->zero(device, micro->images, image_bytes(session));
  device->op->zero(device, micro->block.base, micro->bytes);
}

/* Micro-batches are numbered through the run; neighbours have different lanes and different buffers. A step's first one
 * goes where the step before has nothing that is still in use. */
static int64_t number_of(const struct session *session, int64_t step, int64_t a) {
  return step * session->accumulation + a;
}
static int lane_of(int64_t number) {
  return (int)(number % DEVICE_LANES);
}
struct micro_batch *session_micro_batch(struct session *session, int64_t step, int64_t a) {
  if (session->kept_micro == 1)
    return &session->micro[number_of(session, step, a) % 2];
  return &session->micro[a == 0 && step % 2 ? session->kept_micro : a];
}

static int copy_ids(const struct session *session, int32_t *to_ids, int32_t *to_end, const int32_t *ids,
                    const int32_t *end, int count) {
  memcpy(to_ids, ids, (size_t)count * (size_t)session->model->config.context_length * sizeof *ids);
  memcpy(to_end, end, (size_t)count * sizeof *end);
  return session_text_columns(session, end, count);
}

/* The host's copy of the inputs is free: the lane's upload before the last one was waited for. */
static void fill(struct session *session, int64_t step, int64_t a, const struct batch *batch) {
  struct device *device = session->device;
  struct micro_batch *micro = session_micro_batch(session, step, a);
  const struct micro_inputs *host = &micro->on_host;
  const int lane = lane_of(number_of(session, step, a));
  micro->count = batch->count;
  *host->step = step;
  memcpy(host->samples, batch->samples, (size_t)batch->count * sizeof *host->samples);
  if (host->ids)
    micro->tokens = copy_ids(session, host->ids, host->end, batch->tokens, batch->end, batch->count);
  if (host->short_ids)
    micro->short_tokens =
        copy_ids(session, host->short_ids, host->short_end, batch->short_tokens, batch->short_end, batch->count);
  for (int i = 0; host->keep && i < batch->count; i++)
    draw_kept(session, step, batch->samples[i], host->keep + (size_t)i * (size_t)session->kept_patches);
  if (session->fetched < 0) /* behind the first passes over zeros */
    device->op->upload_again(device, lane);
  device->op->upload(device, lane, micro->images, batch->images, image_bytes(session));
  device->op->upload(device, lane, micro->block.base, micro->pinned, micro->bytes);
}

struct micro_batch *session_fetch(struct session *session, int64_t step, int64_t a, double *waited_seconds) {
  struct device *device = session->device;
  const int64_t number = number_of(session, step, a);
  device->op->range_begin(device, "fetch");
  if (session->ahead != number)
    fill(session, step, a, loader_ahead(session->loader, waited_seconds));
  if (session->fetched >= 0) { /* the loader takes the slot before back, its buffers are free after what is enqueued */
    device->op->upload_wait(device, lane_of(session->fetched));
    device->op->upload_again(device, lane_of(session->fetched));
  }
  const struct batch *batch = loader_next(session->loader, waited_seconds);
  for (int i = 0; i < batch->count; i++)
    session->rows_without_sample += !batch->valid[i];
  device->op->upload_finish(device, lane_of(number));
  session->fetched = number;
  device->op->range_end(device);
  return session_micro_batch(session, step, a);
}

void session_fetch_ahead(struct session *session, int64_t step, int64_t a) {
  struct device *device = session->device;
  const struct batch *batch = a < session->accumulation ? loader_ahead(session->loader, NULL) : NULL;
  if (!batch)
    return;
  device->op->range_begin(device, "fetch ahead");
  fill(session, step, a, batch);
  session->ahead = number_of(session, step, a);
  device->op->range_end(device);
}

static struct tower_input tower_input_of(const struct micro_batch *micro) {
  const struct micro_inputs *inputs = &micro->on_device;
  return (struct tower_input){.count = micro->count,
                              .samples = micro->has_dropout ? inputs->samples : NULL,
                              .step = inputs->step,
                              .seed = micro->seed};
}

struct tower_input micro_batch_images(const struct micro_batch *micro) {
  struct tower_input input = tower_input_of(micro);
  input.images = micro->images;
  input.image_dtype = DTYPE_U8;
  input.keep = micro->on_device.keep;
  return input;
}

struct tower_input micro_batch_texts(const struct micro_batch *micro, bool short_captions) {
  struct tower_input input = tower_input_of(micro);
  input.ids = short_captions ? micro->on_device.short_ids : micro->on_device.ids;
  input.end = short_captions ? micro->on_device.short_end : micro->on_device.end;
  input.tokens = short_captions ? micro->short_tokens : micro->tokens;
  return input;
}

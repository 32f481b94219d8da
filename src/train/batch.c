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

void session_open_micro_batches(struct session *session, bool short_captions, bool tokens) {
  struct device *device = session->device;
  const struct clip_config *config = &session->model->config;
  const size_t batch = (size_t)session->batch, ids = batch * (size_t)config->context_length * sizeof(int32_t);
  const int grid = session->model->vision.tokens - 1;
  const double wanted = session->settings->model.patch_dropout, dropout = wanted > 0 ? wanted : config->patch_dropout;
  session->kept_patches = dropout > 0 ? (int)(grid * (1 - dropout)) : 0;
  if (dropout > 0 && session->kept_patches < 1)
    session->kept_patches = 1;
  session->host_keep = memory_allocate(batch * (size_t)(session->kept_patches + 1) * sizeof(int32_t), "kept patches");
  session->micro = memory_allocate((size_t)session->accumulation * sizeof *session->micro, "micro-batches");
  for (int64_t a = 0; a < session->accumulation; a++) {
    struct micro_batch *micro = &session->micro[a];
    micro->images =
        device->op->allocate(device, batch * (size_t)config->image_height * (size_t)config->image_width * 3, "images");
    micro->samples = memory_allocate(batch * sizeof *micro->samples, "sample addresses");
    if (tokens) {
      micro->ids = device->op->allocate(device, ids, "token ids");
      micro->end = device->op->allocate(device, batch * sizeof(int32_t), "token ids");
    }
    if (short_captions) {
      micro->short_ids = device->op->allocate(device, ids, "token ids");
      micro->short_end = device->op->allocate(device, batch * sizeof(int32_t), "token ids");
    }
    micro->seed = (uint64_t)session->settings->run.seed;
    if (has_dropout(&config->vision.memory) || has_dropout(&config->text.memory))
      micro->dropout_samples = device->op->allocate(device, batch * sizeof *micro->samples, "sample addresses");
    if (session->kept_patches)
      micro->keep =
          device->op->allocate(device, batch * (size_t)session->kept_patches * sizeof(int32_t), "kept patches");
  }
}

static void close_micro_batch(struct device *device, struct micro_batch *micro) {
  void *blocks[] = {micro->images,         micro->ids, micro->end, micro->short_ids, micro->short_end, micro->keep,
                    micro->dropout_samples};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    if (blocks[i])
      device->op->release(device, blocks[i]);
  memory_release(micro->samples);
}

void session_close_micro_batches(struct session *session) {
  for (int64_t a = 0; session->micro && a < session->accumulation; a++)
    close_micro_batch(session->device, &session->micro[a]);
  memory_release(session->micro);
  memory_release(session->host_keep);
}

static void copy_ids(struct session *session, int32_t *to_ids, int32_t *to_end, const int32_t *ids, const int32_t *end,
                     int count) {
  struct device *device = session->device;
  device->op->copy_in(device, to_ids, ids, (size_t)count * (size_t)session->model->config.context_length * sizeof *ids);
  device->op->copy_in(device, to_end, end, (size_t)count * sizeof *end);
}

void session_fetch(struct session *session, struct micro_batch *micro, int64_t step, double *waited_seconds) {
  struct device *device = session->device;
  device->op->range_begin(device, "fetch");
  const struct batch *batch = loader_next(session->loader, waited_seconds);
  const size_t pixels = (size_t)session->model->config.image_height * (size_t)session->model->config.image_width * 3;
  for (int i = 0; i < batch->count; i++)
    session->rows_without_sample += !batch->valid[i];
  micro->count = batch->count;
  memcpy(micro->samples, batch->samples, (size_t)batch->count * sizeof *micro->samples);
  micro->step = step;
  if (micro->dropout_samples)
    device->op->copy_in(device, micro->dropout_samples, micro->samples, (size_t)batch->count * sizeof *micro->samples);
  device->op->copy_in(device, micro->images, batch->images, (size_t)batch->count * pixels);
  if (micro->ids) {
    micro->tokens = session_text_columns(session, batch->end, batch->count);
    copy_ids(session, micro->ids, micro->end, batch->tokens, batch->end, batch->count);
  }
  if (micro->short_ids) {
    micro->short_tokens = session_text_columns(session, batch->short_end, batch->count);
    copy_ids(session, micro->short_ids, micro->short_end, batch->short_tokens, batch->short_end, batch->count);
  }
  if (micro->keep) {
    for (int i = 0; i < batch->count; i++)
      draw_kept(session, step, batch->samples[i], session->host_keep + (size_t)i * (size_t)session->kept_patches);
    device->op->copy_in(device, micro->keep, session->host_keep,
                        (size_t)batch->count * (size_t)session->kept_patches * sizeof(int32_t));
  }
  device->op->range_end(device);
}

static struct tower_input tower_input_of(const struct micro_batch *micro) {
  return (struct tower_input){
      .count = micro->count, .samples = micro->dropout_samples, .seed = micro->seed, .step = micro->step};
}

struct tower_input micro_batch_images(const struct micro_batch *micro) {
  struct tower_input input = tower_input_of(micro);
  input.images = micro->images;
  input.image_dtype = DTYPE_U8;
  input.keep = micro->keep;
  return input;
}

struct tower_input micro_batch_texts(const struct micro_batch *micro, bool short_captions) {
  struct tower_input input = tower_input_of(micro);
  input.ids = short_captions ? micro->short_ids : micro->ids;
  input.end = short_captions ? micro->short_end : micro->end;
  input.tokens = short_captions ? micro->short_tokens : micro->tokens;
  return input;
}

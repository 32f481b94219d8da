#include "train/session.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/thread.h"
#include "comm/comm.h"
#include "report/provenance.h"
#include "report/report.h"
#include "train/bad_samples.h"
#include "train/choices.h"
#include "train/plan.h"
#include "train/snapshot.h"
#include <stdlib.h>
#include <string.h>

/* Cores of this rank: its affinity mask, or its share of the node where the ranks of a node have the same mask. */
static int cores_of_rank(void) {
  const int mine = thread_count_available(), share = thread_count_online() / comm_local_size();
  return share < 1 ? 1 : mine > share ? share : mine;
}

int session_loader_threads(const struct settings *settings) {
  if (settings->data.loader_threads > 0)
    return (int)settings->data.loader_threads;
  const int cores = cores_of_rank();
  return cores < 8 ? 1 : cores / 8; /* decoding needs about an eighth of what a step needs */
}

/* OMP_NUM_THREADS is what job scripts set; else the cores less the loader's, once there are enough. */
static int compute_threads(const struct settings *settings) {
  const char *wanted = getenv("OMP_NUM_THREADS");
  const int cores = cores_of_rank(), loader = session_loader_threads(settings);
  if (settings->run.threads > 0)
    return (int)settings->run.threads;
  if (wanted && atoi(wanted) > 0)
    return atoi(wanted);
  return cores >= 8 && loader < cores ? cores - loader : cores;
}

struct image_limits session_image_limits(const struct settings *settings) {
  const double megapixels = settings->data.max_image_megapixels > 0 ? settings->data.max_image_megapixels : 1000;
  return (struct image_limits){.max_pixels = (int64_t)(megapixels * 1e6),
                               .exif_orientation = settings->data.exif_orientation};
}

enum status session_open_device(struct session *session) {
  const struct settings *settings = session->settings;
  session->dtype = strcmp(settings->run.precision, "fp32") == 0 ? DTYPE_F32 : DTYPE_BF16;
  memory_set_poison(settings->debug.poison);
  TRY(comm_agree(
      device_open_ranked(settings->run.device, compute_threads(settings), comm_local_rank(), &session->device)));
  report_message("memclip %s, %s, %s; device: %s", provenance_version(), comm_library(), store_library(),
                 session->device->description);
  if (session->dtype == DTYPE_BF16 && session->device->bf16_is_storage_only)
    report_warning(
        "this processor has no fast bf16 products: bf16 is storage only here, products are computed in fp32");
  plan_open(session);
  if (session->device->scratch_bytes)
    TRY(plan_memory(session, "scratch", session->device->scratch_bytes));
  return STATUS_OK;
}

enum status session_open_tokenizer(struct session *session) {
  TRY(comm_agree(tokenizer_open(session->settings->data.vocabulary, &session->tokenizer)));
  return session_check_tokenizer(session);
}

enum status session_check_tokenizer(const struct session *session) {
  const struct clip_config *config = &session->model->config;
  if (tokenizer_vocabulary_size(session->tokenizer) != config->vocab_size)
    return error_set(
        STATUS_INPUT, "data.vocabulary %s has %d ids, the model's token_embedding %d: they do not belong together",
        session->settings->data.vocabulary, tokenizer_vocabulary_size(session->tokenizer), config->vocab_size);
  return STATUS_OK;
}

struct image_transform session_transform(const struct clip_config *config) {
  struct image_transform transform = {
      .width = config->image_width, .height = config->image_height, .fill = (uint8_t)config->fill_color};
  if (image_transform_parse(config->resize_mode, config->interpolation, &transform) != STATUS_OK)
    fatal("%s", error_message()); /* the configuration was checked */
  return transform;
}

enum status session_open_source(const struct session *session, const struct text_list *paths,
                                const struct real_list *weights, const char *key, struct source **source) {
  const struct data_settings *data = &session->settings->data;
  const bool stages = paths == &data->train && session->run->input_path; /* a run that is only checked copies nothing */
  if (paths->count == 0)
    return error_set(STATUS_INPUT, "%s is empty: name shards such as 'data/{000000..000125}.tar' or a csv file", key);
  if (weights && weights->count != 0 && weights->count != paths->count)
    return error_set(STATUS_INPUT, "data.weights has %d values for %d sources of data.train", weights->count,
                     paths->count);
  const struct source_options options = {.paths = (const char *const *)paths->items,
                                         .path_count = paths->count,
                                         .weights = weights && weights->count ? weights->items : NULL,
                                         .format = data->format,
                                         .image = data->image,
                                         .caption = data->caption,
                                         .csv_separator = data->csv_separator,
                                         .csv_image = data->csv_image,
                                         .csv_caption = data->csv_caption,
                                         .index_directory = session->settings->run.directory,
                                         .stage_to = stages ? data->stage_to : NULL,
                                         .threads = session_loader_threads(session->settings)};
  enum status status = source_open(&options, source);
  if (status != STATUS_OK)
    return error_context(status, "%s", key);
  const char *const *reasons;
  int sentences = 0;
  const int64_t skipped = source_skipped(*source, &reasons, &sentences);
  report_message("%s: %lld samples", key, (long long)source_count(*source));
  for (int i = 0; i < sentences && i < 5; i++)
    report_warning("%s: %s", key, reasons[i]);
  if (skipped > 0 && sentences > 5)
    report_warning("%s: %lld entries were left out in all", key, (long long)skipped);
  return source_count(*source) > 0 ? STATUS_OK : error_set(STATUS_INPUT, "%s holds no sample", key);
}

static struct color_jitter color_jitter_of(const struct data_settings *data) {
  struct color_jitter jitter = {.probability = data->color_jitter_prob, .gray_probability = data->gray_scale_prob};
  for (int i = 0; i < IMAGE_COLORS && i < data->color_jitter.count; i++)
    jitter.strength[i] = data->color_jitter.items[i];
  return jitter;
}

static enum status check_caption_weights(const struct data_settings *data, const struct source *source) {
  const int keys = source_caption_keys(source), weights = data->caption_weights.count;
  if (weights > 0 && (weights != keys || keys > LOADER_CAPTION_KEYS_MAX))
    return error_set(STATUS_INPUT,
                     "data.caption_weights has %d values for %d keys behind json: in data.caption (at most %d)",
                     weights, keys, LOADER_CAPTION_KEYS_MAX);
  return STATUS_OK;
}

static enum augment augment_of(const char *name) {
  if (strcmp(name, "none") == 0)
    return AUGMENT_NONE;
  return strcmp(name, "crop_fixed") == 0 ? AUGMENT_CROP_FIXED : AUGMENT_CROP;
}

static void *allocate_pinned(void *device, size_t bytes, const char *label) {
  return ((struct device *)device)->op->allocate_pinned(device, bytes, label);
}
static void release_pinned(void *device, void *block) {
  ((struct device *)device)->op->release_pinned(device, block);
}

/* Every wrong sample is told to every reader of the run directory, and too many of them end the run (loop.c). */
static enum status open_loader(struct session *session, bool short_captions, bool tokens) {
  const struct settings *settings = session->settings;
  const struct data_settings *data = &settings->data;
  enum { WINDOW_SAMPLES = 100000 };
  int paths = 0, shards = 0, built;
  char *const *names;
  const int64_t *bounds = source_path_bounds(session->train, &paths),
                *shard_bounds = source_shard_bounds(session->train, &names, &shards, &built);
  const enum shuffle shuffle = strcmp(data->shuffle, "window") == 0 ? SHUFFLE_WINDOW
                               : strcmp(data->shuffle, "none") == 0 ? SHUFFLE_NONE
                                                                    : SHUFFLE_GLOBAL;
  TRY(check_caption_weights(data, session->train));
  const struct loader_options options = {
      .source = session->train,
      .order = {.seed = (uint64_t)settings->run.seed,
                .count = source_count(session->train),
                .samples_per_epoch = session->samples_per_epoch,
                .shuffle = shuffle,
                .window = data->shuffle_window > 0 ? data->shuffle_window : WINDOW_SAMPLES,
                .shard_bounds = shard_bounds,
                .shards = shards,
                .resampled = data->resampled,
                .path_bounds = bounds,
                .path_weights = data->weights.count ? data->weights.items : NULL,
                .paths = paths},
      .tokenizer = tokens ? session->tokenizer : NULL,
      .context_length = session->model->config.context_length,
      .short_caption = SHORT_FIRST_SENTENCE,
      .short_tokens = short_captions,
      .images = true,
      .transform = session_transform(&session->model->config),
      .augment = augment_of(data->augment),
      .crop = {{data->crop_scale.items[0], data->crop_scale.items[1]},
               {data->crop_ratio.items[0], data->crop_ratio.items[1]}},
      .color = color_jitter_of(data),
      .caption_weights = data->caption_weights.count ? data->caption_weights.items : NULL,
      .seed = (uint64_t)settings->run.seed,
      .limits = session_image_limits(settings),
      .batch = session->batch,
      .stride = (int64_t)session->batch * comm_size(),
      .offset = (int64_t)session->batch * comm_rank(),
      .end = session->steps_per_epoch * session->global_batch,
      .replace = true,
      .threads = session_loader_threads(settings),
      .ring = 4,
      .allocate = allocate_pinned,
      .release = release_pinned,
      .context = session->device,
      .bad_sample = bad_samples_note};
  session->loader = loader_open(&options);
  return STATUS_OK;
}

/* What the run started with, which another number of ranks keeps by another accumulation; a branch that starts its data
 * anew is free. */
static enum status started_global_batch(const struct session *session, int64_t *batch) {
  const struct run *run = session->run;
  struct store *store;
  double value = 0;
  if (!run->checkpoint || run_resets(run, "data"))
    return STATUS_OK;
  TRY(store_open(run->checkpoint, &store));
  const enum status status = store_read_number(store, "progress/global_batch", &value);
  store_close(store);
  if (status == STATUS_OK)
    *batch = (int64_t)value;
  return status;
}

/* The numbers near `wanted` that divide the global batch by `other`. */
static void append_fitting(struct text *out, int64_t global_batch, int64_t other, int64_t wanted) {
  int64_t below = 0, above = 0;
  for (int64_t n = 1; n <= global_batch; n++)
    if (global_batch % (n * other) == 0) {
      below = n <= wanted ? n : below;
      above = above == 0 && n > wanted ? n : above;
    }
  if (below)
    text_append_format(out, "%lld%s", (long long)below, above ? " or " : "");
  if (above)
    text_append_format(out, "%lld", (long long)above);
  if (!below && !above)
    text_append_string(out, "none");
}

static enum status refuse_global_batch(const struct session *session) {
  struct text ranks = {0}, batches = {0};
  append_fitting(&ranks, session->global_batch, session->batch, comm_size());
  append_fitting(&batches, session->global_batch, comm_size(), session->batch);
  const enum status status = error_set(
      STATUS_INPUT,
      "the global batch of %lld cannot be met by %d ranks with data.batch_size %d: the product of ranks and batch_size "
      "must divide it. Ranks that fit this batch_size: %s; batch_size that fits these ranks: %s",
      (long long)session->global_batch, comm_size(), session->batch, ranks.data, batches.data);
  text_release(&ranks);
  text_release(&batches);
  return status;
}

/* Global batch = batch x accumulation x ranks; a given one, or that of the checkpoint, must be met by accumulation. */
static enum status plan_batches(struct session *session) {
  const struct settings *settings = session->settings;
  const int64_t per_pass = settings->data.batch_size * comm_size();
  int64_t wanted = settings->data.global_batch;
  if (wanted == 0)
    TRY(started_global_batch(session, &wanted));
  session->batch = (int)settings->data.batch_size;
  session->global_batch = wanted > 0 ? wanted : per_pass * settings->optim.accumulation;
  if (session->global_batch % per_pass != 0)
    return refuse_global_batch(session);
  session->accumulation = session->global_batch / per_pass;
  session->samples_per_epoch =
      settings->data.samples_per_epoch > 0 ? settings->data.samples_per_epoch : source_count(session->train);
  session->steps_per_epoch = session->samples_per_epoch / session->global_batch;
  if (session->steps_per_epoch == 0)
    return error_set(STATUS_INPUT,
                     "a global batch of %lld is larger than the %lld samples of an epoch: lower data.batch_size or "
                     "optim.accumulation, or set data.samples_per_epoch",
                     (long long)session->global_batch, (long long)session->samples_per_epoch);
  session->total_steps = session->steps_per_epoch * settings->optim.epochs;
  if (settings->optim.max_steps > 0 && settings->optim.max_steps < session->total_steps)
    session->total_steps = settings->optim.max_steps;
  if (settings->optim.warmup_steps >= session->total_steps)
    return error_set(STATUS_INPUT,
                     "optim.warmup_steps = %lld, but the run has %lld steps (%lld per epoch): the learning rate would "
                     "never reach its peak; lower warmup_steps or raise epochs",
                     (long long)settings->optim.warmup_steps, (long long)session->total_steps,
                     (long long)session->steps_per_epoch);
  return STATUS_OK;
}

static enum status check_checkpoint(const char *path, void *session) {
  return snapshot_check(path, session);
}

enum status session_open_training_data(struct session *session, bool short_captions, bool tokens) {
  const struct data_settings *data = &session->settings->data;
  TRY(run_settle_checkpoint(session->run, check_checkpoint, session));
  choices_restore(session);
  session->ranks = ranks_join(session->device);
  TRY(session_open_source(session, &data->train, &data->weights, "data.train", &session->train));
  TRY(comm_agree(plan_batches(session)));
  TRY(plan_inputs(session, short_captions, tokens));
  session_open_micro_batches(session, short_captions, tokens);
  session->loss = session->device->op->allocate(session->device, (1 + ADAMW_SQUARES) * sizeof *session->loss, "loss");
  report_message("global batch %lld = %d per rank x %lld accumulated x %d ranks; %lld steps per epoch, %lld in all",
                 (long long)session->global_batch, session->batch, (long long)session->accumulation, comm_size(),
                 (long long)session->steps_per_epoch, (long long)session->total_steps);
  return open_loader(session, short_captions, tokens);
}

enum status session_open_validation_data(struct session *session) {
  const struct data_settings *data = &session->settings->data;
  if (data->val.count == 0)
    return STATUS_OK;
  return session_open_source(session, &data->val, NULL, "data.val", &session->val);
}

void session_close(struct session *session) {
  if (session->device) /* uploads may be under way */
    session->device->op->synchronize(session->device);
  if (session->loader)
    loader_close(session->loader);
  session_close_micro_batches(session);
  if (session->loss)
    session->device->op->release(session->device, session->loss);
  if (session->train)
    source_close(session->train);
  if (session->val)
    source_close(session->val);
  if (session->tokenizer)
    tokenizer_close(session->tokenizer);
  model_release(session->teacher);
  model_release(session->model);
  if (session->device)
    device_close(session->device);
}

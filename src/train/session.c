#include "train/session.h"
#include "base/memory.h"
#include "base/thread.h"
#include "comm/comm.h"
#include "report/report.h"
#include "train/snapshot.h"
#include "train/weights.h"
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
  return (struct image_limits){.max_pixels = (int64_t)(settings->data.max_image_megapixels * 1e6),
                               .exif_orientation = settings->data.exif_orientation};
}

enum status session_open_device(struct session *session) {
  const struct settings *settings = session->settings;
  session->dtype = strcmp(settings->run.precision, "fp32") == 0 ? DTYPE_F32 : DTYPE_BF16;
  memory_set_poison(settings->debug.poison);
  TRY(device_open(settings->run.device, compute_threads(settings), &session->device));
  report_message("device: %s", session->device->description);
  if (session->dtype == DTYPE_BF16 && session->device->bf16_is_storage_only)
    report_warning(
        "this processor has no fast bf16 products: bf16 is storage only here, products are computed in fp32");
  return STATUS_OK;
}

static enum status apply_activation(const char *activation, struct clip_config *config) {
  if (strcmp(activation, "auto") == 0)
    return STATUS_OK;
  const enum activation wanted = strcmp(activation, "quickgelu") == 0 ? ACTIVATION_QUICKGELU : ACTIVATION_GELU;
  if (config->activation_known && config->activation != wanted)
    report_warning(
        "activation '%s' is asked for, the configuration says otherwise: results will differ from the original model's",
        activation);
  config->activation = wanted;
  config->activation_known = true;
  return STATUS_OK;
}

static enum status apply_memory(const struct memory_settings *memory, struct clip_config *config) {
  struct tower_config *tower = strcmp(memory->tower, "text") == 0 ? &config->text : &config->vision;
  if (!memory->present)
    return STATUS_OK;
  if (memory->peer || memory->query_batchnorm || memory->input_dropout > 0 || memory->query_dropout > 0 ||
      memory->value_dropout > 0 || memory->shard_ranks > 1 || memory->value_lr > 0 || memory->value_clip_norm > 0 ||
      strcmp(memory->value_dtype, "fp32") != 0)
    return error_set(STATUS_INPUT, "&memory: peer, query_batchnorm, dropouts, value_lr, value_clip_norm, value_dtype "
                                   "and shard_ranks are not supported yet; leave them at their defaults");
  tower->memory = (struct memory_config){.n_keys = (int)memory->n_keys,
                                         .heads = (int)memory->heads,
                                         .knn = (int)memory->knn,
                                         .k_dim = (int)memory->k_dim,
                                         .v_dim = (int)memory->v_dim,
                                         .share_values = memory->share_values,
                                         .swilu_projection = memory->swilu_projection,
                                         .gated = memory->gated,
                                         .meta_init = strcmp(memory->init, "meta") == 0};
  for (int i = 0; i < memory->layers.count; i++) {
    const int64_t layer = memory->layers.items[i];
    if (layer < 0 || layer >= tower->layers)
      return error_set(STATUS_INPUT, "memory.layers: %lld is not a block of the %s tower, which has blocks 0 to %d",
                       (long long)layer, memory->tower, tower->layers - 1);
    tower->memory.count += !tower->memory.layers[layer];
    tower->memory.layers[layer] = true;
  }
  if (tower->memory.count == 0)
    return error_set(STATUS_INPUT, "&memory: layers is empty: name the blocks whose MLP becomes a memory");
  return config_check_memory(tower, "&memory");
}

static enum status choose_config(const struct session *session, const struct model_request *request,
                                 struct clip_config *config) {
  const struct settings *settings = session->settings;
  if (request->config[0])
    TRY(config_read(request->config, config));
  else if (request->weights[0])
    TRY(weights_read_config(request->weights, config));
  else
    return error_set(
        STATUS_INPUT,
        "%s.config and %s.weights are both empty: name a configuration ('ViT-B-16' or a JSON file), weights, or both",
        request->what, request->what);
  if (request->config[0] && request->weights[0] &&
      !config->activation_known) { /* a plain built-in name: the weights' file may say */
    struct clip_config stored;
    if (weights_read_config(request->weights, &stored) == STATUS_OK && stored.activation_known) {
      config->activation = stored.activation;
      config->activation_known = true;
    }
  }
  TRY(apply_activation(request->activation, config));
  if (request->with_memory)
    TRY(apply_memory(&settings->memory, config));
  for (int i = 0; i < 3; i++) {
    if (settings->model.image_mean.count == 3)
      config->image_mean[i] = (float)settings->model.image_mean.items[i];
    if (settings->model.image_std.count == 3)
      config->image_std[i] = (float)settings->model.image_std.items[i];
  }
  if (config->image_height != config->image_width)
    return error_set(STATUS_INPUT, "%s: images of %d x %d are not square, which the image pipeline does not make",
                     request->what, config->image_height, config->image_width);
  return STATUS_OK;
}

static enum status fill_weights(const struct model_request *request, const struct settings *settings,
                                struct model *model) {
  struct weights_summary summary;
  parameters_initialize(&model->parameters, (uint64_t)settings->run.seed);
  if (!request->weights[0])
    return STATUS_OK;
  TRY(weights_load(request->weights, model, &summary));
  report_message("%s: %d tensors from %s", request->what, summary.taken, request->weights);
  if (summary.dropped_mlp)
    report_message("%s: %d MLP tensors were left out: memories take their place", request->what, summary.dropped_mlp);
  if (summary.missing_memory)
    report_message("%s: %d memory tensors start from initial values", request->what, summary.missing_memory);
  return STATUS_OK;
}

enum status session_open_model(struct session *session, const struct model_request *request, struct model **model) {
  const struct settings *settings = session->settings;
  struct clip_config config;
  TRY(choose_config(session, request, &config));
  const struct model_switches switches = {.pooled_last_block = settings->debug.pooled_last_block,
                                          .skip_frozen = settings->debug.skip_frozen,
                                          .gradient_checkpointing =
                                              request->training && settings->model.gradient_checkpointing};
  TRY(model_create(&config, session->device, session->dtype, switches, model));
  TRY(model_set_trainable(*model, request->words, request->word_count));
  parameters_set_decay(&(*model)->parameters, (const char *const *)settings->optim.no_decay.items,
                       settings->optim.no_decay.count);
  parameters_allocate(&(*model)->parameters, request->training);
  TRY(fill_weights(request, settings, *model));
  report_message("%s: %.3f M parameters, %.3f M of them trained", request->what,
                 1e-6 * (double)parameters_count_elements(&(*model)->parameters, false),
                 1e-6 * (double)parameters_count_elements(&(*model)->parameters, true));
  return STATUS_OK;
}

static bool is_default(const struct text_list *words) {
  return words->count == 0 || (words->count == 1 && strcmp(words->items[0], "default") == 0);
}

const char *const *session_trainable(struct session *session, const char *fallback) {
  const struct text_list *words = &session->settings->model.train;
  session->default_words[0] = fallback;
  return is_default(words) ? session->default_words : (const char *const *)words->items;
}

int session_trainable_count(const struct session *session) {
  const struct text_list *words = &session->settings->model.train;
  return is_default(words) ? 1 : words->count;
}

enum status session_open_tokenizer(struct session *session) {
  const struct clip_config *config = &session->model->config;
  TRY(tokenizer_open(session->settings->data.vocabulary, &session->tokenizer));
  if (tokenizer_vocabulary_size(session->tokenizer) != config->vocab_size)
    return error_set(
        STATUS_INPUT, "data.vocabulary %s has %d ids, the model's token_embedding %d: they do not belong together",
        session->settings->data.vocabulary, tokenizer_vocabulary_size(session->tokenizer), config->vocab_size);
  return STATUS_OK;
}

static enum status open_source(const struct session *session, const struct text_list *paths,
                               const struct real_list *weights, const char *key, struct source **source) {
  const struct data_settings *data = &session->settings->data;
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

static enum augment augment_of(const char *name) {
  if (strcmp(name, "none") == 0)
    return AUGMENT_NONE;
  return strcmp(name, "crop_fixed") == 0 ? AUGMENT_CROP_FIXED : AUGMENT_CROP;
}

/* Every wrong sample is told to every reader of the run directory, and too many of them end the run (loop.c). */
static enum status open_loader(struct session *session, bool short_captions, bool tokens) {
  const struct settings *settings = session->settings;
  const struct data_settings *data = &settings->data;
  int paths = 0;
  const int64_t *bounds = source_path_bounds(session->train, &paths);
  const enum shuffle shuffle = strcmp(data->shuffle, "window") == 0 ? SHUFFLE_WINDOW
                               : strcmp(data->shuffle, "none") == 0 ? SHUFFLE_NONE
                                                                    : SHUFFLE_GLOBAL;
  const struct loader_options options = {.source = session->train,
                                         .order = {.seed = (uint64_t)settings->run.seed,
                                                   .count = source_count(session->train),
                                                   .samples_per_epoch = session->samples_per_epoch,
                                                   .shuffle = shuffle,
                                                   .window = data->shuffle_window,
                                                   .resampled = data->resampled,
                                                   .path_bounds = bounds,
                                                   .path_weights = data->weights.count ? data->weights.items : NULL,
                                                   .paths = paths},
                                         .tokenizer = tokens ? session->tokenizer : NULL,
                                         .context_length = session->model->config.context_length,
                                         .short_caption = SHORT_FIRST_SENTENCE,
                                         .short_tokens = short_captions,
                                         .images = true,
                                         .image_size = session->model->config.image_height,
                                         .augment = augment_of(data->augment),
                                         .crop = {{data->crop_scale.items[0], data->crop_scale.items[1]},
                                                  {data->crop_ratio.items[0], data->crop_ratio.items[1]}},
                                         .seed = (uint64_t)settings->run.seed,
                                         .limits = session_image_limits(settings),
                                         .batch = session->batch,
                                         .stride = (int64_t)session->batch * comm_size(),
                                         .offset = (int64_t)session->batch * comm_rank(),
                                         .end = session->steps_per_epoch * session->global_batch,
                                         .replace = true,
                                         .threads = session_loader_threads(settings),
                                         .ring = 4,
                                         .bad_sample = report_bad_sample};
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
    return error_set(STATUS_INPUT,
                     "the global batch of %lld cannot be met by %d ranks with data.batch_size %d: the product of ranks "
                     "and batch_size must divide it",
                     (long long)session->global_batch, comm_size(), session->batch);
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

static void open_micro_batches(struct session *session, bool short_captions, bool tokens) {
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
    if (session->kept_patches)
      micro->keep =
          device->op->allocate(device, batch * (size_t)session->kept_patches * sizeof(int32_t), "kept patches");
  }
}

static enum status check_checkpoint(const char *path, void *session) {
  return snapshot_check(path, session);
}

enum status session_open_training_data(struct session *session, bool short_captions, bool tokens) {
  const struct data_settings *data = &session->settings->data;
  TRY(run_settle_checkpoint(session->run, check_checkpoint, session));
  TRY(open_source(session, &data->train, &data->weights, "data.train", &session->train));
  TRY(plan_batches(session));
  open_micro_batches(session, short_captions, tokens);
  session->loss = session->device->op->allocate(session->device, sizeof *session->loss, "loss");
  report_message("global batch %lld = %d per rank x %lld accumulated x %d ranks; %lld steps per epoch, %lld in all",
                 (long long)session->global_batch, session->batch, (long long)session->accumulation, comm_size(),
                 (long long)session->steps_per_epoch, (long long)session->total_steps);
  return open_loader(session, short_captions, tokens);
}

enum status session_open_validation_data(struct session *session) {
  const struct data_settings *data = &session->settings->data;
  if (data->val.count == 0)
    return STATUS_OK;
  return open_source(session, &data->val, NULL, "data.val", &session->val);
}

static void close_micro_batch(struct device *device, struct micro_batch *micro) {
  void *blocks[] = {micro->images, micro->ids, micro->end, micro->short_ids, micro->short_end, micro->keep};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    if (blocks[i])
      device->op->release(device, blocks[i]);
  memory_release(micro->samples);
}

void session_close(struct session *session) {
  if (session->loader)
    loader_close(session->loader);
  for (int64_t a = 0; session->micro && a < session->accumulation; a++)
    close_micro_batch(session->device, &session->micro[a]);
  memory_release(session->micro);
  memory_release(session->host_keep);
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

/* One row of a batch: read, decode, transform, encode the caption; another sample in its place when that fails. */
#include "base/memory.h"
#include "data/captions.h"
#include "data/loader_slot.h"
#include <math.h>
#include <string.h>

enum { ATTEMPTS_LIMIT = 100, GRAY = 128 };

struct loader_worker {
  struct text bytes, sentence;
  struct image image;
  struct image_workspace workspace;
  struct tokenizer_scratch *tokens;
};

struct loader_worker *loader_worker_new(const struct loader_options *options) {
  struct loader_worker *worker = memory_allocate(sizeof *worker, "loader thread");
  if (options->tokenizer)
    worker->tokens = tokenizer_scratch_new();
  return worker;
}

void loader_worker_release(struct loader_worker *worker) {
  if (worker->tokens)
    tokenizer_scratch_release(worker->tokens);
  text_release(&worker->bytes);
  text_release(&worker->sentence);
  image_release(&worker->image);
  image_workspace_release(&worker->workspace);
  memory_release(worker);
}

/* Crop and colours depend on the place in the run, or (CROP_FIXED) on the sample alone. */
static struct random_key crop_key(const struct loader_options *options, int64_t epoch, int64_t position,
                                  int64_t sample) {
  bool fixed = options->augment == AUGMENT_CROP_FIXED;
  return (struct random_key){.seed = options->seed,
                             .index = (uint64_t)(fixed ? sample : position),
                             .use = RANDOM_CROP,
                             .layer = fixed ? UINT32_MAX : (uint32_t)epoch};
}

static enum status make_picture(struct loader_worker *worker, const struct loader_options *options,
                                const struct random_key *key, uint8_t *out) {
  TRY(image_decode(worker->bytes.data, worker->bytes.length, &options->limits, &worker->image));
  if (options->augment == AUGMENT_NONE)
    return image_transform(&worker->image, &options->transform, &worker->workspace, out);
  struct image_box box = image_crop_box(worker->image.width, worker->image.height, &options->crop, key);
  const int width = options->transform.width, height = options->transform.height;
  TRY(image_transform_crop(&worker->image, &box, width, height, &worker->workspace, out));
  struct random_key color = *key;
  color.use = RANDOM_COLOR;
  if (options->color.probability > 0 || options->color.gray_probability > 0)
    image_jitter(&options->color, &color, out, (int64_t)width * height);
  return STATUS_OK;
}

/* Drawn one after the other by weight (the largest of u^(1/w)); keys of weight 0 stay last. */
static const int *order_captions(const struct loader_options *options, struct random_key key,
                                 int order[LOADER_CAPTION_KEYS_MAX]) {
  double draw[LOADER_CAPTION_KEYS_MAX];
  if (!options->caption_weights)
    return NULL;
  key.use = RANDOM_CAPTION;
  for (int i = 0; i < source_caption_keys(options->source); i++) {
    const double weight = options->caption_weights[i];
    draw[i] = weight > 0 ? log(1 - random_uniform(&key, (uint64_t)i)) / weight : -INFINITY;
    int place = i;
    for (; place > 0 && draw[order[place - 1]] < draw[i]; place--)
      order[place] = order[place - 1];
    order[place] = i;
  }
  return order;
}

static const char *first_sentence(struct loader_worker *worker, const struct text *caption) {
  text_clear(&worker->sentence);
  text_append(&worker->sentence, caption->data, caption->length);
  caption_shorten(&worker->sentence);
  return worker->sentence.data;
}

static void encode_caption(struct batch *batch, int row, const struct text *caption, struct loader_worker *worker,
                           const struct loader_options *options) {
  size_t at = (size_t)row * (size_t)options->context_length;
  batch->captions[row] = caption->data;
  if (!options->tokenizer)
    return;
  batch->token_counts[row] = (int32_t)tokenizer_encode(options->tokenizer, worker->tokens, caption->data,
                                                       options->context_length, batch->tokens + at, &batch->end[row]);
  if (!options->short_tokens)
    return;
  const char *sentence =
      options->short_caption == SHORT_FIRST_SENTENCE ? first_sentence(worker, caption) : caption->data;
  tokenizer_encode(options->tokenizer, worker->tokens, sentence, options->context_length, batch->short_tokens + at,
                   &batch->short_end[row]);
}

static enum status try_sample(struct slot *slot, int row, int64_t position, int64_t sample,
                              struct loader_worker *worker, const struct loader_options *options) {
  struct text *caption = &slot->texts[row];
  text_clear(caption);
  text_append(caption, "", 0);
  const bool wanted = options->tokenizer || !options->images; /* else the caption is not even read */
  const struct random_key key = crop_key(options, slot->batch.epoch, position, sample);
  int order[LOADER_CAPTION_KEYS_MAX];
  TRY(source_read_ordered(options->source, sample, order_captions(options, key, order),
                          options->images ? &worker->bytes : NULL, wanted ? caption : NULL));
  text_append(caption, "", 0);
  if (!options->images)
    return STATUS_OK;
  const size_t bytes = slot_image_bytes(options);
  return make_picture(worker, options, &key, slot->batch.images + (size_t)row * bytes);
}

static void note_bad(struct slot *slot, int row, int attempt, int64_t sample) {
  pthread_mutex_lock(&slot->lock);
  if (slot->bad_count == slot->bad_capacity) {
    slot->bad_capacity = slot->bad_capacity == 0 ? 8 : 2 * slot->bad_capacity;
    slot->bad = memory_resize(slot->bad, (size_t)slot->bad_capacity * sizeof slot->bad[0], "bad samples");
  }
  slot->bad[slot->bad_count++] = (struct bad_sample){
      .row = row, .attempt = attempt, .sample = sample, .reason = memory_copy_string(error_message(), "reason")};
  pthread_mutex_unlock(&slot->lock);
}

/* The place of a bad sample is kept in evaluation, and where no replacement is good: a gray image, and its caption if
 * that can be read. */
static void keep_place(struct slot *slot, int row, int64_t sample, const struct loader_options *options) {
  struct text *caption = &slot->texts[row];
  const size_t bytes = slot_image_bytes(options);
  if (options->images)
    memset(slot->batch.images + (size_t)row * bytes, GRAY, bytes);
  text_clear(caption);
  if (options->tokenizer && source_read(options->source, sample, NULL, caption) != STATUS_OK)
    text_clear(caption);
  text_append(caption, "", 0);
}

void slot_fill_row(struct slot *slot, int row, struct loader_worker *worker, const struct loader_options *options) {
  struct batch *batch = &slot->batch;
  int64_t position = batch->slot * options->stride + options->offset + row;
  int64_t sample = order_sample(&options->order, batch->epoch, position);
  bool good = false;
  for (int attempt = 0; attempt <= ATTEMPTS_LIMIT; attempt++) {
    if (attempt > 0)
      sample = order_replacement(&options->order, batch->epoch, position, attempt);
    good = try_sample(slot, row, position, sample, worker, options) == STATUS_OK;
    if (!good)
      note_bad(slot, row, attempt, sample);
    if (good || !options->replace)
      break;
  }
  if (!good)
    keep_place(slot, row, sample, options);
  batch->samples[row] = sample;
  batch->valid[row] = good;
  encode_caption(batch, row, &slot->texts[row], worker, options);
}

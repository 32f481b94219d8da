#include "data/loader_slot.h"
#include "base/memory.h"
#include <stdlib.h>
#include <string.h>

enum { CAPTION_BYTES = 1024 }; /* room at first; longer ones make it grow */

size_t slot_image_bytes(const struct loader_options *options) {
  return options->images ? (size_t)options->transform.width * (size_t)options->transform.height * 3 : 0;
}

static int32_t *allocate_integers(size_t count, bool wanted) {
  return wanted ? memory_allocate(count * sizeof(int32_t), "loader tokens") : NULL;
}

void slot_allocate(struct slot *slot, const struct loader_options *options) {
  size_t rows = (size_t)options->batch, context = (size_t)options->context_length;
  bool tokens = options->tokenizer != NULL, short_tokens = tokens && options->short_tokens;
  *slot = (struct slot){0};
  struct batch *batch = &slot->batch;
  if (options->images)
    batch->images = options->allocate(options->context, rows * slot_image_bytes(options), "loader images");
  batch->tokens = allocate_integers(rows * context, tokens);
  batch->end = allocate_integers(rows, tokens);
  batch->short_tokens = allocate_integers(rows * context, short_tokens);
  batch->short_end = allocate_integers(rows, short_tokens);
  batch->token_counts = allocate_integers(rows, true);
  batch->samples = memory_allocate(rows * sizeof batch->samples[0], "loader samples");
  batch->valid = memory_allocate(rows * sizeof batch->valid[0], "loader valid");
  batch->captions = memory_allocate(rows * sizeof batch->captions[0], "loader captions");
  slot->texts = memory_allocate(rows * sizeof slot->texts[0], "loader captions");
  for (size_t i = 0; i < rows; i++)
    text_resize(&slot->texts[i], CAPTION_BYTES);
  pthread_mutex_init(&slot->lock, NULL);
}

static void forget_bad(struct slot *slot) {
  for (int i = 0; i < slot->bad_count; i++)
    memory_release(slot->bad[i].reason);
  slot->bad_count = 0;
}

void slot_release(struct slot *slot, const struct loader_options *options) {
  struct batch *batch = &slot->batch;
  forget_bad(slot);
  if (batch->images)
    options->release(options->context, batch->images);
  for (int i = 0; i < options->batch; i++)
    text_release(&slot->texts[i]);
  void *blocks[] = {batch->tokens,  batch->end,   batch->short_tokens, batch->short_end,        batch->token_counts,
                    batch->samples, batch->valid, slot->texts,         (void *)batch->captions, slot->bad};
  for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
    memory_release(blocks[i]);
  pthread_mutex_destroy(&slot->lock);
}

/* Rows from `count` on become zero. */
static void clear_tail(struct slot *slot, const struct loader_options *options) {
  struct batch *batch = &slot->batch;
  size_t from = (size_t)batch->count, rows = (size_t)options->batch - from, context = (size_t)options->context_length;
  if (batch->images)
    memset(batch->images + from * slot_image_bytes(options), 0, rows * slot_image_bytes(options));
  int32_t *wide[] = {batch->tokens, batch->short_tokens},
          *narrow[] = {batch->end, batch->short_end, batch->token_counts};
  for (int i = 0; i < 2; i++)
    if (wide[i])
      memset(wide[i] + from * context, 0, rows * context * sizeof(int32_t));
  for (int i = 0; i < 3; i++)
    if (narrow[i])
      memset(narrow[i] + from, 0, rows * sizeof(int32_t));
  memset(batch->samples + from, 0, rows * sizeof batch->samples[0]);
  memset(batch->valid + from, 0, rows * sizeof batch->valid[0]);
  for (size_t i = from; i < from + rows; i++)
    batch->captions[i] = "";
}

void slot_begin(struct slot *slot, const struct loader_options *options, int64_t epoch, int64_t number) {
  int64_t left = options->end - (number * options->stride + options->offset);
  slot->batch.epoch = epoch;
  slot->batch.slot = number;
  slot->batch.count = left <= 0 ? 0 : left < options->batch ? (int)left : options->batch;
  slot->left = slot->batch.count;
  forget_bad(slot);
  clear_tail(slot, options);
}

static int compare_bad(const void *a, const void *b) {
  const struct bad_sample *x = a, *y = b;
  return x->row != y->row ? (x->row > y->row) - (x->row < y->row)
                          : (x->attempt > y->attempt) - (x->attempt < y->attempt);
}

void slot_deliver(struct slot *slot, const struct loader_options *options) {
  if (slot->bad_count > 1)
    qsort(slot->bad, (size_t)slot->bad_count, sizeof slot->bad[0], compare_bad);
  for (int i = 0; options->bad_sample && i < slot->bad_count; i++) {
    int64_t sample = slot->bad[i].sample;
    options->bad_sample(source_key(options->source, sample), source_location(options->source, sample),
                        slot->bad[i].reason);
  }
}

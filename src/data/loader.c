#include "data/loader.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"
#include "data/loader_slot.h"
#include <string.h>

/* Rows are handed out one by one in slot order to whichever thread is free: `cursor` is the next slot to fill, `row`
 * its next row. Slots consumed .. cursor live in the ring; the one the caller holds is `consumed`. */
struct loader {
  struct loader_options options;
  struct slot *ring;
  pthread_t *threads;
  pthread_mutex_t lock; /* guards everything below and the counts in the slots */
  pthread_cond_t work, done;
  bool running, stopping, holding;                  /* holding: the caller has slot `consumed` */
  int busy;                                         /* threads at work on a row */
  int64_t first_epoch, first_slot, slots_per_epoch; /* where the row of slots began */
  int64_t cursor, consumed;                         /* slots since loader_seek */
  int row;
  int64_t bad, samples;
};

static struct slot *slot_at(struct loader *loader, int64_t number) {
  return &loader->ring[number % loader->options.ring];
}

/* The next row to fill, or false when the ring is full or nothing is asked for. Called with the lock held. */
static bool take_row(struct loader *loader, struct slot **slot, int *row) {
  while (loader->running && !loader->stopping && loader->cursor < loader->consumed + loader->options.ring) {
    *slot = slot_at(loader, loader->cursor);
    if (loader->row == 0) {
      int64_t since = loader->first_slot + loader->cursor;
      slot_begin(*slot, &loader->options, loader->first_epoch + since / loader->slots_per_epoch,
                 since % loader->slots_per_epoch);
      if ((*slot)->left == 0)
        pthread_cond_broadcast(&loader->done);
    }
    *row = loader->row++;
    bool taken = *row < (*slot)->batch.count;
    if (loader->row >= (*slot)->batch.count) {
      loader->cursor++;
      loader->row = 0;
    }
    if (taken)
      return true;
  }
  return false;
}

static void *run_thread(void *argument) {
  struct loader *loader = argument;
  struct loader_worker *worker = loader_worker_new(&loader->options);
  struct slot *slot;
  int row;
  pthread_mutex_lock(&loader->lock);
  while (!loader->stopping) {
    if (!take_row(loader, &slot, &row)) {
      pthread_cond_wait(&loader->work, &loader->lock);
      continue;
    }
    loader->busy++;
    pthread_mutex_unlock(&loader->lock);
    slot_fill_row(slot, row, worker, &loader->options);
    pthread_mutex_lock(&loader->lock);
    loader->busy--;
    if (--slot->left == 0 || loader->busy == 0)
      pthread_cond_broadcast(&loader->done);
  }
  pthread_mutex_unlock(&loader->lock);
  loader_worker_release(worker);
  return NULL;
}

static void *allocate_plain(void *context, size_t bytes, const char *label) {
  (void)context;
  return memory_allocate(bytes, label);
}
static void release_plain(void *context, void *block) {
  (void)context;
  memory_release(block);
}

struct loader *loader_open(const struct loader_options *options) {
  struct loader *loader = memory_allocate(sizeof *loader, "loader");
  loader->options = *options;
  loader->options.order.windows = order_windows_new(&options->order);
  struct loader_options *own = &loader->options;
  if (!own->allocate)
    own->allocate = allocate_plain, own->release = release_plain;
  if (own->threads < 1)
    own->threads = 1;
  if (own->ring < 2)
    own->ring = 2;
  loader->ring = memory_allocate((size_t)own->ring * sizeof loader->ring[0], "loader ring");
  for (int i = 0; i < own->ring; i++)
    slot_allocate(&loader->ring[i], own);
  pthread_mutex_init(&loader->lock, NULL);
  pthread_cond_init(&loader->work, NULL);
  pthread_cond_init(&loader->done, NULL);
  loader->threads = memory_allocate((size_t)own->threads * sizeof loader->threads[0], "loader threads");
  for (int i = 0; i < own->threads; i++)
    thread_start(&loader->threads[i], "loader", run_thread, loader);
  return loader;
}

void loader_seek(struct loader *loader, int64_t epoch, int64_t slot, int64_t slots_per_epoch) {
  if (slots_per_epoch < 1 || epoch < 0 || slot < 0)
    fatal("loader_seek: epoch %lld, slot %lld of %lld", (long long)epoch, (long long)slot, (long long)slots_per_epoch);
  pthread_mutex_lock(&loader->lock);
  loader->running = false;
  while (loader->busy > 0)
    pthread_cond_wait(&loader->done, &loader->lock);
  loader->first_epoch = epoch;
  loader->first_slot = slot;
  loader->slots_per_epoch = slots_per_epoch;
  loader->cursor = loader->consumed = loader->row = 0;
  loader->holding = false;
  loader->running = true;
  pthread_cond_broadcast(&loader->work);
  pthread_mutex_unlock(&loader->lock);
}

/* Whether slot `number` has been begun and all its rows are filled. */
static bool is_ready(struct loader *loader, int64_t number) {
  bool begun = number < loader->cursor || (number == loader->cursor && loader->row > 0);
  return begun && slot_at(loader, number)->left == 0;
}

/* With the lock held. */
static void await(struct loader *loader, int64_t number, double *waited_seconds) {
  const double start = clock_seconds();
  while (!is_ready(loader, number))
    pthread_cond_wait(&loader->done, &loader->lock);
  *waited_seconds += clock_seconds() - start;
}

const struct batch *loader_ahead(struct loader *loader, double *waited_seconds) {
  pthread_mutex_lock(&loader->lock);
  const int64_t number = loader->consumed + loader->holding;
  if (waited_seconds)
    await(loader, number, waited_seconds);
  const bool ready = is_ready(loader, number);
  pthread_mutex_unlock(&loader->lock);
  return ready ? &slot_at(loader, number)->batch : NULL;
}

const struct batch *loader_next(struct loader *loader, double *waited_seconds) {
  pthread_mutex_lock(&loader->lock);
  if (!loader->running)
    fatal("loader_next before loader_seek");
  if (loader->holding) {
    loader->consumed++;
    pthread_cond_broadcast(&loader->work);
  }
  loader->holding = true;
  await(loader, loader->consumed, waited_seconds);
  struct slot *slot = slot_at(loader, loader->consumed);
  loader->bad += slot->bad_count;
  loader->samples += slot->batch.count;
  pthread_mutex_unlock(&loader->lock);
  slot_deliver(slot, &loader->options);
  return &slot->batch;
}

int64_t loader_bad_samples(const struct loader *loader) {
  return loader->bad;
}

int64_t loader_samples(const struct loader *loader) {
  return loader->samples;
}

void loader_close(struct loader *loader) {
  if (!loader)
    return;
  pthread_mutex_lock(&loader->lock);
  loader->stopping = true;
  pthread_cond_broadcast(&loader->work);
  pthread_mutex_unlock(&loader->lock);
  for (int i = 0; i < loader->options.threads; i++)
    pthread_join(loader->threads[i], NULL);
  for (int i = 0; i < loader->options.ring; i++)
    slot_release(&loader->ring[i], &loader->options);
  pthread_cond_destroy(&loader->work);
  pthread_cond_destroy(&loader->done);
  pthread_mutex_destroy(&loader->lock);
  order_windows_release(loader->options.order.windows);
  memory_release(loader->threads);
  memory_release(loader->ring);
  memory_release(loader);
}

/* One batch of the loader's ring, and how a row of it is filled. Different rows of a slot may be filled at the same
 * time. */
#ifndef MEMCLIP_DATA_LOADER_SLOT_H
#define MEMCLIP_DATA_LOADER_SLOT_H
#include "data/loader.h"
#include <pthread.h>

struct bad_sample {
  int row, attempt;
  int64_t sample;
  char *reason;
};
struct slot {
  struct batch batch;
  struct text *texts;   /* [batch] captions, reused */
  int left;             /* rows not filled yet; the loader's lock guards it */
  pthread_mutex_t lock; /* guards the bad samples */
  struct bad_sample *bad;
  int bad_count, bad_capacity;
};
size_t slot_image_bytes(const struct loader_options *options); /* of one picture; 0 without pictures */
void slot_allocate(struct slot *slot, const struct loader_options *options);
void slot_release(struct slot *slot, const struct loader_options *options);
/* Empties the slot for slot number `number` of `epoch`. */
void slot_begin(struct slot *slot, const struct loader_options *options, int64_t epoch, int64_t number);
/* Tells of the bad samples in row order. */
void slot_deliver(struct slot *slot, const struct loader_options *options);

/* Buffers of one thread. */
struct loader_worker;
struct loader_worker *loader_worker_new(const struct loader_options *options);
void loader_worker_release(struct loader_worker *worker);
void slot_fill_row(struct slot *slot, int row, struct loader_worker *worker, const struct loader_options *options);
#endif

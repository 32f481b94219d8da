/* Batches in order. Decoding threads fill a ring of slots; slot order is batch order, so the number of threads never
 * changes the data. A bad sample is replaced by order_replacement, counted and told to `bad_sample`; in evaluation
 * (`replace` false), and where 100 replacements are bad too, it stays as a gray image, valid[i] = false. */
#ifndef MEMCLIP_DATA_LOADER_H
#define MEMCLIP_DATA_LOADER_H
#include "data/image.h"
#include "data/order.h"
#include "data/source.h"
#include "data/tokenizer.h"

enum { LOADER_CAPTION_KEYS_MAX = 64 };
enum augment { AUGMENT_NONE, AUGMENT_CROP, AUGMENT_CROP_FIXED };
enum short_caption { SHORT_NONE, SHORT_FIRST_SENTENCE /* up to, not including, the first "." (methods 3.1) */ };
struct loader_options {
  struct source *source;
  struct order order;
  const struct tokenizer *tokenizer; /* NULL: no tokens, and beside images no captions */
  int context_length;
  enum short_caption short_caption;
  bool short_tokens;                /* fill the short arrays */
  bool images;                      /* false: captions only; a bad caption is then all that makes a sample bad */
  struct image_transform transform; /* the pictures' size; its mode and interpolation are those of AUGMENT_NONE */
  enum augment augment;
  struct crop_range crop;
  struct color_jitter color;     /* of crops */
  const double *caption_weights; /* [source_caption_keys]: how likely a json key is tried first, ...; NULL: as given */
  uint64_t seed; /* of crops and colours: keyed by (seed, epoch and position for CROP, sample for CROP_FIXED) */
  struct image_limits limits;
  int batch;              /* samples of a slot: the rank's micro-batch */
  int64_t stride, offset; /* slot number n (0, 1, ...) of an epoch covers positions n*stride + offset .. + batch - 1
                             (stride = batch*ranks, offset = rank*batch) */
  int64_t end;            /* positions per epoch that exist; a slot beyond is short: count < batch (evaluation) */
  bool replace;
  int threads, ring; /* decoding threads; slots, at least 2 */
  void *(*allocate)(void *context, size_t bytes,
                    const char *label); /* for pixel buffers (pinned memory); NULL: memory_allocate */
  void (*release)(void *context, void *block);
  void *context;
  void (*bad_sample)(const char *key, const char *location, const char *reason); /* called from loader_next only */
};
struct batch { /* valid until the loader_next after the one that gave it; [count, ...], rows beyond count are zero */
  int count;
  int64_t epoch, slot;
  uint8_t *images;                                  /* [batch, height, width, 3] RGB */
  int32_t *tokens, *end, *short_tokens, *short_end; /* [batch, context], [batch] */
  int64_t *samples;                                 /* address of each */
  bool *valid;
  int32_t *token_counts; /* before cutting, for statistics */
  const char **captions; /* UTF-8 */
};
struct loader;
struct loader *loader_open(const struct loader_options *options);
/* Starts delivering from slot `slot` of `epoch`; epochs follow each other without end, `slots_per_epoch` slots each. */
void loader_seek(struct loader *loader, int64_t epoch, int64_t slot, int64_t slots_per_epoch);
/* Waits for the next slot. *waited_seconds += time spent waiting. */
const struct batch *loader_next(struct loader *loader, double *waited_seconds);
/* The slot that the next loader_next will give, when it is ready; waits for it unless waited_seconds is NULL. It
 * counts, and its bad samples are told, only once loader_next gives it: where nobody comes to that, it was never there.
 */
const struct batch *loader_ahead(struct loader *loader, double *waited_seconds);
int64_t loader_bad_samples(const struct loader *loader);
int64_t loader_samples(const struct loader *loader);
void loader_close(struct loader *loader);
#endif

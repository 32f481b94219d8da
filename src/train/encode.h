/* Features of a whole source over all ranks: batches dealt in turn, every forward of the same shape (the last one
 * padded), so results do not depend on the number of ranks. */
#ifndef MEMCLIP_TRAIN_ENCODE_H
#define MEMCLIP_TRAIN_ENCODE_H
#include "data/source.h"
#include "data/tokenizer.h"
#include "model/model.h"
#include "train/session.h"

/* Told of memories' selections while images are encoded; the encoder says which samples a batch holds. */
struct encode_watch {
  struct memory_watch memory;
  int64_t first; /* number of the batch's first sample */
  int valid;     /* samples of the batch; rows behind them are padding */
};
struct encode_request {
  struct session *session;
  struct model *model;
  struct source *source;
  int batch;
  bool progress;              /* a progress line on rank 0 */
  struct run *run;            /* asked now and then whether to stop; NULL: never */
  struct encode_watch *watch; /* of encode_images; NULL: nobody listens */
  bool *readable; /* [count] of encode_images, on every rank: false where the image is gray; NULL: not wanted */
  void (*bad_sample)(const char *key, const char *location, const char *reason);
};
/* unit [count,E] on every rank, L2-normalised; raw (NULL: not wanted) before that. Images that cannot be read are gray
 * and counted in *bad. STATUS_REQUEUE or STATUS_STOPPED when the run was asked to stop. Collective. */
enum status encode_images(const struct encode_request *request, float *unit, float *raw, int64_t *bad);
/* Texts by ids [count,context] with `end` [count]: unit [count,E] on every rank. The columns that a text is computed
 * with depend on its own end alone, so equal texts give equal features whatever else is in the set. Collective. */
enum status encode_texts(const struct encode_request *request, const int32_t *ids, const int32_t *end, int64_t count,
                         float *unit);
/* Tokenises by the ranks in turn; ids [count,context], end [count], lengths before cutting [count] on every rank.
 * Collective. */
void encode_tokenize(const struct session *session, const char *const *texts, int64_t count, int context, int32_t *ids,
                     int32_t *end, int32_t *lengths);
#endif

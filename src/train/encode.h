/* Features of a whole source over all ranks: batches dealt in turn, every forward of the same shape (the last one
 * padded), so results do not depend on the number of ranks. */
#ifndef MEMCLIP_TRAIN_ENCODE_H
#define MEMCLIP_TRAIN_ENCODE_H
#include "data/source.h"
#include "data/tokenizer.h"
#include "model/model.h"
#include "train/session.h"

struct encode_request {
  struct session *session;
  struct model *model;
  struct source *source;
  int batch;
  bool progress; /* a progress line on rank 0 */
  void (*bad_sample)(const char *key, const char *location, const char *reason);
};
/* unit [count,E] on every rank, L2-normalised; raw (NULL: not wanted) before that. Images that cannot be read are gray
 * and counted in *bad. Collective. */
enum status encode_images(const struct encode_request *request, float *unit, float *raw, int64_t *bad);
/* Texts by ids [count,context] with `end` [count]: unit [count,E] on every rank. Collective. */
void encode_texts(const struct encode_request *request, const int32_t *ids, const int32_t *end, int64_t count,
                  float *unit);
/* Tokenises; ids [count,context], end [count], lengths before cutting [count] (NULL allowed). */
void encode_tokenize(const struct session *session, const char *const *texts, int64_t count, int32_t *ids, int32_t *end,
                     int32_t *lengths);
#endif

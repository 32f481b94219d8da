/* A data set for evaluation: images of a source, texts with the image each belongs to, and, where the samples carry
 * them (drawn scenes), groups of images that share a short caption and hard negatives. Sets are `val` (the shards of
 * data.val, long captions) and `val-short` (their first sentences). */
#ifndef MEMCLIP_STAGE_EVAL_SET_H
#define MEMCLIP_STAGE_EVAL_SET_H
#include "metric/measure.h"
#include "train/session.h"

struct eval_set {
  const char *name;
  struct source *source; /* borrowed from the session */
  int64_t image_count, text_count, negative_count, truncated;
  char **texts, **negatives, **kinds;
  int64_t *image_of_text, *image_of_negative, *text_of_negative;
  int64_t *group; /* [image_count]; NULL: none */
  int32_t *ids, *end, *negative_ids, *negative_end;
};
struct eval_features {
  float *images, *texts, *negatives;
}; /* unit rows */
enum status eval_sets_open(struct session *session, struct eval_set **sets, int *count);
void eval_set_close(struct eval_set *set);
/* Ids of all texts, once per set. */
enum status eval_set_tokenize(struct eval_set *set, struct session *session);
void eval_features_allocate(struct eval_features *features, const struct eval_set *set, int64_t width);
void eval_features_release(struct eval_features *features);
/* Recalls with intervals, groups and negatives; measure_release frees the list. */
void eval_set_measure(const struct eval_set *set, const struct eval_features *features, int64_t width,
                      struct measure_list *list);
enum status eval_set_write_features(const char *path, const struct eval_set *set, const struct eval_features *features,
                                    const char *label, int64_t width);
#endif

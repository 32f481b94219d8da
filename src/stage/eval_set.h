/* A data set for evaluation: images of a source, texts with the image each belongs to, and, where the samples carry
 * them (drawn scenes), groups of images that share a short caption and hard negatives. The list of sets is in
 * eval_set.c: published benchmarks, and the samples that &data names. */
#ifndef MEMCLIP_STAGE_EVAL_SET_H
#define MEMCLIP_STAGE_EVAL_SET_H
#include "data/annotations.h"
#include "metric/measure.h"
#include "train/session.h"

struct eval_set {
  const char *name, *result_name; /* as in eval.datasets; as the thesis's evaluators write it in results.json */
  char *origin;                   /* what was read */
  const char *note;               /* what the protocol takes; a literal */
  struct source *source;
  bool source_is_borrowed; /* from the session */
  struct annotations annotations;
  int64_t image_count, text_count, negative_count;
  int64_t bad_texts;                  /* captions that cannot be read: named, and empty here */
  char **texts, **negatives, **kinds; /* texts of a benchmark are those of its annotations */
  int64_t *image_of_text, *image_of_negative, *text_of_negative;
  int64_t *group;      /* [image_count]; NULL: none */
  int64_t in_training; /* images whose stem is a key of data.train; -1: not known */
  uint32_t checksum;   /* of names, texts and owners */

  int context; /* what follows is cut to so many ids; 0: not tokenised yet */
  int64_t unique_count, truncated;
  int32_t *ids, *end; /* [unique_count, context], [unique_count] */
  int64_t *unique;    /* [text_count + negative_count] the row that a text, or a negative, has */
  int32_t *tokens;    /* [text_count] before cutting */
};
struct eval_features {
  float *images, *texts, *negatives;
  int64_t width;
}; /* unit rows */

enum status eval_sets_open(struct session *session, struct eval_set **sets, int *count);
void eval_set_close(struct eval_set *set);
/* Groups and hard negatives of drawn scenes, from the samples' JSON members. */
void eval_set_read_facts(struct eval_set *set);
/* How many images of each set have the stem of a training sample's key, where data.train is named. Collective. */
enum status eval_sets_find_leaks(struct session *session, struct eval_set *sets, int count);
/* Ids of all texts, each distinct one once; does nothing when they are there for this context. */
void eval_set_tokenize(struct eval_set *set, struct session *session, int context);
/* Texts and negatives by the tower of `model`, each distinct one once. Collective. */
enum status eval_set_encode_texts(struct eval_set *set, struct session *session, struct model *model,
                                  struct eval_features *features);
void eval_features_release(struct eval_features *features);

/* Ranks by all ranks' shares, then recalls with intervals, groups, negatives and lengths on rank 0; measure_release
 * frees the list. Collective. */
void eval_set_measure(const struct eval_set *set, const struct eval_features *features, struct measure_list *list);
struct eval_origin { /* what a features file says about itself */
  const char *label, *text, *protocol, *checkpoint, *weights_crc;
};
enum status eval_set_write_features(const char *path, const struct eval_set *set, const struct eval_features *features,
                                    const struct eval_origin *origin);
/* clip-retrieval's layout below `folder`: img_emb/img_emb_0.npy, text_emb/text_emb_0.npy, and what the rows are in
 * metadata/metadata_0.csv. */
enum status eval_set_write_npy(const char *folder, const struct eval_set *set, const struct eval_features *features);
#endif

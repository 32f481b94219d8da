/* Small models for tests, run on float images and ids, with the gradient of a linear function of both features. */
#ifndef MEMCLIP_TESTS_TINY_MODEL_H
#define MEMCLIP_TESTS_TINY_MODEL_H
#include "model/model.h"

struct tiny_batch {
  int count, tokens;
  float *images;         /* [count,3,h,w] */
  int32_t *ids, *end;    /* [count,context] */
  float *dimage, *dtext; /* [count,E]: L = <image features, dimage> + <text features, dtext> */
  int64_t *samples;      /* [count] addresses, for dropout */
  int kept;              /* patches of an image when > 0 */
  int32_t *keep;         /* [count,kept] */
};
struct tiny_batch tiny_batch_make(const struct clip_config *config, int count, uint64_t seed);
/* Leaves out all but `kept` patches of each image, others for each. */
void tiny_batch_drop_patches(struct tiny_batch *batch, int grid, int kept);
void tiny_batch_release(struct tiny_batch *batch);
struct model *tiny_model_create(struct device *device, const struct clip_config *config, enum dtype dtype,
                                struct model_switches switches, uint64_t seed, const char *train);
/* The same from a JSON configuration (tiny_parse.c), with keys far enough apart that small changes do not select other
 * slots. */
struct model *tiny_model_open(struct device *device, const char *json, enum dtype dtype, struct model_switches switches,
                              uint64_t seed, const char *train);
/* Features [count,E] each; with `gradients`, the gradient arena is zeroed and filled. Returns L. */
double tiny_model_run(struct model *model, const struct tiny_batch *batch, bool gradients, float *image_features,
                      float *text_features);
/* Smallest multiple of 8 that holds every end, at most the context; all of it without a causal mask. */
int tiny_columns(const struct clip_config *config, const int32_t *end, int count);
#endif

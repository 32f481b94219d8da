/* One WebDataset shard of scenes: KEY.jpg, KEY.txt (long caption), KEY.json (the scene in words), KEY.class.png where
 * asked for. */
#ifndef MEMCLIP_PREP_SCENE_SHARD_H
#define MEMCLIP_PREP_SCENE_SHARD_H
#include "base/error.h"
#include "base/text.h"
#include "scene_negative.h"
#include "scene_output.h"

struct scene_options {
  const char *directory;
  uint64_t seed;
  int pixels, quality;
  int64_t samples_per_shard;
  bool class_maps;
  enum scene_format format;
};
struct scene_shard {
  enum scene_split split;
  int64_t index, first; /* number of the shard in its split, of its first scene */
  int count;
  /* Filled by scene_shard_write. */
  struct text negatives; /* one JSON object per line; held-out splits only */
  int64_t negative_counts[NEGATIVE_KINDS];
  int64_t tokens, tokens_max, over_context; /* of the long captions, start and end included */
};
void scene_key(enum scene_split split, int64_t number, char key[32]);
enum status scene_shard_write(const struct scene_options *options, struct scene_shard *shard);
#endif

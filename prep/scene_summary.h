/* What evaluation needs to know of a run as a whole: groups-SPLIT.jsonl, negatives-SPLIT.jsonl, captions.txt,
 * world.json. */
#ifndef MEMCLIP_PREP_SCENE_SUMMARY_H
#define MEMCLIP_PREP_SCENE_SUMMARY_H
#include "scene_shard.h"

struct scene_counts {
  int64_t samples[SPLIT_COUNT];
};
/* shards: all that were written, by split, then index. */
enum status scene_summary_write(const struct scene_options *options, const struct scene_counts *counts,
                                const struct scene_shard *shards, int shard_count);

/* R@1 that a perfect reader of short captions expects: it knows which captions are true of which pictures of the split
 * and picks evenly among those. */
struct scene_ceiling {
  double text_to_image, image_to_text;
};
struct scene_ceiling scene_ceiling_compute(const struct scene *scenes, int64_t count);
#endif

/* The teacher's embeddings on disk, by sample address: exact only where the crop is a function of the sample (augment
 * none or crop_fixed). A record is [E] fp32 and its CRC-32C, so a half-written one is simply not there. Ranks write
 * different records of the same file. */
#ifndef MEMCLIP_TRAIN_TEACHER_CACHE_H
#define MEMCLIP_TRAIN_TEACHER_CACHE_H
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

struct teacher_cache;
/* `key` says what the features belong to (data, transform, teacher, precision); a file of another key is refused.
 * Collective. */
enum status teacher_cache_open(const char *path, const char *key, int64_t count, int64_t width,
                               struct teacher_cache **cache);
void teacher_cache_close(struct teacher_cache *cache);
bool teacher_cache_read(struct teacher_cache *cache, int64_t sample, float *features);
enum status teacher_cache_write(struct teacher_cache *cache, int64_t sample, const float *features);
#endif

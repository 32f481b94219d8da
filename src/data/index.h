/* Index of one tar shard: its samples (contract 5.1) and where their members lie, so that a sample is read without
 * reading the shard. Kept in a small file beside the shard and trusted while size and time of the tar, and its own
 * checksum, are what it says. */
#ifndef MEMCLIP_DATA_INDEX_H
#define MEMCLIP_DATA_INDEX_H
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct index {
  int64_t tar_bytes, tar_modified_ns;
  int64_t samples, members, notes; /* notes: what was left out */
  const int64_t *offset;           /* [members] of the data in the tar */
  const uint32_t *size;            /* [members] bytes */
  const uint32_t *first;           /* [samples + 1] sample s has members first[s] .. first[s+1]-1 */
  const uint32_t *key_at;          /* [samples] into keys */
  const uint16_t *suffix;          /* [members] into suffix_at */
  const char *keys;                /* NUL-terminated, pooled */
  const char **suffix_names;       /* [suffix_count], lower case */
  const char **note_texts;         /* [notes] one sentence each */
  int suffix_count;
  uint32_t checksum; /* of all of the above but the time */
  void *block;       /* what the pointers point into */
};
/* STATUS_INPUT when `tar` is empty, compressed or no tar; a truncated one gives its complete members and a note. */
enum status index_build(const char *tar, struct index *index);
void index_release(struct index *index);
/* Reads the index of `tar` from where index_save would put it; false when there is none that fits the tar. */
bool index_load(const char *tar, const char *directory, struct index *index);
/* Writes SHARD.idx, or, where that cannot be, a file under a hash of the path in `directory` (NULL: nowhere).
 * STATUS_SYSTEM when neither works. */
enum status index_save(const char *tar, const char *directory, const struct index *index);
/* Member of `sample` with this suffix, or -1. */
int64_t index_find(const struct index *index, int64_t sample, const char *suffix);
/* For index_build and index_load: makes the pointers of `index` from a block as index_save writes it; takes the block.
 */
bool index_adopt(void *block, size_t bytes, struct index *index);
size_t index_block_bytes(const struct index *index);

/* The block: this, then offset, size, first, key_at, suffix, keys, suffix names, notes; texts end in NUL;
 * little-endian, as in memory. */
struct index_header {
  char magic[8];
  uint32_t version, checksum; /* of the block from `tar_bytes` on */
  int64_t tar_modified_ns;
  int64_t tar_bytes, samples, members, suffixes, notes, keys_bytes, suffix_bytes, note_bytes;
};
#define INDEX_MAGIC "MEMCLIDX"
enum { INDEX_VERSION = 2 };
#endif

/* The index of a shard as a file. */
#include "data/index.h"
#include "base/checksum.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static uint32_t block_checksum(const void *block, size_t bytes) {
  size_t from = offsetof(struct index_header, tar_bytes);
  return checksum_crc32c(0, (const char *)block + from, bytes - from);
}

static bool plausible(const struct index_header *header, size_t bytes) {
  const int64_t *counts = &header->samples;
  for (int i = 0; i < 7; i++)
    if (counts[i] < 0 || (uint64_t)counts[i] > bytes)
      return false;
  size_t arrays = (size_t)header->members * 14 + (size_t)header->samples * 8 + 4;
  return sizeof *header + arrays + (size_t)(header->keys_bytes + header->suffix_bytes + header->note_bytes) == bytes;
}

/* Exactly `count` texts that end in NUL, one after another. */
static bool holds_texts(const char *pool, int64_t pool_bytes, int64_t count) {
  int64_t ends = 0;
  for (int64_t i = 0; i < pool_bytes; i++)
    ends += pool[i] == '\0';
  return ends == count && (pool_bytes == 0 || pool[pool_bytes - 1] == '\0');
}

static const char **list_texts(const char *pool, int64_t count) {
  const char **texts = memory_allocate((size_t)(count + 1) * sizeof *texts, "index texts");
  for (int64_t i = 0; i < count; i++, pool += strlen(pool) + 1)
    texts[i] = pool;
  return texts;
}

/* Nothing points out of the tar or out of the block. */
static bool consistent(const struct index *index, const struct index_header *header) {
  if (index->tar_bytes < 0)
    return false;
  for (int64_t s = 0; s < index->samples; s++)
    if (index->first[s] >= index->first[s + 1] || index->key_at[s] >= (uint64_t)header->keys_bytes)
      return false;
  for (int64_t m = 0; m < index->members; m++)
    if (index->offset[m] < 0 || index->offset[m] > index->tar_bytes - (int64_t)index->size[m] ||
        index->suffix[m] >= index->suffix_count)
      return false;
  const char *suffixes = index->keys + header->keys_bytes, *notes = suffixes + header->suffix_bytes;
  return index->first[0] == 0 && index->first[index->samples] == index->members &&
         holds_texts(index->keys, header->keys_bytes, index->samples) &&
         holds_texts(suffixes, header->suffix_bytes, header->suffixes) &&
         holds_texts(notes, header->note_bytes, header->notes);
}

bool index_adopt(void *block, size_t bytes, struct index *index) {
  const struct index_header *header = block;
  if (bytes < sizeof *header || memcmp(header->magic, INDEX_MAGIC, sizeof header->magic) != 0 ||
      header->version != INDEX_VERSION || !plausible(header, bytes) || header->checksum != block_checksum(block, bytes))
    return false;
  const char *at = (const char *)(header + 1);
  *index = (struct index){.tar_bytes = header->tar_bytes,
                          .tar_modified_ns = header->tar_modified_ns,
                          .samples = header->samples,
                          .members = header->members,
                          .notes = header->notes,
                          .suffix_count = (int)header->suffixes,
                          .checksum = header->checksum,
                          .block = block};
  index->offset = (const int64_t *)at;
  index->size = (const uint32_t *)(index->offset + header->members);
  index->first = index->size + header->members;
  index->key_at = index->first + header->samples + 1;
  index->suffix = (const uint16_t *)(index->key_at + header->samples);
  index->keys = (const char *)(index->suffix + header->members);
  if (!consistent(index, header)) {
    *index = (struct index){0};
    return false;
  }
  const char *suffixes = index->keys + header->keys_bytes;
  index->suffix_names = list_texts(suffixes, header->suffixes);
  index->note_texts = list_texts(suffixes + header->suffix_bytes, header->notes);
  return true;
}

size_t index_block_bytes(const struct index *index) {
  const struct index_header *header = index->block;
  return sizeof *header + (size_t)index->members * 14 + (size_t)index->samples * 8 + 4 +
         (size_t)(header->keys_bytes + header->suffix_bytes + header->note_bytes);
}

void index_release(struct index *index) {
  memory_release(index->block);
  memory_release(index->suffix_names);
  memory_release(index->note_texts);
  *index = (struct index){0};
}

static char *path_in(const char *directory, const char *tar) {
  char *absolute = realpath(tar, NULL);
  const char *name = absolute ? absolute : tar;
  uint32_t low = checksum_crc32c(0, name, strlen(name)), high = checksum_crc32c(~0u, name, strlen(name));
  char *file = text_format("%s-%08" PRIx32 "%08" PRIx32 ".idx", text_base_name(name), high, low);
  char *path = text_join_path(directory, file);
  memory_release(file);
  free(absolute);
  return path;
}

static bool load_from(const char *path, const char *tar, struct index *index) {
  struct text content = {0};
  int64_t bytes, modified_ns;
  if (!file_exists(path) || file_read(path, &content) != STATUS_OK ||
      file_stat(tar, &bytes, &modified_ns) != STATUS_OK || !index_adopt(content.data, content.length, index)) {
    text_release(&content);
    return false;
  }
  if (index->tar_bytes == bytes && index->tar_modified_ns == modified_ns)
    return true;
  index_release(index);
  return false;
}

bool index_load(const char *tar, const char *directory, struct index *index) {
  char *beside = text_format("%s.idx", tar);
  char *elsewhere = directory ? path_in(directory, tar) : NULL;
  bool loaded = load_from(beside, tar, index) || (elsewhere && load_from(elsewhere, tar, index));
  memory_release(beside);
  memory_release(elsewhere);
  return loaded;
}

enum status index_save(const char *tar, const char *directory, const struct index *index) {
  char *path = text_format("%s.idx", tar);
  enum status status = file_write_atomic(path, index->block, index_block_bytes(index));
  memory_release(path);
  if (status == STATUS_OK || !directory)
    return status;
  TRY(file_make_directories(directory));
  path = path_in(directory, tar);
  status = file_write_atomic(path, index->block, index_block_bytes(index));
  memory_release(path);
  return status;
}

int64_t index_find(const struct index *index, int64_t sample, const char *suffix) {
  for (uint32_t m = index->first[sample]; m < index->first[sample + 1]; m++)
    if (strcmp(index->suffix_names[index->suffix[m]], suffix) == 0)
      return m;
  return -1;
}

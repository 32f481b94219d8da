/* Samples of tar shards, through their indices. */
#include "data/source_private.h"
#include "base/memory.h"
#include "base/thread.h"
#include "comm/comm.h"
#include <inttypes.h>
#include <string.h>

static bool has_any(const struct index *index, int64_t sample, const struct name_list *suffixes) {
  for (int i = 0; i < suffixes->count; i++)
    if (index_find(index, sample, suffixes->names[i]) >= 0)
      return true;
  return false;
}

/* Reads the index of a shard, or makes and keeps it. An index that can be kept nowhere serves from memory. */
static enum status provide(void *argument, int shard) {
  struct source *source = argument;
  const char *tar = source->paths[shard];
  struct index *index = &source->index[shard];
  if (index->block || index_load(tar, source->index_directory, index))
    return STATUS_OK;
  TRY(index_build(tar, index));
  source->built[shard] = true;
  index_save(tar, source->index_directory, index);
  return STATUS_OK;
}

static enum status provide_share(void *argument, int item) {
  int shard = comm_rank() + item * comm_size();
  return provide(argument, shard);
}

/* The ranks share the making of indices (rank r: shards r, r + R, ...); then each reads the others'. */
static enum status provide_all(struct source *source) {
  int shards = source->path_count, ranks = comm_size(), rank = comm_rank();
  int share = rank < shards ? (shards - rank + ranks - 1) / ranks : 0;
  TRY(comm_agree(thread_for_each(source->threads, share, provide_share, source)));
  if (ranks == 1)
    return STATUS_OK;
  return comm_agree(thread_for_each(source->threads, shards, provide, source));
}

static enum status keep_usable(void *argument, int shard) {
  struct source *source = argument;
  const struct index *index = &source->index[shard];
  struct name_list json = {.names = (char *[]){"json"}, .count = 1};
  const struct name_list *captions = source->caption_is_json ? &json : &source->captions;
  uint32_t *kept = memory_allocate((size_t)(index->samples + 1) * sizeof *kept, "usable samples");
  int64_t count = 0;
  for (int64_t s = 0; s < index->samples; s++)
    if (has_any(index, s, &source->images) && has_any(index, s, captions))
      kept[count++] = (uint32_t)s;
  source->bounds[shard + 1] = count;
  source->kept[shard] = kept;
  if (count == index->samples) {
    memory_release(kept);
    source->kept[shard] = NULL;
  }
  return STATUS_OK;
}

static void count_samples(struct source *source) {
  for (int shard = 0, group = 0; shard < source->path_count; shard++) {
    const struct index *index = &source->index[shard];
    int64_t left_out = index->samples - source->bounds[shard + 1];
    for (int64_t i = 0; i < index->notes; i++)
      source_add_reason(source, "%s", index->note_texts[i]);
    if (left_out > 0) {
      source_add_reason(source,
                        "%s: %" PRId64
                        " samples left out: no image or no caption beside it (the members of a sample must "
                        "stand side by side: unpack it, memclip-shards packs a folder so)",
                        source->paths[shard], left_out);
      source->skipped += left_out - 1;
    }
    source->bounds[shard + 1] += source->bounds[shard];
    for (; group < source->groups && source->group_end[group] == shard + 1; group++)
      source->path_bounds[group + 1] = source->bounds[shard + 1];
    const char *name = text_base_name(source->paths[shard]);
    source->fingerprint = source_hash(source->fingerprint, name, strlen(name) + 1);
    source->fingerprint = source_hash(source->fingerprint, &index->checksum, sizeof index->checksum);
    source->fingerprint = source_hash(source->fingerprint, &source->bounds[shard + 1], sizeof source->bounds[0]);
  }
  source->count = source->bounds[source->path_count];
}

enum status source_open_shards(struct source *source, const struct source_options *options) {
  size_t shards = (size_t)source->path_count;
  source->index = memory_allocate(shards * sizeof source->index[0], "shard indices");
  source->kept = memory_allocate(shards * sizeof source->kept[0], "shard indices");
  source->built = memory_allocate(shards * sizeof source->built[0], "shard indices");
  source->bounds = memory_allocate((shards + 1) * sizeof source->bounds[0], "shard bounds");
  TRY(provide_all(source));
  if (options->stage_to && *options->stage_to)
    TRY(source_stage(source, options->stage_to));
  source->files = source_files_new(source->staged ? source->staged : source->paths, source->path_count);
  thread_for_each(source->threads, source->path_count, keep_usable, source);
  count_samples(source);
  return STATUS_OK;
}

int source_shard_of(const struct source *source, int64_t sample, int64_t *in_shard) {
  int low = 0, high = source->path_count; /* bounds[low] <= sample < bounds[high] */
  while (high - low > 1) {
    int middle = low + (high - low) / 2;
    if (source->bounds[middle] <= sample)
      low = middle;
    else
      high = middle;
  }
  int64_t local = sample - source->bounds[low];
  *in_shard = source->kept[low] ? source->kept[low][local] : local;
  return low;
}

static enum status read_member(struct source *source, int shard, int64_t member, struct text *bytes) {
  const struct index *index = &source->index[shard];
  text_resize(bytes, index->size[member]);
  return source_files_read(source->files, shard, index->offset[member], bytes->data, index->size[member]);
}

enum { CAPTION_BYTES_MAX = 1 << 20 };

static enum status read_caption(struct source *source, int shard, int64_t member, struct text *bytes) {
  const uint32_t size = source->index[shard].size[member];
  if (size > CAPTION_BYTES_MAX)
    return error_set(STATUS_INPUT, "a caption of %" PRIu32 " bytes; more than %d are not read", size,
                     CAPTION_BYTES_MAX);
  return read_member(source, shard, member, bytes);
}

static int64_t find_first(const struct source *source, int shard, int64_t local, const struct name_list *suffixes) {
  int64_t member = -1;
  for (int i = 0; i < suffixes->count && member < 0; i++)
    member = index_find(&source->index[shard], local, suffixes->names[i]);
  return member;
}

enum status source_read_shard(struct source *source, int64_t sample, const int *order, struct text *image,
                              struct text *caption) {
  int64_t local;
  int shard = source_shard_of(source, sample, &local);
  if (image)
    TRY(read_member(source, shard, find_first(source, shard, local, &source->images), image));
  if (!caption)
    return STATUS_OK;
  if (!source->caption_is_json)
    return read_caption(source, shard, find_first(source, shard, local, &source->captions), caption);
  struct text json = {0};
  text_clear(caption);
  enum status status = read_caption(source, shard, index_find(&source->index[shard], local, "json"), &json);
  if (status == STATUS_OK)
    status = caption_from_json(&json, &source->captions, order, caption);
  text_release(&json);
  return status;
}

int source_members(const struct source *source, int64_t sample) {
  int64_t local;
  if (source->is_csv)
    return 0;
  const struct index *index = &source->index[source_shard_of(source, sample, &local)];
  return (int)(index->first[local + 1] - index->first[local]);
}

const char *source_member_suffix(const struct source *source, int64_t sample, int member) {
  int64_t local;
  const struct index *index = &source->index[source_shard_of(source, sample, &local)];
  return index->suffix_names[index->suffix[index->first[local] + (uint32_t)member]];
}

enum status source_read_member(struct source *source, int64_t sample, const char *suffix, struct text *bytes) {
  int64_t local;
  if (source->is_csv)
    return error_set(STATUS_INPUT, "a csv sample has no member \"%s\"", suffix);
  int shard = source_shard_of(source, sample, &local);
  int64_t member = index_find(&source->index[shard], local, suffix);
  if (member < 0)
    return error_set(STATUS_INPUT, "%s of %s has no member \"%s\"", source_key(source, sample), source->paths[shard],
                     suffix);
  return read_member(source, shard, member, bytes);
}

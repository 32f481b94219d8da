/* What memclip-shards reads: a row of records, each a key, an image and a caption (or all members of a tar sample), in
 * the order of the input. */
#ifndef MEMCLIP_PREP_SHARD_INPUT_H
#define MEMCLIP_PREP_SHARD_INPUT_H
#include "data/source.h"
#include "data/tar_writer.h"

struct input_options {
  struct source_options source;
  const char *root;         /* put before image paths that are not absolute; "" for the working directory */
  bool every_row;           /* false: only the first row per image path (the long caption of the thesis' csv) */
  const char *strip_prefix; /* left out of image paths */
};
struct shard_input;
/* The kind is told by the paths: folders, .json, one .csv or .tsv, else tar shards. Collective for tars and csv. */
enum status shard_input_open(const struct input_options *options, struct shard_input **input);
void shard_input_close(struct shard_input *input);
int64_t shard_input_count(const struct shard_input *input);
/* Samples that reading left out; `notes`, valid while open, holds lines about them and about repeated keys. */
int64_t shard_input_left_out(const struct shard_input *input, const char **notes);
uint64_t shard_input_fingerprint(const struct shard_input *input);
/* First record of every input tar (count + 1 numbers), NULL when the input is no tars. */
const int64_t *shard_input_bounds(const struct shard_input *input, char *const **paths, int *shards);
/* Appends the record to the archive: bytes as they are, never re-encoded. STATUS_INPUT when the record is bad and was
 * left out whole. Thread-safe. */
enum status shard_input_copy(struct shard_input *input, int64_t record, struct tar_writer *writer);
#endif

/* The two kinds of source behind source.h. */
#ifndef MEMCLIP_DATA_SOURCE_PRIVATE_H
#define MEMCLIP_DATA_SOURCE_PRIVATE_H
#include "base/file.h"
#include "data/captions.h"
#include "data/index.h"
#include "data/source.h"
#include "data/source_files.h"

struct csv_rows {
  struct file_map map;
  char separator;
  int columns, image_column, caption_column;
  struct text row_at;  /* int64_t per row: offset in the map */
  struct text path_at; /* int64_t per row: offset in paths */
  struct text paths;   /* NUL-terminated, pooled; captions stay in the map */
};
struct source {
  char **paths; /* shards, or the csv */
  int path_count, threads;
  char *index_directory;
  int64_t *path_bounds; /* [groups + 1] per path as given in the options */
  int *group_end;       /* [groups] shards of the given paths, cumulative */
  int groups;
  struct name_list images, captions;
  bool caption_is_json;
  bool is_csv;
  char *const *file_names, *const *file_paths; /* [count] of a list of files, borrowed; else NULL */

  struct index *index; /* [path_count] */
  uint32_t **kept;     /* [path_count] samples with image and caption; NULL: all of the shard */
  int64_t *bounds;     /* [path_count + 1] sample numbers of the shards */
  bool *built;         /* [path_count] this process made the index now */
  char **staged;       /* [path_count] copies that are read in place of the shards, or NULL */
  struct source_files *files;
  struct csv_rows csv;

  int64_t count, skipped;
  const char **reasons;
  int reason_count;
  uint64_t fingerprint;
};

void source_add_reason(struct source *source, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A csv for one rank alone; not collective. */
enum status source_open_csv_alone(const struct source_options *options, struct source **source);
enum status source_open_csv(struct source *source, const struct source_options *options);
enum status source_read_csv(const struct source *source, int64_t sample, struct text *image, struct text *caption);
enum status source_open_shards(struct source *source, const struct source_options *options);
enum status source_read_shard(struct source *source, int64_t sample, const int *order, struct text *image,
                              struct text *caption);
/* Copies the shards into `directory` and has the copies read; behind the indices. Collective. */
enum status source_stage(struct source *source, const char *directory);
/* The shard of a sample and its number in the shard's index. */
int source_shard_of(const struct source *source, int64_t sample, int64_t *in_shard);
/* FNV-1a, 64 bit. */
uint64_t source_hash(uint64_t hash, const void *bytes, size_t size);
#endif

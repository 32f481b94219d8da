/* Where samples live. A sample has one address: its number 0..count-1 over all shards (or CSV rows) in the order given,
 * found through an index of (shard, offset, size) that is built once and kept. Reading a sample reads only its image
 * and caption members. */
#ifndef MEMCLIP_DATA_SOURCE_H
#define MEMCLIP_DATA_SOURCE_H
#include "base/error.h"
#include "base/text.h"
#include <stdbool.h>
#include <stdint.h>

struct source_options {
  const char *const *paths; /* brace lists, "a::b", tar shards, or one csv */
  int path_count;
  const double *weights;                               /* per path, for resampled mode; NULL: 1 */
  const char *format;                                  /* auto, webdataset, csv */
  const char *image, *caption;                         /* "jpg;jpeg;png;webp", "txt" or "json:KEY" */
  const char *csv_separator, *csv_image, *csv_caption; /* empty: tab, filepath, title */
  const char *index_directory; /* where an index goes when the shard's folder cannot be written; NULL: nowhere */
  const char *stage_to; /* the node's own disk, where shards are copied to and read from; NULL or empty: no copies */
  int threads;
};
struct source;
/* Collective: the ranks share the making of indices, and all leave with the same status. */
enum status source_open(const struct source_options *options, struct source **source);
/* Images that are files, without captions: names (the keys) and paths [count], which must outlive the source. */
enum status source_open_files(char *const *names, char *const *paths, int64_t count, struct source **source);
void source_close(struct source *source);
int64_t source_count(const struct source *source);
/* What was left out while indexing: members without a partner, names with "..", truncated shards: number, and sentences
 * for the log (reasons[i] until `*sentences`; one may stand for several samples). */
int64_t source_skipped(const struct source *source, const char *const **reasons, int *sentences);
const char *source_key(const struct source *source, int64_t sample);      /* "s00000"; valid while open */
const char *source_location(const struct source *source, int64_t sample); /* shard path or csv path; valid while open */
/* A number that changes when the data do (names, sizes, counts): kept in checkpoints and cache keys. */
uint64_t source_fingerprint(const struct source *source);
/* Cumulative bounds of the paths: sample numbers of path i are [bounds[i], bounds[i+1]); for weighted sources. */
const int64_t *source_path_bounds(const struct source *source, int *paths);
/* Image bytes and caption of a sample. Thread-safe. Either output may be NULL. STATUS_INPUT for a bad sample (missing,
 * not UTF-8). */
enum status source_read(struct source *source, int64_t sample, struct text *image, struct text *caption);
/* The same with the keys of a json caption tried in another order: numbers [source_caption_keys]; NULL: as given. */
enum status source_read_ordered(struct source *source, int64_t sample, const int *order, struct text *image,
                                struct text *caption);
int source_caption_keys(const struct source *source); /* names behind json:, 0 when captions are no json */
/* Extra member of a webdataset sample by suffix ("json", "class.png"); STATUS_INPUT when it is absent. */
enum status source_read_member(struct source *source, int64_t sample, const char *suffix, struct text *bytes);
/* Members of a webdataset sample, image and caption included, in the order of the tar; a csv sample has none. */
int source_members(const struct source *source, int64_t sample);
const char *source_member_suffix(const struct source *source, int64_t sample, int member);
/* The shards (or the csv) in order, and their sample numbers [bounds[i], bounds[i+1]); built: how many indices this
 * process had to make. */
const int64_t *source_shard_bounds(const struct source *source, char *const **paths, int *shards, int *built);
/* "{00000..00012}", "{a,b}", nesting, "::" lists -> paths. */
enum status source_expand(const char *pattern, char ***paths, int *count);
void source_release_paths(char **paths, int count);
#endif

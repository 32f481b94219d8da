/* Where samples live. A sample has one address: its number 0..count-1 over all shards (or CSV rows) in the order given, found through an index of
 * (shard, offset, size) that is built once and kept. Reading a sample reads only its image and caption members. */
#ifndef MEMCLIP_DATA_SOURCE_H
#define MEMCLIP_DATA_SOURCE_H
#include "base/error.h"
#include "base/text.h"
#include <stdbool.h>
#include <stdint.h>

struct source_options {
  const char *const *paths; /* brace lists, "a::b", tar shards, or one csv */
  int path_count;
  const double *weights;    /* per path, for resampled mode; NULL: 1 */
  const char *format;       /* auto, webdataset, csv */
  const char *image, *caption; /* "jpg;jpeg;png", "txt" or "json:KEY" */
  const char *csv_separator, *csv_image, *csv_caption; /* empty: tab, filepath, title */
  const char *index_directory; /* where an index goes when the shard's folder cannot be written; NULL: nowhere */
  int threads;
};
struct source;
enum status source_open(const struct source_options *options, struct source **source);
void source_close(struct source *source);
int64_t source_count(const struct source *source);
/* What was left out while indexing: members without a partner, names with "..", truncated shards: number, and one sentence each for the log. */
int64_t source_skipped(const struct source *source, const char *const **reasons);
const char *source_key(const struct source *source, int64_t sample);      /* "s00000"; valid while open */
const char *source_location(const struct source *source, int64_t sample); /* shard path or csv path; valid while open */
/* A number that changes when the data do (names, sizes, counts): kept in checkpoints and cache keys. */
uint64_t source_fingerprint(const struct source *source);
/* Cumulative bounds of the paths: sample numbers of path i are [bounds[i], bounds[i+1]); for weighted sources. */
const int64_t *source_path_bounds(const struct source *source, int *paths);
/* Image bytes and caption of a sample. Thread-safe. Either output may be NULL. STATUS_INPUT for a bad sample (missing, not UTF-8). */
enum status source_read(struct source *source, int64_t sample, struct text *image, struct text *caption);
/* Extra member of a webdataset sample by suffix ("json", "class.png"); STATUS_INPUT when it is absent. */
enum status source_read_member(struct source *source, int64_t sample, const char *suffix, struct text *bytes);
/* "{00000..00012}", "{a,b}", nesting, "::" lists -> paths. */
enum status source_expand(const char *pattern, char ***paths, int *count); /* memory_release each and the array */
#endif

#include "data/source_private.h"
#include "base/memory.h"
#include "comm/comm.h"
#include <string.h>

uint64_t source_hash(uint64_t hash, const void *bytes, size_t size) {
  const unsigned char *p = bytes;
  for (size_t i = 0; i < size; i++)
    hash = (hash ^ p[i]) * 0x100000001b3u;
  return hash;
}

/* Reasons beyond a bound are counted, not kept. */
void source_add_reason(struct source *source, const char *format, ...) {
  enum { REASONS_LIMIT = 10000 };
  source->skipped++;
  if (source->reason_count == REASONS_LIMIT)
    return;
  va_list arguments;
  va_start(arguments, format);
  char *sentence = text_format_list(format, arguments);
  va_end(arguments);
  int n = source->reason_count++;
  if ((n & (n - 1)) == 0)
    source->reasons =
        memory_resize(source->reasons, (size_t)(n == 0 ? 1 : 2 * n) * sizeof source->reasons[0], "reasons");
  source->reasons[n] = sentence;
}

/* All paths of all groups in one list; group_end remembers whose they are. */
static enum status expand_paths(struct source *source, const struct source_options *options) {
  source->groups = options->path_count;
  source->group_end = memory_allocate((size_t)(source->groups + 1) * sizeof source->group_end[0], "paths");
  source->path_bounds = memory_allocate((size_t)(source->groups + 1) * sizeof source->path_bounds[0], "path bounds");
  for (int group = 0; group < source->groups; group++) {
    char **paths;
    int count;
    TRY(source_expand(options->paths[group], &paths, &count));
    source->paths = memory_resize(source->paths, (size_t)(source->path_count + count) * sizeof paths[0], "paths");
    memcpy(source->paths + source->path_count, paths, (size_t)count * sizeof paths[0]);
    memory_release(paths);
    source->path_count += count;
    source->group_end[group] = source->path_count;
  }
  return source->path_count > 0 ? STATUS_OK : error_set(STATUS_INPUT, "no data: the list of paths is empty");
}

static enum status choose_format(struct source *source, const char *format, const char *stage_to) {
  const char *path = source->paths[0];
  if (!format || !*format || strcmp(format, "auto") == 0) {
    source->is_csv = text_ends_with(path, ".csv") || text_ends_with(path, ".tsv");
    if (!source->is_csv && !strstr(path, ".tar"))
      return error_set(STATUS_INPUT, "%s: neither .tar nor .csv nor .tsv; say format = 'webdataset' or 'csv'", path);
  } else if (strcmp(format, "csv") == 0)
    source->is_csv = true;
  else if (strcmp(format, "webdataset") != 0)
    return error_set(STATUS_INPUT, "format: \"%s\" is none of auto, webdataset, csv", format);
  if (source->is_csv && stage_to && *stage_to)
    return error_set(STATUS_INPUT,
                     "%s: data.stage_to copies tar shards, not the images of a csv; memclip-shards packs them", path);
  if (source->is_csv && source->path_count > 1)
    return error_set(STATUS_INPUT, "%s: one csv at a time", path);
  return STATUS_OK;
}

static enum status open_source(struct source *source, const struct source_options *options) {
  TRY(expand_paths(source, options));
  TRY(choose_format(source, options->format, options->stage_to));
  const char *caption = options->caption && *options->caption ? options->caption : "txt";
  source->caption_is_json = text_starts_with(caption, "json:");
  source->captions = name_list_parse(source->caption_is_json ? caption + 5 : caption);
  source->images = name_list_parse(options->image && *options->image ? options->image : "jpg;jpeg;png;webp");
  if (source->captions.count == 0 || source->images.count == 0)
    return error_set(STATUS_INPUT, "image = \"%s\", caption = \"%s\": a suffix or a json key is missing",
                     options->image ? options->image : "", caption);
  return STATUS_OK;
}

static struct source *new_source(void) {
  struct source *source = memory_allocate(sizeof *source, "source");
  source->threads = 1;
  source->fingerprint = 0xcbf29ce484222325u;
  return source;
}

enum status source_open_csv_alone(const struct source_options *options, struct source **result) {
  struct source *source = new_source();
  *result = source;
  enum status status = open_source(source, options);
  if (status == STATUS_OK)
    status = source_open_csv(source, options);
  if (status == STATUS_OK)
    return STATUS_OK;
  source_close(source);
  *result = NULL;
  return status;
}

enum status source_open_files(char *const *names, char *const *paths, int64_t count, struct source **result) {
  struct source *source = new_source();
  source->file_names = names;
  source->file_paths = paths;
  source->count = count;
  for (int64_t i = 0; i < count; i++)
    source->fingerprint = source_hash(source->fingerprint, names[i], strlen(names[i]) + 1);
  *result = source;
  return STATUS_OK;
}

static enum status read_file(const struct source *source, int64_t sample, struct text *image, struct text *caption) {
  if (caption)
    text_clear(caption);
  if (!image)
    return STATUS_OK;
  text_clear(image);
  return file_read(source->file_paths[sample], image);
}

enum status source_open(const struct source_options *options, struct source **result) {
  struct source *source = new_source();
  *result = NULL;
  if (options->threads > 0)
    source->threads = options->threads;
  if (options->index_directory && *options->index_directory)
    source->index_directory = memory_copy_string(options->index_directory, "index directory");
  enum status status = comm_agree(open_source(source, options));
  if (status == STATUS_OK) /* source_open_shards agrees by itself */
    status = source->is_csv ? comm_agree(source_open_csv(source, options)) : source_open_shards(source, options);
  if (status == STATUS_OK && source->count == 0)
    status = error_set(STATUS_INPUT, "%s: no sample with an image and a caption%s%s", source->paths[0],
                       source->reason_count > 0 ? "; " : "", source->reason_count > 0 ? source->reasons[0] : "");
  if (status == STATUS_OK)
    *result = source;
  else
    source_close(source);
  return status;
}

void source_close(struct source *source) {
  if (!source)
    return;
  for (int i = 0; source->index && i < source->path_count; i++) {
    index_release(&source->index[i]);
    memory_release(source->kept[i]);
  }
  source_files_release(source->files);
  file_unmap(&source->csv.map);
  text_release(&source->csv.row_at);
  text_release(&source->csv.path_at);
  text_release(&source->csv.paths);
  for (int i = 0; i < source->reason_count; i++)
    memory_release((char *)source->reasons[i]);
  name_list_release(&source->images);
  name_list_release(&source->captions);
  source_release_paths(source->paths, source->path_count);
  if (source->staged)
    source_release_paths(source->staged, source->path_count);
  void *blocks[] = {source->reasons, source->index,           source->kept,        source->built,
                    source->bounds,  source->index_directory, source->path_bounds, source->group_end};
  for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
    memory_release(blocks[i]);
  memory_release(source);
}

int64_t source_count(const struct source *source) {
  return source->count;
}

int64_t source_skipped(const struct source *source, const char *const **reasons, int *sentences) {
  *sentences = source->reason_count;
  *reasons = source->reasons;
  return source->skipped;
}

uint64_t source_fingerprint(const struct source *source) {
  return source->fingerprint;
}

const int64_t *source_path_bounds(const struct source *source, int *paths) {
  *paths = source->groups;
  return source->path_bounds;
}

const int64_t *source_shard_bounds(const struct source *source, char *const **paths, int *shards, int *built) {
  *paths = source->paths;
  *shards = source->path_count;
  *built = 0;
  for (int i = 0; !source->is_csv && i < source->path_count; i++)
    *built += source->built[i];
  return source->is_csv ? source->path_bounds : source->bounds;
}

const char *source_key(const struct source *source, int64_t sample) {
  int64_t local;
  if (source->file_names)
    return source->file_names[sample];
  if (source->is_csv)
    return source->csv.paths.data + ((const int64_t *)source->csv.path_at.data)[sample];
  const struct index *index = &source->index[source_shard_of(source, sample, &local)];
  return index->keys + index->key_at[local];
}

const char *source_location(const struct source *source, int64_t sample) {
  int64_t local;
  if (source->file_paths)
    return source->file_paths[sample];
  return source->paths[source->is_csv ? 0 : source_shard_of(source, sample, &local)];
}

/* The cleaning of captions would drop them; a string could not hold them. */
static void drop_zeros(struct text *caption) {
  size_t kept = 0;
  for (size_t i = 0; i < caption->length; i++)
    if (caption->data[i] != '\0')
      caption->data[kept++] = caption->data[i];
  text_resize(caption, kept);
}

int source_caption_keys(const struct source *source) {
  return source->caption_is_json ? source->captions.count : 0;
}

enum status source_read(struct source *source, int64_t sample, struct text *image, struct text *caption) {
  return source_read_ordered(source, sample, NULL, image, caption);
}

enum status source_read_ordered(struct source *source, int64_t sample, const int *order, struct text *image,
                                struct text *caption) {
  if (sample < 0 || sample >= source->count)
    return error_set(STATUS_INPUT, "sample %lld of %lld", (long long)sample, (long long)source->count);
  TRY(source->file_paths ? read_file(source, sample, image, caption)
      : source->is_csv   ? source_read_csv(source, sample, image, caption)
                         : source_read_shard(source, sample, order, image, caption));
  if (image && image->length == 0)
    return error_set(STATUS_INPUT, "the image is empty");
  if (caption && caption->length > 0 && !text_is_utf8(caption->data, caption->length))
    return error_set(STATUS_INPUT, "the caption is not UTF-8 text");
  if (caption)
    drop_zeros(caption);
  return STATUS_OK;
}

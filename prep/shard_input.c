#include "shard_input.h"
#include "base/checksum.h"
#include "base/file.h"
#include "base/memory.h"
#include <fts.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum input_kind { INPUT_FOLDER, INPUT_JSON, INPUT_CSV, INPUT_TAR };
static const char *const kind_names[] = {"a folder", "json", "csv", "tar shards"};

/* Captions of json and folders are held here; csv and tars are read through `source`. */
struct record {
  char *path, *caption; /* caption NULL: PATH without its suffix, with .txt */
  int64_t sample;       /* of the source */
};
struct shard_input {
  struct source *source;
  enum input_kind kind;
  char *root, *strip_prefix;
  struct record *records; /* none for tars */
  int64_t count, capacity;
  uint64_t fingerprint;
  int64_t left_out;
  struct text notes; /* lines about what was left out or looks wrong */
};

static void add_record(struct shard_input *input, const char *path, const char *caption, int64_t sample) {
  if (input->count == input->capacity) {
    input->capacity = input->capacity == 0 ? 1024 : 2 * input->capacity;
    input->records = memory_resize(input->records, (size_t)input->capacity * sizeof input->records[0], "records");
  }
  input->records[input->count++] = (struct record){.path = memory_copy_string(path, "image path"),
                                                   .caption = caption ? memory_copy_string(caption, "caption") : NULL,
                                                   .sample = sample};
}

/* Line breaks become spaces; blanks at both ends go (methods of the published preparation). */
static void clean_caption(const char *text, struct text *out) {
  size_t length = strlen(text);
  while (length > 0 && strchr(" \t\r\n", text[length - 1]))
    length--;
  size_t start = strspn(text, " \t\r\n");
  text_clear(out);
  text_append(out, text + (start < length ? start : length), start < length ? length - start : 0);
  for (size_t i = 0; i < out->length; i++)
    if (out->data[i] == '\n')
      out->data[i] = ' ';
}

/* ShareGPT4V: a list of {"image": PATH, "conversations": [{"from": "human"}, {"from": "gpt", "value": CAPTION}]}. */
static enum status read_json(struct shard_input *input, const char *path) {
  json_error_t error;
  json_t *root = json_load_file(path, 0, &error);
  if (!json_is_array(root)) {
    json_decref(root);
    return error_set(STATUS_INPUT, "%s: line %d: no JSON list of {image, conversations}: %s", path, error.line,
                     error.text);
  }
  size_t number;
  const json_t *entry;
  struct text caption = {0};
  json_array_foreach(root, number, entry) {
    const char *image = json_string_value(json_object_get(entry, "image"));
    const char *value =
        json_string_value(json_object_get(json_array_get(json_object_get(entry, "conversations"), 1), "value"));
    if (!image || !value) {
      text_append_format(&input->notes, "left out: %s: entry %zu has no image or no second turn with a value\n", path,
                         number);
      input->left_out++;
      continue;
    }
    clean_caption(value, &caption);
    add_record(input, image, caption.data, 0);
  }
  text_release(&caption);
  json_decref(root);
  return STATUS_OK;
}

static bool is_image(const char *name) {
  static const char *const endings[] = {".jpg", ".jpeg", ".png"};
  size_t length = strlen(name);
  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
    if (length > strlen(endings[i]) && text_equal_ignore_case(name + length - strlen(endings[i]), endings[i]))
      return true;
  return false;
}

/* Images of a folder and the folders in it; hidden ones are passed over. */
static enum status read_folder(struct shard_input *input, const char *path) {
  char *roots[] = {(char *)path, NULL};
  FTS *tree = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, NULL);
  if (!tree)
    return error_set(STATUS_INPUT, "cannot list %s", path);
  for (FTSENT *entry; (entry = fts_read(tree)) != NULL;) {
    if (entry->fts_level > 0 && entry->fts_name[0] == '.')
      fts_set(tree, entry, FTS_SKIP);
    else if (entry->fts_info == FTS_DNR)
      text_append_format(&input->notes, "left out: cannot list %s\n", entry->fts_path);
    else if (entry->fts_info == FTS_F && is_image(entry->fts_name))
      add_record(input, entry->fts_path, NULL, 0);
  }
  fts_close(tree);
  return STATUS_OK;
}

static int compare_paths(const void *a, const void *b) {
  return strcmp(((const struct record *)a)->path, ((const struct record *)b)->path);
}

static enum status open_source(struct shard_input *input, const struct source_options *options) {
  const char *const *reasons;
  int sentences;
  TRY(source_open(options, &input->source));
  input->left_out += source_skipped(input->source, &reasons, &sentences);
  for (int i = 0; i < sentences; i++)
    text_append_format(&input->notes, "%s\n", reasons[i]);
  return STATUS_OK;
}

static enum status read_csv(struct shard_input *input, const struct source_options *options) {
  TRY(open_source(input, options));
  for (int64_t i = 0; i < source_count(input->source); i++)
    add_record(input, source_key(input->source, i), "", i);
  return STATUS_OK;
}

/* Keeps the first record of every path, by open addressing over the paths. */
static void keep_first(struct shard_input *input) {
  size_t slots = 16;
  while (slots < 2 * (size_t)input->count)
    slots *= 2;
  int64_t *table = memory_allocate(slots * sizeof *table, "paths seen"), kept = 0; /* record + 1 */
  for (int64_t i = 0; i < input->count; i++) {
    struct record record = input->records[i];
    size_t at = checksum_crc32c(0, record.path, strlen(record.path)) & (slots - 1);
    while (table[at] != 0 && strcmp(input->records[table[at] - 1].path, record.path) != 0)
      at = (at + 1) & (slots - 1);
    if (table[at] != 0) {
      memory_release(record.path);
      memory_release(record.caption);
      continue;
    }
    input->records[kept++] = record;
    table[at] = kept;
  }
  input->count = kept;
  memory_release(table);
}

static void fingerprint_records(struct shard_input *input) {
  uint32_t paths = 0, captions = 0;
  for (int64_t i = 0; input->records && i < input->count; i++) {
    const struct record *record = &input->records[i];
    paths = checksum_crc32c(paths, record->path, strlen(record->path) + 1);
    if (record->caption)
      captions = checksum_crc32c(captions, record->caption, strlen(record->caption) + 1);
  }
  input->fingerprint = (uint64_t)paths << 32 | captions;
  if (input->source)
    input->fingerprint ^= source_fingerprint(input->source);
}

/* Key: the base name up to its first dot, because readers cut there. */
static const char *key_of(const struct shard_input *input, int64_t number, size_t *length) {
  const char *key =
      input->kind == INPUT_TAR ? source_key(input->source, number) : text_base_name(input->records[number].path);
  *length = strcspn(key, ".");
  return key;
}

struct hashed_key {
  uint64_t hash;
  int64_t record;
};
static int compare_hashes(const void *a, const void *b) {
  const struct hashed_key *x = a, *y = b;
  return x->hash != y->hash ? (x->hash > y->hash) - (x->hash < y->hash)
                            : (x->record > y->record) - (x->record < y->record);
}

/* Samples of one key are told apart by nothing, and neighbours might be taken for one. */
static void note_repeated_keys(struct shard_input *input) {
  struct hashed_key *keys = memory_allocate((size_t)input->count * sizeof *keys + 1, "keys");
  int64_t repeated = 0, first = -1;
  size_t length;
  for (int64_t i = 0; i < input->count; i++) {
    const char *key = key_of(input, i, &length);
    keys[i] = (struct hashed_key){
        (uint64_t)checksum_crc32c(0, key, length) << 32 | checksum_crc32c(UINT32_MAX, key, length), i};
  }
  qsort(keys, (size_t)input->count, sizeof *keys, compare_hashes);
  for (int64_t i = 1; i < input->count; i++)
    if (keys[i].hash == keys[i - 1].hash) {
      repeated++;
      first = first < 0 || keys[i].record < first ? keys[i].record : first;
    }
  memory_release(keys);
  if (repeated == 0)
    return;
  const char *key = key_of(input, first, &length);
  text_append_format(&input->notes,
                     "%" PRId64 " samples have the key of an earlier one, the first of them %.*s: nothing tells them "
                     "apart in evaluations and reports\n",
                     repeated, (int)length, key);
}

static enum input_kind kind_of(const char *path) {
  return file_is_directory(path)                                        ? INPUT_FOLDER
         : text_ends_with(path, ".json")                                ? INPUT_JSON
         : text_ends_with(path, ".csv") || text_ends_with(path, ".tsv") ? INPUT_CSV
                                                                        : INPUT_TAR;
}

static enum status read_input(struct shard_input *input, const struct input_options *options) {
  const char *const *paths = options->source.paths;
  int path_count = options->source.path_count;
  input->kind = kind_of(paths[0]);
  for (int i = 1; i < path_count; i++)
    if (kind_of(paths[i]) != input->kind)
      return error_set(STATUS_INPUT, "%s is %s and %s is %s: give inputs of one kind", paths[0],
                       kind_names[input->kind], paths[i], kind_names[kind_of(paths[i])]);
  if (input->kind == INPUT_CSV)
    TRY(read_csv(input, &options->source));
  if (input->kind == INPUT_TAR) {
    TRY(open_source(input, &options->source));
    input->count = source_count(input->source);
  }
  for (int i = 0; i < path_count && input->kind == INPUT_JSON; i++)
    TRY(read_json(input, paths[i]));
  for (int i = 0; i < path_count && input->kind == INPUT_FOLDER; i++)
    TRY(read_folder(input, paths[i]));
  if (input->kind == INPUT_FOLDER && input->count > 0)
    qsort(input->records, (size_t)input->count, sizeof input->records[0], compare_paths);
  if (input->kind != INPUT_TAR && !options->every_row)
    keep_first(input);
  fingerprint_records(input);
  if (!options->every_row)
    note_repeated_keys(input);
  return input->count > 0 ? STATUS_OK : error_set(STATUS_INPUT, "%s holds no sample", paths[0]);
}

enum status shard_input_open(const struct input_options *options, struct shard_input **result) {
  struct shard_input *input = memory_allocate(sizeof *input, "shard input");
  input->root = memory_copy_string(options->root ? options->root : "", "root");
  input->strip_prefix = memory_copy_string(options->strip_prefix ? options->strip_prefix : "", "prefix");
  enum status status = read_input(input, options);
  *result = status == STATUS_OK ? input : NULL;
  if (status != STATUS_OK)
    shard_input_close(input);
  return status;
}

void shard_input_close(struct shard_input *input) {
  for (int64_t i = 0; input->records && i < input->count; i++) {
    memory_release(input->records[i].path);
    memory_release(input->records[i].caption);
  }
  memory_release(input->records);
  memory_release(input->root);
  memory_release(input->strip_prefix);
  text_release(&input->notes);
  source_close(input->source);
  memory_release(input);
}

int64_t shard_input_count(const struct shard_input *input) {
  return input->count;
}

int64_t shard_input_left_out(const struct shard_input *input, const char **notes) {
  *notes = input->notes.length > 0 ? input->notes.data : "";
  return input->left_out;
}

uint64_t shard_input_fingerprint(const struct shard_input *input) {
  return input->fingerprint;
}

const int64_t *shard_input_bounds(const struct shard_input *input, char *const **paths, int *shards) {
  int built;
  return input->kind == INPUT_TAR ? source_shard_bounds(input->source, paths, shards, &built) : NULL;
}

/* All members are read before the first is written, so that a bad sample leaves nothing behind. */
static enum status copy_sample(struct source *source, int64_t sample, struct tar_writer *writer) {
  int members = source_members(source, sample);
  struct text *bytes = memory_allocate((size_t)members * sizeof *bytes, "members");
  enum status status = STATUS_OK;
  for (int m = 0; m < members && status == STATUS_OK; m++)
    status = source_read_member(source, sample, source_member_suffix(source, sample, m), &bytes[m]);
  for (int m = 0; m < members && status == STATUS_OK; m++)
    status = tar_writer_add(writer, source_key(source, sample), source_member_suffix(source, sample, m), bytes[m].data,
                            bytes[m].length);
  for (int m = 0; m < members; m++)
    text_release(&bytes[m]);
  memory_release(bytes);
  return status;
}

static char *locate_image(const struct shard_input *input, const char *path) {
  size_t prefix = strlen(input->strip_prefix);
  return text_join_path(input->root, strncmp(path, input->strip_prefix, prefix) == 0 ? path + prefix : path);
}

static enum status read_record(const struct shard_input *input, const struct record *record, struct text *image,
                               struct text *caption) {
  char *file = locate_image(input, record->path);
  enum status status = file_read(file, image);
  char *dot = strrchr(file, '.');
  if (status == STATUS_OK && !record->caption) {
    char *words = text_format("%.*s.txt", (int)(dot - file), file);
    status = file_read(words, caption);
    memory_release(words);
  } else if (status == STATUS_OK && input->source)
    status = source_read(input->source, record->sample, NULL, caption);
  else if (status == STATUS_OK)
    text_append_string(caption, record->caption);
  memory_release(file);
  if (status == STATUS_OK && image->length == 0)
    return error_set(STATUS_INPUT, "%s is empty", record->path);
  if (status == STATUS_OK && caption->length > 0 && !text_is_utf8(caption->data, caption->length))
    return error_set(STATUS_INPUT, "the caption of %s is not UTF-8", record->path);
  return status;
}

/* The suffix is always jpg: readers tell formats by content. */
enum status shard_input_copy(struct shard_input *input, int64_t number, struct tar_writer *writer) {
  if (input->kind == INPUT_TAR)
    return copy_sample(input->source, number, writer);
  const struct record *record = &input->records[number];
  struct text image = {0}, caption = {0};
  enum status status = read_record(input, record, &image, &caption);
  if (status == STATUS_OK) {
    size_t length;
    const char *base = key_of(input, number, &length);
    char *key = text_format("%.*s", (int)length, base);
    status = tar_writer_add(writer, key, "jpg", image.data, image.length);
    if (status == STATUS_OK)
      status = tar_writer_add(writer, key, "txt", caption.length > 0 ? caption.data : "", caption.length);
    memory_release(key);
  }
  text_release(&image);
  text_release(&caption);
  return status;
}

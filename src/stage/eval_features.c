/* Features on disk: our HDF5 file, and clip-retrieval's layout. */
#include "base/file.h"
#include "base/memory.h"
#include "io/npy.h"
#include "io/store.h"
#include "report/provenance.h"
#include "stage/eval_set.h"

static const char **keys_of(const struct eval_set *set) {
  const char **keys = memory_allocate((size_t)set->image_count * sizeof *keys, "keys");
  for (int64_t i = 0; i < set->image_count; i++)
    keys[i] = source_key(set->source, i);
  return keys;
}

static enum status write_keys(struct store *store, const struct eval_set *set) {
  const char **keys = keys_of(set);
  enum status status = store_write_strings(store, "image/key", keys, set->image_count);
  memory_release(keys);
  return status;
}

static enum status write_negatives(struct store *store, const struct eval_set *set,
                                   const struct eval_features *features) {
  const int64_t count = set->negative_count;
  if (count == 0)
    return STATUS_OK;
  TRY(store_write(store, "negative/features", DTYPE_F32, 2, (int64_t[]){count, features->width}, features->negatives));
  TRY(store_write(store, "negative/image", DTYPE_I64, 1, &count, set->image_of_negative));
  TRY(store_write(store, "negative/right_text", DTYPE_I64, 1, &count, set->text_of_negative));
  TRY(store_write_strings(store, "negative/caption", (const char *const *)set->negatives, count));
  return store_write_strings(store, "negative/kind", (const char *const *)set->kinds, count);
}

static enum status write_set(struct store *store, const struct eval_set *set, const struct eval_features *features) {
  const int64_t images = set->image_count, texts = set->text_count, width = features->width;
  TRY(store_write(store, "image/features", DTYPE_F32, 2, (int64_t[]){images, width}, features->images));
  TRY(write_keys(store, set));
  TRY(store_write(store, "text/features", DTYPE_F32, 2, (int64_t[]){texts, width}, features->texts));
  TRY(store_write(store, "text/image", DTYPE_I64, 1, &texts, set->image_of_text));
  TRY(store_write(store, "text/tokens", DTYPE_I32, 1, &texts, set->tokens));
  TRY(store_write_strings(store, "text/caption", (const char *const *)set->texts, texts));
  if (set->group)
    TRY(store_write(store, "image/group", DTYPE_I64, 1, &images, set->group));
  return write_negatives(store, set, features);
}

static enum status write_attributes(struct store *store, const struct eval_set *set, const struct eval_origin *origin) {
  char *context = text_format("%d", set->context), *leak = text_format("%lld", (long long)set->in_training);
  const struct {
    const char *key, *value;
  } attributes[] = {{"format_version", "2"},
                    {"data_set", set->name},
                    {"data_set_origin", set->origin},
                    {"data_set_note", set->note},
                    {"protocol", origin->protocol},
                    {"model", origin->label},
                    {"text_tower", origin->text},
                    {"checkpoint", origin->checkpoint},
                    {"checkpoint_crc32c", origin->weights_crc},
                    {"context_length", context},
                    {"images_in_training", set->in_training < 0 ? "not known" : leak},
                    {"program", provenance_version()}};
  enum status status = STATUS_OK;
  for (size_t i = 0; status == STATUS_OK && i < sizeof attributes / sizeof attributes[0]; i++)
    status = store_write_attribute(store, attributes[i].key, attributes[i].value);
  memory_release(context);
  memory_release(leak);
  return status;
}

enum status eval_set_write_features(const char *path, const struct eval_set *set, const struct eval_features *features,
                                    const struct eval_origin *origin) {
  struct store *store;
  TRY(store_create(path, &store));
  enum status status = write_set(store, set, features);
  if (status == STATUS_OK)
    status = write_attributes(store, set, origin);
  if (status == STATUS_OK)
    return store_publish(store);
  store_close(store);
  return status;
}

static enum status write_array(const char *folder, const char *kind, const float *rows, int64_t count, int64_t width) {
  char *below = text_join_path(folder, kind), *path = text_format("%s/%s_0.npy", below, kind);
  enum status status = file_make_directories(below);
  if (status == STATUS_OK)
    status = npy_write(path, count, width, rows);
  memory_release(path);
  memory_release(below);
  return status;
}

static void append_csv(struct text *out, const char *words) {
  text_append_string(out, "\"");
  for (const char *c = words; *c; c++)
    text_append(out, *c == '"' ? "\"\"" : c, *c == '"' ? 2 : 1);
  text_append_string(out, "\"");
}

/* A line per text: its row in text_emb, its image's row in img_emb, the image's key and the caption. */
static enum status write_metadata(const char *folder, const struct eval_set *set) {
  char *below = text_join_path(folder, "metadata"), *path = text_join_path(below, "metadata_0.csv");
  struct text lines = {0};
  text_append_string(&lines, "text,image,image_path,caption\n");
  for (int64_t i = 0; i < set->text_count; i++) {
    text_append_format(&lines, "%lld,%lld,", (long long)i, (long long)set->image_of_text[i]);
    append_csv(&lines, source_key(set->source, set->image_of_text[i]));
    text_append_string(&lines, ",");
    append_csv(&lines, set->texts[i]);
    text_append_string(&lines, "\n");
  }
  enum status status = file_make_directories(below);
  if (status == STATUS_OK)
    status = file_write_atomic(path, lines.data, lines.length);
  text_release(&lines);
  memory_release(path);
  memory_release(below);
  return status;
}

enum status eval_set_write_npy(const char *folder, const struct eval_set *set, const struct eval_features *features) {
  TRY(write_array(folder, "img_emb", features->images, set->image_count, features->width));
  TRY(write_array(folder, "text_emb", features->texts, set->text_count, features->width));
  return write_metadata(folder, set);
}

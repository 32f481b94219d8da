#include "features.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/store.h"
#include <glob.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* shape of the dataset `name`, which must have `axes` of them */
static enum status read_shape(struct store *store, const char *name, int axes, int64_t shape[TENSOR_AXES_MAX]) {
  enum dtype dtype;
  int found;
  TRY(store_shape(store, name, &dtype, &found, shape));
  if (found != axes)
    return error_set(STATUS_INPUT,
                     "/%s has %d axes, expected %d; a features file holds /image/features [N,D], /text/features [M,D] "
                     "and /text/image [M]",
                     name, found, axes);
  return STATUS_OK;
}

static enum status read_matrix(struct store *store, const char *name, float **values, int64_t *rows, int64_t *width) {
  int64_t shape[TENSOR_AXES_MAX];
  TRY(read_shape(store, name, 2, shape));
  if (shape[0] < 1 || shape[1] < 1 || shape[0] > INT32_MAX / 2)
    return error_set(STATUS_INPUT, "/%s is %" PRId64 " x %" PRId64 "; nothing can be ranked there", name, shape[0],
                     shape[1]);
  *rows = shape[0];
  *width = shape[1];
  *values = memory_allocate((size_t)(shape[0] * shape[1]) * sizeof **values, "features");
  return store_read(store, name, DTYPE_F32, shape[0] * shape[1], *values);
}

/* Each in 0..bound-1. */
static enum status read_indices(struct store *store, const char *name, int64_t count, int64_t bound,
                                int64_t **indices) {
  int64_t shape[TENSOR_AXES_MAX];
  TRY(read_shape(store, name, 1, shape));
  if (shape[0] != count)
    return error_set(STATUS_INPUT, "/%s has %" PRId64 " entries, expected %" PRId64 ", one per row of the features",
                     name, shape[0], count);
  *indices = memory_allocate((size_t)(count + 1) * sizeof **indices, "indices");
  TRY(store_read(store, name, DTYPE_I64, count, *indices));
  for (int64_t i = 0; i < count; i++)
    if ((*indices)[i] < 0 || (*indices)[i] >= bound)
      return error_set(STATUS_INPUT, "/%s[%" PRId64 "] is %" PRId64 ", outside 0..%" PRId64, name, i, (*indices)[i],
                       bound - 1);
  return STATUS_OK;
}

static void release_strings(char **strings, int64_t count) {
  for (int64_t i = 0; strings && i < count; i++)
    memory_release(strings[i]);
  memory_release(strings);
}

/* Strings that may be absent, then NULL. */
static enum status read_optional_strings(struct store *store, const char *name, int64_t count, char ***strings) {
  int64_t found;
  if (!store_has(store, name))
    return STATUS_OK;
  TRY(store_read_strings(store, name, strings, &found));
  if (found == count)
    return STATUS_OK;
  release_strings(*strings, found);
  *strings = NULL;
  return error_set(STATUS_INPUT, "/%s has %" PRId64 " entries, expected %" PRId64, name, found, count);
}

/* Rows that are not of length 1 within 1e-3 are brought there. */
static enum status check_rows(const char *name, float *values, int64_t rows, int64_t width, bool *normalized) {
  for (int64_t r = 0; r < rows; r++) {
    float *row = values + r * width;
    double squares = 0;
    for (int64_t e = 0; e < width; e++)
      squares += (double)row[e] * (double)row[e];
    if (!(squares <= INFINITY) || squares == INFINITY || squares == 0)
      return error_set(STATUS_INPUT, "row %" PRId64 " of /%s %s; the run that wrote it went wrong or was cut short", r,
                       name, squares == 0 ? "is all zero" : "holds numbers that are not finite");
    if (fabs(squares - 1) <= 2e-3)
      continue;
    *normalized = true;
    for (int64_t e = 0; e < width; e++)
      row[e] = (float)((double)row[e] / sqrt(squares));
  }
  return STATUS_OK;
}

static int compare_numbers(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

/* Any numbers to 0, 1, 2 ... in their order; negative ones (no group) become -1. */
static void number_groups(int64_t *group, int64_t count) {
  int64_t *sorted = memory_allocate((size_t)(count + 1) * sizeof *sorted, "groups"), distinct = 0;
  for (int64_t i = 0; i < count; i++)
    sorted[i] = group[i] < 0 ? -1 : group[i];
  qsort(sorted, (size_t)count, sizeof *sorted, compare_numbers);
  for (int64_t i = 0; i < count; i++)
    if (sorted[i] >= 0 && (distinct == 0 || sorted[distinct - 1] != sorted[i]))
      sorted[distinct++] = sorted[i];
  for (int64_t i = 0; i < count; i++) {
    const int64_t *found =
        group[i] < 0 ? NULL : bsearch(&group[i], sorted, (size_t)distinct, sizeof *sorted, compare_numbers);
    group[i] = found ? found - sorted : -1;
  }
  memory_release(sorted);
}

static enum status read_groups(struct store *store, struct features *features) {
  int64_t shape[TENSOR_AXES_MAX], count = features->set.image_count;
  if (!store_has(store, "image/group"))
    return STATUS_OK;
  TRY(read_shape(store, "image/group", 1, shape));
  if (shape[0] != count)
    return error_set(STATUS_INPUT, "/image/group has %" PRId64 " entries for %" PRId64 " images", shape[0], count);
  features->group = memory_allocate((size_t)count * sizeof *features->group, "groups");
  TRY(store_read(store, "image/group", DTYPE_I64, count, features->group));
  number_groups(features->group, count);
  return STATUS_OK;
}

static enum status read_negatives(struct store *store, struct features *features) {
  int64_t width;
  if (!store_has(store, "negative/features"))
    return STATUS_OK;
  TRY(read_matrix(store, "negative/features", &features->negatives, &features->negative_count, &width));
  if (width != features->set.width)
    return error_set(STATUS_INPUT, "/negative/features are %" PRId64 " wide, the others %" PRId64, width,
                     features->set.width);
  TRY(check_rows("negative/features", features->negatives, features->negative_count, width,
                 &features->normalized_here));
  TRY(read_indices(store, "negative/right_text", features->negative_count, features->set.text_count,
                   &features->right_text));
  TRY(read_indices(store, "negative/image", features->negative_count, features->set.image_count,
                   &features->negative_image));
  TRY(read_optional_strings(store, "negative/caption", features->negative_count, &features->wrong));
  return read_optional_strings(store, "negative/kind", features->negative_count, &features->kinds);
}

/* Lengths of captions need the context too: files of version 1 have neither. */
static enum status read_tokens(struct store *store, struct features *features) {
  char *context;
  int64_t shape[TENSOR_AXES_MAX], count = features->set.text_count;
  if (!store_has(store, "text/tokens") || store_read_attribute(store, "context_length", &context) != STATUS_OK)
    return STATUS_OK;
  features->context = atoi(context);
  memory_release(context);
  TRY(read_shape(store, "text/tokens", 1, shape));
  if (shape[0] != count || features->context < 1)
    return error_set(STATUS_INPUT, "/text/tokens has %" PRId64 " entries for %" PRId64 " texts, cut to %d tokens",
                     shape[0], count, features->context);
  features->tokens = memory_allocate((size_t)count * sizeof *features->tokens, "token counts");
  return store_read(store, "text/tokens", DTYPE_I32, count, features->tokens);
}

static enum status read_set(struct store *store, struct features *features) {
  struct retrieval *set = &features->set;
  int64_t width;
  TRY(read_matrix(store, "image/features", &features->images, &set->image_count, &set->width));
  TRY(read_matrix(store, "text/features", &features->texts, &set->text_count, &width));
  if (width != set->width)
    return error_set(STATUS_INPUT,
                     "/image/features are %" PRId64 " wide, /text/features %" PRId64 "; they are of different models",
                     set->width, width);
  TRY(read_indices(store, "text/image", set->text_count, set->image_count, &features->image_of_text));
  TRY(check_rows("image/features", features->images, set->image_count, width, &features->normalized_here));
  TRY(check_rows("text/features", features->texts, set->text_count, width, &features->normalized_here));
  set->images = features->images;
  set->texts = features->texts;
  set->image_of_text = features->image_of_text;
  TRY(read_optional_strings(store, "image/key", set->image_count, &features->keys));
  TRY(read_optional_strings(store, "text/caption", set->text_count, &features->captions));
  TRY(read_tokens(store, features));
  TRY(read_groups(store, features));
  return read_negatives(store, features);
}

/* runs/NAME/features/DATASET.LABEL.h5 -> NAME, and DATASET.LABEL.h5 elsewhere -> its name without .h5 */
static char *label_of_path(const char *path) {
  char *copy = memory_copy_string(path, "label"), *label;
  char *end = copy + strlen(copy);
  if (text_ends_with(copy, ".h5"))
    end[-3] = '\0';
  const char *base = text_base_name(copy);
  char *folder = strstr(copy, "/features/");
  if (folder && folder + strlen("/features/") == base) {
    *folder = '\0';
    label = memory_copy_string(text_base_name(copy), "label");
  } else {
    label = memory_copy_string(base, "label");
  }
  memory_release(copy);
  return label;
}

static void read_attribute(struct store *store, const char *key, char **value) {
  if (store_read_attribute(store, key, value) != STATUS_OK)
    *value = NULL;
}

/* The model as eval calls it ("model" when it was given no label: then the path tells more). */
static void read_names(struct store *store, struct features *features) {
  const struct {
    const char *key;
    char **value;
  } attributes[] = {{"data_set", &features->data_set},
                    {"data_set_note", &features->note},
                    {"data_set_origin", &features->origin},
                    {"protocol", &features->protocol},
                    {"text_tower", &features->text_tower},
                    {"checkpoint", &features->checkpoint},
                    {"images_in_training", &features->in_training}};
  for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++)
    read_attribute(store, attributes[i].key, attributes[i].value);
  if (store_read_attribute(store, "model", &features->label) == STATUS_OK && strcmp(features->label, "model") != 0)
    return;
  memory_release(features->label);
  features->label = label_of_path(features->path);
}

/* Version 1 had no such attribute; what comes after ours may mean something else. */
static enum status check_version(struct store *store) {
  enum { VERSION = 2 };
  char *version;
  read_attribute(store, "format_version", &version);
  const int number = version ? atoi(version) : 1;
  memory_release(version);
  return number <= VERSION ? STATUS_OK
                           : error_set(STATUS_INPUT,
                                       "format version %d is newer than this program reads (%d); use the memclip-* "
                                       "tools of the version that wrote it",
                                       number, VERSION);
}

enum status features_read(const char *path, struct features *features) {
  struct store *store;
  *features = (struct features){.path = memory_copy_string(path, "path")};
  enum status status = store_open(path, &store);
  if (status == STATUS_OK) {
    status = check_version(store);
    if (status == STATUS_OK)
      status = read_set(store, features);
    if (status != STATUS_OK && strstr(error_message(), path) == NULL)
      error_context(status, "%s", path);
    if (status == STATUS_OK)
      read_names(store, features);
    store_close(store);
  }
  if (status != STATUS_OK)
    features_release(features);
  return status;
}

void features_release(struct features *features) {
  release_strings(features->keys, features->set.image_count);
  release_strings(features->captions, features->set.text_count);
  release_strings(features->kinds, features->negative_count);
  release_strings(features->wrong, features->negative_count);
  memory_release(features->images);
  memory_release(features->texts);
  memory_release(features->image_of_text);
  memory_release(features->group);
  memory_release(features->negatives);
  memory_release(features->right_text);
  memory_release(features->negative_image);
  memory_release(features->path);
  memory_release(features->label);
  memory_release(features->data_set);
  memory_release(features->tokens);
  char *attributes[] = {features->note,       features->origin,     features->protocol,
                        features->text_tower, features->checkpoint, features->in_training};
  for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++)
    memory_release(attributes[i]);
  *features = (struct features){0};
}

struct measure_extras features_extras(const struct features *features) {
  return (struct measure_extras){.group = features->group,
                                 .negatives = features->negatives,
                                 .right_text = features->right_text,
                                 .negative_image = features->negative_image,
                                 .negative_kind = (const char *const *)features->kinds,
                                 .negative_count = features->negative_count,
                                 .tokens = features->tokens,
                                 .context = features->context};
}

static void add_path(char ***paths, int *count, const char *path) {
  *paths = memory_resize(*paths, (size_t)(*count + 1) * sizeof **paths, "paths");
  (*paths)[(*count)++] = memory_copy_string(path, "path");
}

static bool is_listed(char *const *paths, int count, const char *path) {
  for (int i = 0; i < count; i++)
    if (strcmp(paths[i], path) == 0)
      return true;
  return false;
}

/* In the order in which the run evaluated them (evaluation.jsonl), others after them by name. */
static void add_in_order(const char *run, const char *folder, const glob_t *found, char ***paths, int *count) {
  char *record = text_join_path(run, "evaluation.jsonl"), *rest;
  struct text lines = {0};
  if (file_exists(record) && file_read(record, &lines) != STATUS_OK)
    text_clear(&lines);
  rest = lines.data;
  for (char *line; rest && (line = strsep(&rest, "\n")) != NULL;) {
    json_t *object = json_loads(line, 0, NULL);
    const char *set = json_string_value(json_object_get(object, "set")),
               *label = json_string_value(json_object_get(object, "label"));
    char *path = set && label ? text_format("%s/%s.%s.h5", folder, set, label) : NULL;
    if (path && is_listed(found->gl_pathv, (int)found->gl_pathc, path) && !is_listed(*paths, *count, path))
      add_path(paths, count, path);
    memory_release(path);
    json_decref(object);
  }
  for (size_t f = 0; f < found->gl_pathc; f++)
    if (!is_listed(*paths, *count, found->gl_pathv[f]))
      add_path(paths, count, found->gl_pathv[f]);
  text_release(&lines);
  memory_release(record);
}

enum status features_list_files(char *const *names, int name_count, char ***paths, int *count) {
  *paths = NULL;
  *count = 0;
  for (int i = 0; i < name_count; i++) {
    if (!file_is_directory(names[i])) {
      add_path(paths, count, names[i]);
      continue;
    }
    glob_t found;
    char *folder = text_join_path(names[i], "features"), *pattern = text_join_path(folder, "*.h5");
    int result = glob(pattern, 0, NULL, &found);
    if (result == 0)
      add_in_order(names[i], folder, &found, paths, count);
    globfree(&found);
    memory_release(pattern);
    memory_release(folder);
    if (result == 0)
      continue;
    for (int p = 0; p < *count; p++)
      memory_release((*paths)[p]);
    memory_release(*paths);
    *paths = NULL;
    *count = 0;
    return error_set(STATUS_INPUT, "%s holds no features/*.h5; run the stage eval with save_features=.true. there",
                     names[i]);
  }
  return STATUS_OK;
}

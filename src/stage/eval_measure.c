/* Metrics of an evaluation set and its features file. */
#include "base/memory.h"
#include "comm/comm.h"
#include "io/store.h"
#include "stage/eval_set.h"

void eval_set_measure(const struct eval_set *set, const struct eval_features *features, int64_t width,
                      struct measure_list *list) {
  const struct retrieval retrieval = {features->images, features->texts, set->image_count,
                                      set->text_count,  width,           set->image_of_text};
  const struct measure_extras extras = {.group = set->group,
                                        .negatives = features->negatives,
                                        .right_text = set->text_of_negative,
                                        .negative_image = set->image_of_negative,
                                        .negative_kind = (const char *const *)set->kinds,
                                        .negative_count = set->negative_count};
  measure_retrieval(&retrieval, &extras, MEASURE_DRAWS, MEASURE_SEED, list);
}

static enum status write_features(struct store *store, const struct eval_set *set, const struct eval_features *features,
                                  int64_t width) {
  const char **keys = memory_allocate((size_t)set->image_count * sizeof *keys, "keys");
  for (int64_t i = 0; i < set->image_count; i++)
    keys[i] = source_key(set->source, i);
  enum status status =
      store_write(store, "image/features", DTYPE_F32, 2, (int64_t[]){set->image_count, width}, features->images);
  if (status == STATUS_OK)
    status = store_write_strings(store, "image/key", keys, set->image_count);
  memory_release(keys);
  TRY(status);
  TRY(store_write(store, "text/features", DTYPE_F32, 2, (int64_t[]){set->text_count, width}, features->texts));
  TRY(store_write(store, "text/image", DTYPE_I64, 1, &set->text_count, set->image_of_text));
  TRY(store_write_strings(store, "text/caption", (const char *const *)set->texts, set->text_count));
  if (set->group)
    TRY(store_write(store, "image/group", DTYPE_I64, 1, &set->image_count, set->group));
  if (set->negative_count == 0)
    return STATUS_OK;
  TRY(store_write(store, "negative/features", DTYPE_F32, 2, (int64_t[]){set->negative_count, width},
                  features->negatives));
  TRY(store_write(store, "negative/image", DTYPE_I64, 1, &set->negative_count, set->image_of_negative));
  TRY(store_write(store, "negative/right_text", DTYPE_I64, 1, &set->negative_count, set->text_of_negative));
  return store_write_strings(store, "negative/kind", (const char *const *)set->kinds, set->negative_count);
}

enum status eval_set_write_features(const char *path, const struct eval_set *set, const struct eval_features *features,
                                    const char *label, int64_t width) {
  struct store *store;
  TRY(store_create(path, &store));
  enum status status = write_features(store, set, features, width);
  if (status == STATUS_OK)
    status = store_write_attribute(store, "data_set", set->name);
  if (status == STATUS_OK)
    status = store_write_attribute(store, "model", label);
  if (status == STATUS_OK)
    return store_publish(store);
  store_close(store);
  return status;
}

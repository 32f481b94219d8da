#include "usage.h"
#include "base/dtype.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/store.h"
#include <glob.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const usage_class_names[USAGE_CLASSES] = {"CLS", "patches"};

static enum status read_shape(struct store *store, const char *name, int axes, int64_t shape[TENSOR_AXES_MAX]) {
  enum dtype dtype;
  int found;
  TRY(store_shape(store, name, &dtype, &found, shape));
  return found == axes ? STATUS_OK : error_set(STATUS_INPUT, "/%s has %d axes, expected %d", name, found, axes);
}

static enum status read_counts(struct store *store, struct usage_layer *layer) {
  int64_t shape[TENSOR_AXES_MAX];
  char *names[2] = {text_format("block_%d/count", layer->block), text_format("block_%d/weight", layer->block)};
  enum status status = read_shape(store, names[0], 3, shape);
  const int64_t cells = status == STATUS_OK ? shape[0] * shape[1] * shape[2] : 0;
  if (status == STATUS_OK && (shape[0] != USAGE_CLASSES || shape[1] < 1 || shape[2] < 1))
    status = error_set(STATUS_INPUT, "/%s is not [%d, heads, slots]", names[0], USAGE_CLASSES);
  if (status == STATUS_OK) {
    layer->heads = shape[1];
    layer->slots = shape[2];
    layer->count = memory_allocate((size_t)cells * sizeof *layer->count, "usage");
    layer->weight = memory_allocate((size_t)cells * sizeof *layer->weight, "usage");
    status = store_read(store, names[0], DTYPE_I64, cells, layer->count);
  }
  if (status == STATUS_OK)
    status = store_read(store, names[1], DTYPE_F32, cells, layer->weight);
  memory_release(names[0]);
  memory_release(names[1]);
  return status;
}

static enum status read_sample(struct store *store, struct usage_layer *layer) {
  int64_t shape[TENSOR_AXES_MAX];
  char *names[2] = {text_format("block_%d/sample_index", layer->block),
                    text_format("block_%d/sample_margin", layer->block)};
  enum status status = read_shape(store, names[0], 4, shape);
  if (status == STATUS_OK && shape[2] != layer->heads)
    status =
        error_set(STATUS_INPUT, "/%s has %" PRId64 " heads, the counts %" PRId64, names[0], shape[2], layer->heads);
  if (status == STATUS_OK) {
    layer->images = shape[0];
    layer->tokens = shape[1];
    layer->knn = shape[3];
    const int64_t entries = shape[0] * shape[1] * shape[2];
    layer->index = memory_allocate((size_t)(entries * shape[3] + 1) * sizeof *layer->index, "usage");
    status = store_read(store, names[0], DTYPE_I32, entries * shape[3], layer->index);
    if (status == STATUS_OK && store_has(store, names[1])) {
      layer->margin = memory_allocate((size_t)(entries + 1) * sizeof *layer->margin, "usage");
      status = store_read(store, names[1], DTYPE_F32, entries, layer->margin);
    }
  }
  memory_release(names[0]);
  memory_release(names[1]);
  return status;
}

enum { BLOCKS_MAX = 256 };

static enum status read_layers(struct store *store, struct usage_file *file) {
  file->layers = memory_allocate(BLOCKS_MAX * sizeof *file->layers, "usage");
  for (int block = 0; block < BLOCKS_MAX; block++) {
    char *name = text_format("block_%d/count", block);
    const bool there = store_has(store, name);
    memory_release(name);
    if (!there)
      continue;
    struct usage_layer *layer = &file->layers[file->count++];
    layer->block = block;
    TRY(read_counts(store, layer));
    TRY(read_sample(store, layer));
  }
  return file->count > 0 ? STATUS_OK
                         : error_set(STATUS_INPUT, "it holds no counts of memory slots; run the stage eval with "
                                                   "memory_usage=.true. and name the run or its usage/NAME.h5");
}

static void read_attribute(struct store *store, const char *key, char **value) {
  if (store_read_attribute(store, key, value) != STATUS_OK)
    *value = memory_copy_string("-", "attribute");
}

enum status usage_read(const char *path, struct usage_file *file) {
  struct store *store;
  *file = (struct usage_file){.path = memory_copy_string(path, "path")};
  enum status status = store_open(path, &store);
  if (status == STATUS_OK) {
    status = read_layers(store, file);
    if (status != STATUS_OK && !strstr(error_message(), path))
      error_context(status, "%s", path);
    if (status == STATUS_OK) {
      read_attribute(store, "model", &file->label);
      read_attribute(store, "data_set", &file->data_set);
      read_attribute(store, "checkpoint", &file->checkpoint);
    }
    store_close(store);
  }
  if (status != STATUS_OK)
    usage_release(file);
  return status;
}

void usage_release(struct usage_file *file) {
  for (int i = 0; i < file->count; i++) {
    void *blocks[] = {file->layers[i].count, file->layers[i].weight, file->layers[i].index, file->layers[i].margin};
    for (size_t b = 0; b < sizeof blocks / sizeof blocks[0]; b++)
      memory_release(blocks[b]);
  }
  memory_release(file->layers);
  memory_release(file->path);
  memory_release(file->label);
  memory_release(file->data_set);
  memory_release(file->checkpoint);
  *file = (struct usage_file){0};
}

enum status usage_list_files(const char *name, char ***paths, int *count) {
  *paths = memory_allocate(sizeof **paths, "paths");
  *count = 0;
  if (!file_is_directory(name)) {
    (*paths)[(*count)++] = memory_copy_string(name, "path");
    return STATUS_OK;
  }
  glob_t found;
  char *pattern = text_format("%s/usage/*.h5", name);
  const int result = glob(pattern, 0, NULL, &found);
  *paths = memory_resize(*paths, (found.gl_pathc + 1) * sizeof **paths, "paths");
  for (size_t f = 0; result == 0 && f < found.gl_pathc; f++)
    (*paths)[(*count)++] = memory_copy_string(found.gl_pathv[f], "path");
  globfree(&found);
  memory_release(pattern);
  if (result == 0)
    return STATUS_OK;
  memory_release(*paths);
  *paths = NULL;
  return error_set(STATUS_INPUT, "%s holds no usage/*.h5; run the stage eval there with memory_usage=.true.", name);
}

static int compare_floats(const void *a, const void *b) {
  const float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

/* Over the sample's tokens of the class. */
static double median_margin(const struct usage_layer *layer, int class, int64_t head) {
  int64_t kept = 0;
  if (!layer->margin || layer->images * layer->tokens == 0)
    return NAN;
  float *margins = memory_allocate((size_t)(layer->images * layer->tokens) * sizeof *margins, "margins");
  for (int64_t i = 0; i < layer->images; i++)
    for (int64_t t = class == 0 ? 0 : 1; t < (class == 0 ? 1 : layer->tokens); t++)
      margins[kept++] = layer->margin[(i * layer->tokens + t) * layer->heads + head];
  if (kept > 0)
    qsort(margins, (size_t)kept, sizeof *margins, compare_floats);
  const double median = kept > 0 ? (double)margins[kept / 2] : NAN;
  memory_release(margins);
  return median;
}

static void note_top(struct usage_summary *summary, int64_t slot, double share) {
  int place = USAGE_TOP;
  while (place > 0 && (summary->top[place - 1] < 0 || share > summary->top_share[place - 1]))
    place--;
  if (place == USAGE_TOP)
    return;
  for (int i = USAGE_TOP - 1; i > place; i--) {
    summary->top[i] = summary->top[i - 1];
    summary->top_share[i] = summary->top_share[i - 1];
  }
  summary->top[place] = slot;
  summary->top_share[place] = share;
}

static double part_of_entropy(double share) {
  return share > 0 ? -share * log(share) : 0;
}

struct usage_summary usage_summarize(const struct usage_layer *layer, int class, int64_t head) {
  const int64_t *count = layer->count + (class * layer->heads + head) * layer->slots;
  const float *weight = layer->weight + (class * layer->heads + head) * layer->slots;
  struct usage_summary summary = {.top = {-1, -1, -1}, .margin = median_margin(layer, class, head)};
  double weights = 0, entropy = 0, weighted = 0;
  for (int64_t s = 0; s < layer->slots; s++) {
    summary.reads += count[s];
    summary.used += count[s] > 0;
    weights += (double)weight[s];
  }
  for (int64_t s = 0; s < layer->slots && summary.reads > 0; s++) {
    const double share = (double)count[s] / (double)summary.reads;
    entropy += part_of_entropy(share);
    weighted += part_of_entropy((double)weight[s] / weights);
    note_top(&summary, s, share);
  }
  summary.dead_share = 1 - (double)summary.used / (double)layer->slots;
  summary.effective = exp(entropy);
  summary.effective_weighted = exp(weighted);
  summary.kl = log((double)layer->slots) - entropy;
  return summary;
}

/* Share of `after`'s selections that are not among `before`'s of the same token and head. */
static double churn(const struct usage_layer *before, const struct usage_layer *after) {
  const int64_t knn = after->knn, entries = after->images * after->tokens * after->heads;
  int64_t kept = 0;
  if (before->images != after->images || before->tokens != after->tokens || before->heads != after->heads ||
      before->knn != knn || before->slots != after->slots || entries == 0)
    return NAN;
  for (int64_t e = 0; e < entries; e++)
    for (int64_t j = 0; j < knn; j++)
      for (int64_t k = 0; k < knn; k++)
        kept += after->index[e * knn + j] == before->index[e * knn + k];
  return 1 - (double)kept / (double)(entries * knn);
}

static double distance(const struct usage_layer *before, const struct usage_layer *after) {
  const int64_t cells = USAGE_CLASSES * after->heads * after->slots;
  double reads[2] = {0}, sum = 0;
  if (before->heads != after->heads || before->slots != after->slots)
    return NAN;
  for (int64_t i = 0; i < cells; i++) {
    reads[0] += (double)before->count[i];
    reads[1] += (double)after->count[i];
  }
  for (int64_t i = 0; i < cells; i++)
    sum += fabs((double)after->count[i] / reads[1] - (double)before->count[i] / reads[0]);
  return sum / 2;
}

/* The value table of a block; NULL when the checkpoint cannot be read. */
static float *read_values(const char *checkpoint, int block, int64_t *count) {
  struct store *store;
  int64_t shape[TENSOR_AXES_MAX];
  float *values = NULL;
  if (store_open(checkpoint, &store) != STATUS_OK)
    return NULL;
  char *name = text_format("model/visual.transformer.resblocks.%d.mlp.values.weight", block);
  if (read_shape(store, name, 2, shape) == STATUS_OK) {
    *count = shape[0] * shape[1];
    values = memory_allocate((size_t)*count * sizeof *values, "values");
    if (store_read(store, name, DTYPE_F32, *count, values) != STATUS_OK) {
      memory_release(values);
      values = NULL;
    }
  }
  memory_release(name);
  store_close(store);
  return values;
}

static void compare_values(const char *before, const char *after, int block, struct usage_change *change) {
  int64_t count = 0, count_after = 0, changed = 0;
  float *a = read_values(before, block, &count), *b = read_values(after, block, &count_after);
  double moved = 0, size = 0;
  for (int64_t i = 0; a && b && count == count_after && i < count; i++) {
    moved += ((double)b[i] - (double)a[i]) * ((double)b[i] - (double)a[i]);
    size += (double)a[i] * (double)a[i];
    changed += bf16_from_float(a[i]) != bf16_from_float(b[i]);
  }
  if (a && b && count == count_after && count > 0) {
    change->drift = sqrt(moved / fmax(size, 1e-300));
    change->bf16_changed = (double)changed / (double)count;
  }
  memory_release(a);
  memory_release(b);
}

struct usage_change usage_compare(const struct usage_file *before, const struct usage_file *after, int layer) {
  struct usage_change change = {NAN, NAN, NAN, NAN};
  for (int i = 0; i < before->count; i++) {
    if (before->layers[i].block != after->layers[layer].block)
      continue;
    change.churn = churn(&before->layers[i], &after->layers[layer]);
    change.distance = distance(&before->layers[i], &after->layers[layer]);
    compare_values(before->checkpoint, after->checkpoint, after->layers[layer].block, &change);
  }
  return change;
}

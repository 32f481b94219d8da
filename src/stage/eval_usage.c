#include "stage/eval_usage.h"
#include "base/file.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "io/store.h"
#include "report/provenance.h"
#include "report/report.h"
#include <math.h>
#include <stdlib.h>

enum { CLASSES = 2 /* CLS, patches */, SAMPLE_IMAGES = 32, WEIGHT_BITS = 24 };

struct layer_usage {
  int block;
  int64_t tokens;  /* per image: 1 in a pooled block */
  int64_t *count;  /* [CLASSES,H,slots] selections */
  int64_t *weight; /* the same, sums of weights in units of 2^-24: whole numbers add alike on any number of ranks */
  int32_t *sample_index; /* [SAMPLE_IMAGES,tokens,H,knn]; every rank holds zeros where another rank looked */
  float *sample_margin;  /* [SAMPLE_IMAGES,tokens,H] score of the last slot taken less that of the next one */
};
struct usage {
  struct session *session;
  struct model *model;
  struct encode_watch watch;
  const struct memory_config *memory;
  int layer_count;
  struct layer_usage *layers;
  int32_t *index; /* of a batch, on the host and on the device, with room for knn + 1 */
  float *weight;
  void *device_index, *device_weight;
  size_t capacity; /* rows */
};

static int64_t slots_of(const struct usage *usage) {
  return (int64_t)usage->memory->n_keys * usage->memory->n_keys;
}

/* Is there a slot that was just not taken, and can it be selected as well? */
static bool has_margins(const struct usage *usage) {
  return usage->memory->knn < usage->memory->n_keys && usage->memory->knn < MEMORY_KNN_MAX;
}

static void allocate_sample(const struct usage *usage, struct layer_usage *layer, int64_t tokens) {
  const size_t entries = (size_t)(SAMPLE_IMAGES * tokens * usage->memory->heads);
  layer->tokens = tokens;
  layer->sample_index =
      memory_allocate(entries * (size_t)usage->memory->knn * sizeof *layer->sample_index, "usage sample");
  layer->sample_margin = memory_allocate(entries * sizeof *layer->sample_margin, "usage sample");
}

static void add_selection(const struct usage *usage, struct layer_usage *layer, int64_t sample, int64_t token,
                          const int32_t *index, const float *weight) {
  const int64_t heads = usage->memory->heads, knn = usage->memory->knn, slots = slots_of(usage);
  const int64_t class = token == 0 ? 0 : 1;
  for (int64_t h = 0; h < heads; h++)
    for (int64_t j = 0; j < knn; j++) {
      const int64_t place = (class * heads + h) * slots + index[h * knn + j];
      layer->count[place]++;
      layer->weight[place] += (int64_t)lrint(ldexp((double)weight[h * knn + j], WEIGHT_BITS));
    }
  if (sample < SAMPLE_IMAGES)
    memcpy(layer->sample_index + (sample * layer->tokens + token) * heads * knn, index,
           (size_t)(heads * knn) * sizeof *index);
}

/* From a selection of knn + 1: weights are a softmax of the scores, so the margin is log(w_knn / w_knn+1). */
static void add_margin(const struct usage *usage, struct layer_usage *layer, int64_t sample, int64_t token,
                       const float *weight) {
  const int64_t heads = usage->memory->heads, knn = usage->memory->knn;
  for (int64_t h = 0; h < heads; h++) {
    const float *w = weight + h * (knn + 1);
    layer->sample_margin[(sample * layer->tokens + token) * heads + h] =
        logf(fmaxf(w[knn - 1], 1e-30f) / fmaxf(w[knn], 1e-30f));
  }
}

static void make_room(struct usage *usage, size_t rows) {
  struct device *device = usage->session->device;
  const size_t bytes = rows * (size_t)(usage->memory->heads * (usage->memory->knn + 1)) * sizeof(float);
  if (rows <= usage->capacity)
    return;
  memory_release(usage->index);
  memory_release(usage->weight);
  if (usage->capacity) {
    device->op->release(device, usage->device_index);
    device->op->release(device, usage->device_weight);
  }
  usage->index = memory_allocate(bytes, "usage selections");
  usage->weight = memory_allocate(bytes, "usage selections");
  usage->device_index = device->op->allocate(device, bytes, "usage selections");
  usage->device_weight = device->op->allocate(device, bytes, "usage selections");
  usage->capacity = rows;
}

static void count_margins(struct usage *usage, struct layer_usage *layer, const struct memory_select *call) {
  struct device *device = usage->session->device;
  struct memory_select wider = *call;
  const int64_t entries = call->heads * (call->knn + 1);
  if (!has_margins(usage) || usage->watch.first >= SAMPLE_IMAGES)
    return;
  wider.knn++;
  wider.index = usage->device_index;
  wider.weight = usage->device_weight;
  device->op->memory_select(device, &wider);
  device->op->copy_out(device, usage->weight, usage->device_weight,
                       (size_t)(call->rows * entries) * sizeof *usage->weight);
  for (int64_t i = 0; i < usage->watch.valid && usage->watch.first + i < SAMPLE_IMAGES; i++)
    for (int64_t t = 0; t < layer->tokens; t++)
      add_margin(usage, layer, usage->watch.first + i, t, usage->weight + (i * layer->tokens + t) * entries);
}

static void selected(void *context, int block, const struct memory_select *call) {
  struct usage *usage = context;
  struct device *device = usage->session->device;
  struct layer_usage *layer = usage->layers;
  const int64_t entries = call->heads * call->knn,
                tokens = call->rows / (int64_t)usage->session->settings->eval.batch_size;
  while (layer->block != block)
    layer++;
  if (!layer->sample_index)
    allocate_sample(usage, layer, tokens);
  make_room(usage, (size_t)call->rows);
  device->op->copy_out(device, usage->index, call->index, (size_t)(call->rows * entries) * sizeof *usage->index);
  device->op->copy_out(device, usage->weight, call->weight, (size_t)(call->rows * entries) * sizeof *usage->weight);
  for (int64_t i = 0; i < usage->watch.valid; i++)
    for (int64_t t = 0; t < tokens; t++)
      add_selection(usage, layer, usage->watch.first + i, t, usage->index + (i * tokens + t) * entries,
                    usage->weight + (i * tokens + t) * entries);
  count_margins(usage, layer, call);
}

struct usage *usage_open(struct session *session, struct model *model) {
  const struct tower *tower = &model->vision;
  const struct memory_config *memory = &tower->config->memory;
  if (memory->count == 0) {
    report_message("eval.memory_usage: this model's vision tower has no memory, nothing is counted");
    return NULL;
  }
  struct usage *usage = memory_allocate(sizeof *usage, "usage");
  *usage = (struct usage){.session = session, .model = model, .memory = memory};
  usage->watch.memory = (struct memory_watch){selected, usage};
  usage->layers = memory_allocate((size_t)memory->count * sizeof *usage->layers, "usage");
  for (int s = 0; s < tower->count; s++) {
    if (tower->sublayers[s].kind != SUBLAYER_MEMORY)
      continue;
    struct layer_usage *layer = &usage->layers[usage->layer_count++];
    const size_t cells = (size_t)(CLASSES * memory->heads * slots_of(usage));
    layer->block = s / 2;
    layer->count = memory_allocate(cells * sizeof *layer->count, "usage counts");
    layer->weight = memory_allocate(cells * sizeof *layer->weight, "usage counts");
  }
  return usage;
}

struct encode_watch *usage_watch(struct usage *usage) {
  return &usage->watch;
}

void usage_close(struct usage *usage) {
  if (!usage)
    return;
  struct device *device = usage->session->device;
  for (int i = 0; i < usage->layer_count; i++) {
    void *blocks[] = {usage->layers[i].count, usage->layers[i].weight, usage->layers[i].sample_index,
                      usage->layers[i].sample_margin};
    for (size_t b = 0; b < sizeof blocks / sizeof blocks[0]; b++)
      memory_release(blocks[b]);
  }
  if (usage->capacity) {
    device->op->release(device, usage->device_index);
    device->op->release(device, usage->device_weight);
  }
  memory_release(usage->index);
  memory_release(usage->weight);
  memory_release(usage->layers);
  memory_release(usage);
}

/* A rank without a batch has not met the layer: it learns the number of tokens first. */
static void add_over_ranks(const struct usage *usage, struct layer_usage *layer) {
  const size_t cells = (size_t)(CLASSES * usage->memory->heads * slots_of(usage));
  int64_t tokens = layer->tokens;
  comm_all_reduce(&tokens, 1, DTYPE_I64, COMM_MAX);
  if (!layer->sample_index)
    allocate_sample(usage, layer, tokens);
  const size_t entries = (size_t)(SAMPLE_IMAGES * tokens * usage->memory->heads);
  comm_all_reduce(layer->count, cells, DTYPE_I64, COMM_SUM);
  comm_all_reduce(layer->weight, cells, DTYPE_I64, COMM_SUM);
  comm_all_reduce(layer->sample_index, entries * (size_t)usage->memory->knn, DTYPE_I32, COMM_SUM);
  comm_all_reduce(layer->sample_margin, entries, DTYPE_F32, COMM_SUM);
}

static enum status write_layer(struct store *store, const struct usage *usage, const struct layer_usage *layer,
                               int64_t images) {
  const int64_t heads = usage->memory->heads, knn = usage->memory->knn, slots = slots_of(usage),
                shown = images < SAMPLE_IMAGES ? images : SAMPLE_IMAGES;
  const int64_t cells = CLASSES * heads * slots;
  float *weight = memory_allocate((size_t)cells * sizeof *weight, "usage weights");
  char *names[] = {text_format("block_%d/count", layer->block), text_format("block_%d/weight", layer->block),
                   text_format("block_%d/sample_index", layer->block),
                   text_format("block_%d/sample_margin", layer->block)};
  for (int64_t i = 0; i < cells; i++)
    weight[i] = (float)ldexp((double)layer->weight[i], -WEIGHT_BITS);
  enum status status = store_write(store, names[0], DTYPE_I64, 3, (int64_t[]){CLASSES, heads, slots}, layer->count);
  if (status == STATUS_OK)
    status = store_write(store, names[1], DTYPE_F32, 3, (int64_t[]){CLASSES, heads, slots}, weight);
  if (status == STATUS_OK)
    status =
        store_write(store, names[2], DTYPE_I32, 4, (int64_t[]){shown, layer->tokens, heads, knn}, layer->sample_index);
  if (status == STATUS_OK && has_margins(usage))
    status = store_write(store, names[3], DTYPE_F32, 3, (int64_t[]){shown, layer->tokens, heads}, layer->sample_margin);
  for (int i = 0; i < 4; i++)
    memory_release(names[i]);
  memory_release(weight);
  return status;
}

static enum status write_file(const char *path, const struct usage *usage, const struct eval_set *set,
                              const char *label, const char *checkpoint) {
  struct store *store;
  char *images = text_format("%lld", (long long)set->image_count), *real = realpath(checkpoint, NULL);
  const struct {
    const char *key, *value;
  } attributes[] = {{"format_version", "2"},
                    {"data_set", set->name},
                    {"model", label},
                    {"checkpoint", real ? real : checkpoint},
                    {"images", images},
                    {"shared_values", usage->memory->share_values ? "yes" : "no"},
                    {"program", provenance_version()}};
  enum status status = store_create(path, &store);
  if (status == STATUS_OK) {
    for (int i = 0; status == STATUS_OK && i < usage->layer_count; i++)
      status = write_layer(store, usage, &usage->layers[i], set->image_count);
    for (size_t i = 0; status == STATUS_OK && i < sizeof attributes / sizeof attributes[0]; i++)
      status = store_write_attribute(store, attributes[i].key, attributes[i].value);
    if (status == STATUS_OK)
      status = store_publish(store);
    else
      store_close(store);
  }
  free(real);
  memory_release(images);
  return status;
}

enum status usage_write(struct usage *usage, const struct eval_set *set, const char *label, const char *checkpoint) {
  for (int i = 0; i < usage->layer_count; i++)
    add_over_ranks(usage, &usage->layers[i]);
  enum status status = STATUS_OK;
  if (comm_rank() == 0) {
    char *folder = run_path(usage->session->run, "usage"), *path = text_format("%s/%s.%s.h5", folder, set->name, label);
    status = file_make_directories(folder);
    if (status == STATUS_OK)
      status = write_file(path, usage, set, label, checkpoint);
    memory_release(path);
    memory_release(folder);
  }
  return comm_agree(status);
}

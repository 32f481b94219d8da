#include "train/reduce.h"
#include "base/memory.h"
#include "comm/comm.h"

struct bucket {
  int64_t from, count; /* elements */
  int parameters, missing;
  bool started;
};
struct reducer {
  struct model *model;
  struct bucket *buckets;
  int *bucket_of; /* by parameter number; -1 for frozen ones */
  int count;
  bool overlap;
};

static void open_bucket(struct reducer *reducer, int64_t from) {
  reducer->buckets =
      memory_resize(reducer->buckets, (size_t)(reducer->count + 1) * sizeof *reducer->buckets, "gradient buckets");
  if (reducer->count)
    reducer->buckets[reducer->count - 1].count = from - reducer->buckets[reducer->count - 1].from;
  reducer->buckets[reducer->count++] = (struct bucket){.from = from};
}

static void assign(struct reducer *reducer, int64_t bucket_elements) {
  const struct parameters *list = &reducer->model->parameters;
  for (int i = 0; i < list->count; i++) {
    const struct parameter *parameter = list->items[i];
    reducer->bucket_of[i] = -1;
    if (!parameter->trainable)
      continue;
    if (reducer->count == 0 || parameter->offset - reducer->buckets[reducer->count - 1].from >= bucket_elements)
      open_bucket(reducer, parameter->offset);
    reducer->bucket_of[i] = reducer->count - 1;
    reducer->buckets[reducer->count - 1].parameters++;
  }
  if (reducer->count)
    reducer->buckets[reducer->count - 1].count = list->trainable_elements - reducer->buckets[reducer->count - 1].from;
}

struct reducer *reducer_open(struct model *model, size_t bucket_bytes, bool overlap) {
  struct reducer *reducer = memory_allocate(sizeof *reducer, "reducer");
  *reducer = (struct reducer){.model = model, .overlap = overlap};
  reducer->bucket_of =
      memory_allocate((size_t)model->parameters.count * sizeof *reducer->bucket_of, "gradient buckets");
  assign(reducer, (int64_t)(bucket_bytes / sizeof(float)));
  return reducer;
}

void reducer_close(struct reducer *reducer) {
  if (!reducer)
    return;
  memory_release(reducer->buckets);
  memory_release(reducer->bucket_of);
  memory_release(reducer);
}

void reducer_begin(struct reducer *reducer) {
  for (int i = 0; i < reducer->count; i++) {
    reducer->buckets[i].missing = reducer->buckets[i].parameters;
    reducer->buckets[i].started = false;
  }
}

static void start(struct reducer *reducer, struct bucket *bucket) {
  struct device *device = reducer->model->device;
  device->op->synchronize(device);
  bucket->started = true;
  comm_all_reduce_start(reducer->model->parameters.gradient + bucket->from, (size_t)bucket->count);
}

static void done(void *context, const struct parameter *parameter) {
  struct reducer *reducer = context;
  struct bucket *bucket = &reducer->buckets[reducer->bucket_of[parameter->number]];
  if (--bucket->missing == 0 && reducer->overlap && comm_size() > 1)
    start(reducer, bucket);
}

struct gradient_listener reducer_listener(struct reducer *reducer) {
  return (struct gradient_listener){done, reducer};
}

double reducer_finish(struct reducer *reducer) {
  if (comm_size() == 1)
    return 0;
  for (int i = 0; i < reducer->count; i++)
    if (!reducer->buckets[i].started)
      start(reducer, &reducer->buckets[i]);
  return comm_all_reduce_wait();
}

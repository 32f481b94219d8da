#include "train/reduce.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "report/report.h"
#include <string.h>

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
  bool by_device; /* the devices sum among themselves */
  float *on_host; /* where MPI sums gradients that it cannot reach, as long as all of them; else NULL */
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

/* Whether each rank has a device of its own. Collective. */
static bool devices_differ(const uint8_t mine[DEVICE_ID_BYTES]) {
  uint8_t *all = memory_allocate((size_t)comm_size() * DEVICE_ID_BYTES, "device identities");
  bool differ = true;
  comm_all_gather(mine, all, DEVICE_ID_BYTES);
  for (int a = 0; a < comm_size(); a++)
    for (int b = 0; b < a; b++)
      differ = differ && memcmp(all + a * DEVICE_ID_BYTES, all + b * DEVICE_ID_BYTES, DEVICE_ID_BYTES) != 0;
  memory_release(all);
  return differ;
}

/* Why the devices' own sums cannot be used is a message, not an error: MPI does it, too. Collective. */
static enum status join_devices(struct device *device) {
  uint8_t group[DEVICE_GROUP_BYTES] = {0}, mine[DEVICE_ID_BYTES];
  const bool any = device->collectives != NULL;
  TRY(comm_agree(any ? STATUS_OK : error_set(STATUS_SYSTEM, "the device has no collectives of its own")));
  TRY(comm_agree(device->collectives->identify(device, mine)));
  if (!devices_differ(mine))
    return error_set(STATUS_SYSTEM, "several ranks share a device");
  TRY(comm_agree(comm_rank() == 0 ? device->collectives->make_group(device, group) : STATUS_OK));
  comm_broadcast(group, sizeof group, 0);
  return comm_agree(device->collectives->join(device, group, comm_rank(), comm_size()));
}

static void choose_path(struct reducer *reducer) {
  struct device *device = reducer->model->device;
  if (device->memory_is_host || comm_size() == 1)
    return;
  reducer->by_device = join_devices(device) == STATUS_OK;
  if (reducer->by_device)
    return;
  report_message("gradients are summed by MPI through the host's memory: %s", error_message());
  reducer->on_host =
      memory_allocate((size_t)reducer->model->parameters.trainable_elements * sizeof(float), "gradients on the host");
}

struct reducer *reducer_open(struct model *model, size_t bucket_bytes, bool overlap) {
  struct reducer *reducer = memory_allocate(sizeof *reducer, "reducer");
  *reducer = (struct reducer){.model = model, .overlap = overlap};
  reducer->bucket_of =
      memory_allocate((size_t)model->parameters.count * sizeof *reducer->bucket_of, "gradient buckets");
  assign(reducer, (int64_t)(bucket_bytes / sizeof(float)));
  choose_path(reducer);
  return reducer;
}

void reducer_close(struct reducer *reducer) {
  if (!reducer)
    return;
  memory_release(reducer->buckets);
  memory_release(reducer->bucket_of);
  memory_release(reducer->on_host);
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
  float *gradient = reducer->model->parameters.gradient + bucket->from;
  bucket->started = true;
  if (reducer->by_device) {
    device->collectives->all_reduce_start(device, gradient, (size_t)bucket->count);
    return;
  }
  if (reducer->on_host) {
    float *copy = reducer->on_host + bucket->from;
    device->op->copy_out(device, copy, gradient, (size_t)bucket->count * sizeof *copy);
    gradient = copy;
  }
  device->op->synchronize(device);
  comm_all_reduce_start(gradient, (size_t)bucket->count);
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
  struct device *device = reducer->model->device;
  if (reducer->by_device) {
    device->collectives->all_reduce_finish(device);
    return 0; /* the devices wait, not the host */
  }
  const double seconds = comm_all_reduce_wait();
  for (int i = 0; reducer->on_host && i < reducer->count; i++) {
    const struct bucket *bucket = &reducer->buckets[i];
    device->op->copy_in(device, reducer->model->parameters.gradient + bucket->from, reducer->on_host + bucket->from,
                        (size_t)bucket->count * sizeof(float));
  }
  return seconds;
}

#include "train/reduce.h"
#include "base/clock.h"
#include "base/memory.h"
#include "comm/comm.h"

enum { BLOCK_ELEMENTS = 16 << 20 }; /* of a sum by MPI in the devices' memory */

struct bucket {
  int64_t from, count; /* elements */
  int parameters, missing;
  bool started;
  uint64_t download;
};
struct reducer {
  struct model *model;
  enum ranks_path path;
  struct bucket *buckets;
  int *bucket_of; /* by parameter number; -1 for frozen ones */
  int count;
  bool overlap;
  /* RANKS_STAGED: gradients where MPI sums them; the buckets in the order in which their copies were started, how many
   * these are, and how many of them MPI has. */
  float *pinned;
  int *order, copied, submitted;
  float *parts; /* RANKS_BY_MPI: every rank's numbers for this rank's slice of a block, on the device */
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

static void open_path(struct reducer *reducer) {
  struct device *device = reducer->model->device;
  const size_t elements = (size_t)reducer->model->parameters.trainable_elements;
  reducer->order = memory_allocate((size_t)reducer->count * sizeof *reducer->order, "gradient buckets");
  if (reducer->path == RANKS_STAGED)
    reducer->pinned = device->op->allocate_pinned(device, elements * sizeof(float), "gradients on the host");
  if (reducer->path == RANKS_BY_MPI)
    reducer->parts = device->op->allocate(device, (BLOCK_ELEMENTS + (size_t)comm_size()) * sizeof(float),
                                          "gradients of other ranks");
}

struct reducer *reducer_open(struct model *model, enum ranks_path path, size_t bucket_bytes, bool overlap) {
  struct reducer *reducer = memory_allocate(sizeof *reducer, "reducer");
  *reducer = (struct reducer){.model = model, .path = path, .overlap = overlap && path != RANKS_BY_MPI};
  reducer->bucket_of =
      memory_allocate((size_t)model->parameters.count * sizeof *reducer->bucket_of, "gradient buckets");
  assign(reducer, (int64_t)(bucket_bytes / sizeof(float)));
  open_path(reducer);
  return reducer;
}

void reducer_close(struct reducer *reducer) {
  if (!reducer)
    return;
  struct device *device = reducer->model->device;
  if (reducer->pinned)
    device->op->release_pinned(device, reducer->pinned);
  if (reducer->parts)
    device->op->release(device, reducer->parts);
  memory_release(reducer->buckets);
  memory_release(reducer->bucket_of);
  memory_release(reducer->order);
  memory_release(reducer);
}

void reducer_begin(struct reducer *reducer) {
  reducer->copied = reducer->submitted = 0;
  for (int i = 0; i < reducer->count; i++) {
    reducer->buckets[i].missing = reducer->buckets[i].parameters;
    reducer->buckets[i].started = false;
  }
}

static void start(struct reducer *reducer, struct bucket *bucket) {
  struct device *device = reducer->model->device;
  float *gradient = reducer->model->parameters.gradient + bucket->from;
  const size_t count = (size_t)bucket->count;
  bucket->started = true;
  if (reducer->path == RANKS_BY_DEVICES) {
    device->collectives->all_reduce_start(device, gradient, count);
  } else if (reducer->path == RANKS_STAGED) {
    bucket->download =
        device->downloads->start(device, reducer->pinned + bucket->from, gradient, count * sizeof *gradient);
    reducer->order[reducer->copied++] = (int)(bucket - reducer->buckets);
  } else if (reducer->path == RANKS_ON_HOST) {
    device->op->synchronize(device);
    comm_all_reduce_start(gradient, count);
  }
}

/* Gives MPI the buckets whose copies have arrived, in the order of the copies, which is the same on all ranks. */
static void submit(struct reducer *reducer, bool wait) {
  struct device *device = reducer->model->device;
  while (reducer->submitted < reducer->copied) {
    const struct bucket *bucket = &reducer->buckets[reducer->order[reducer->submitted]];
    if (!device->downloads->done(device, bucket->download, wait))
      return;
    comm_all_reduce_start(reducer->pinned + bucket->from, (size_t)bucket->count);
    reducer->submitted++;
  }
}

static void done(void *context, const struct parameter *parameter) {
  struct reducer *reducer = context;
  struct bucket *bucket = &reducer->buckets[reducer->bucket_of[parameter->number]];
  if (--bucket->missing == 0 && reducer->overlap && comm_size() > 1)
    start(reducer, bucket);
  submit(reducer, false);
}

struct gradient_listener reducer_listener(struct reducer *reducer) {
  return (struct gradient_listener){done, reducer};
}

static void finish_staged(struct reducer *reducer) {
  struct device *device = reducer->model->device;
  submit(reducer, true);
  comm_all_reduce_wait();
  device->op->copy_in(device, reducer->model->parameters.gradient, reducer->pinned,
                      (size_t)reducer->model->parameters.trainable_elements * sizeof(float));
}

/* x[count], in place, = its sum over the ranks, by messages between the devices' memories: each rank gets its slice
 * from all, adds them in rank order and gives the sum to all. */
static void sum_block(struct reducer *reducer, float *x, size_t count) {
  struct device *device = reducer->model->device;
  const size_t size = (size_t)comm_size(), rank = (size_t)comm_rank(), slice = (count + size - 1) / size;
  const size_t first = rank * slice < count ? rank * slice : count;
  const size_t mine = first + slice < count ? slice : count - first;
  device->op->copy(device, reducer->parts + rank * mine, x + first, mine * sizeof *x);
  device->op->synchronize(device);
  comm_scatter(x, reducer->parts, slice * sizeof *x, count * sizeof *x);
  device->op->copy(device, x + first, reducer->parts, mine * sizeof *x);
  for (size_t r = 1; r < size; r++)
    device->op->add(device, x + first, reducer->parts + r * mine, 1, (int64_t)mine);
  device->op->synchronize(device);
  comm_spread(x, slice * sizeof *x, count * sizeof *x);
}

static void finish_by_mpi(struct reducer *reducer) {
  const size_t elements = (size_t)reducer->model->parameters.trainable_elements;
  for (size_t from = 0; from < elements; from += BLOCK_ELEMENTS)
    sum_block(reducer, reducer->model->parameters.gradient + from,
              elements - from < BLOCK_ELEMENTS ? elements - from : BLOCK_ELEMENTS);
}

double reducer_finish(struct reducer *reducer) {
  if (comm_size() == 1)
    return 0;
  const double begin = clock_seconds();
  for (int i = 0; i < reducer->count; i++)
    if (!reducer->buckets[i].started)
      start(reducer, &reducer->buckets[i]);
  switch (reducer->path) {
  case RANKS_BY_DEVICES: /* the devices wait, not the host */
    reducer->model->device->collectives->all_reduce_finish(reducer->model->device);
    return 0;
  case RANKS_BY_MPI:
    finish_by_mpi(reducer);
    break;
  case RANKS_STAGED:
    finish_staged(reducer);
    break;
  case RANKS_ON_HOST:
    return comm_all_reduce_wait();
  }
  return clock_seconds() - begin;
}

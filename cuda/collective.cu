/* What GPUs exchange by NCCL, on a stream of their own. The library is opened when ranks join, so that nodes without it
 * keep the device; NCCL refuses two ranks on one GPU, which the caller finds out before by the GPUs' identities. A
 * thread watches for what fails in the background, a network or another rank, since a kernel that waits for it never
 * ends. */
#include "cuda/kernel.h"
#ifdef HAVE_NCCL
#include <dlfcn.h>
#include <nccl.h>
#include <pthread.h>
#include <time.h>

/* Blocks that NCCL may take from the backward pass beside it. */
enum { BLOCKS_MAX = 16, WATCH_SECONDS = 1 };

struct collective {
  cudaStream_t stream;
  cudaEvent_t ready, done;
  ncclComm_t group;
  pthread_t watch;
  pthread_mutex_t mutex;
  pthread_cond_t stop;
  bool watched, stopping;
};

/* The functions in use, by their names in the library. */
static struct {
  ncclResult_t (*ncclGetUniqueId)(ncclUniqueId *);
  ncclResult_t (*ncclCommInitRankConfig)(ncclComm_t *, int, ncclUniqueId, int, ncclConfig_t *);
  ncclResult_t (*ncclAllReduce)(const void *, void *, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t);
  ncclResult_t (*ncclAllGather)(const void *, void *, size_t, ncclDataType_t, ncclComm_t, cudaStream_t);
  ncclResult_t (*ncclCommGetAsyncError)(ncclComm_t, ncclResult_t *);
  ncclResult_t (*ncclCommDestroy)(ncclComm_t);
  ncclResult_t (*ncclCommAbort)(ncclComm_t);
  const char *(*ncclGetErrorString)(ncclResult_t);
  const char *(*ncclGetLastError)(ncclComm_t);
} nccl;

/* A MIG instance says so in its name. It has an identity and memory of its own, but NCCL goes by the PCI bus: ranks on
 * two instances of one GPU would find themselves refused, and those on other GPUs wait for them. */
static bool is_part_of_gpu(const struct cuda_device *cuda) {
  struct cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, cuda->number));
  return strstr(properties.name, " MIG ") != NULL;
}

static enum status load(struct device *self) {
  const struct {
    const char *name;
    void *to;
  } list[] = {{"ncclGetUniqueId", &nccl.ncclGetUniqueId},
              {"ncclCommInitRankConfig", &nccl.ncclCommInitRankConfig},
              {"ncclAllReduce", &nccl.ncclAllReduce},
              {"ncclAllGather", &nccl.ncclAllGather},
              {"ncclCommGetAsyncError", &nccl.ncclCommGetAsyncError},
              {"ncclCommDestroy", &nccl.ncclCommDestroy},
              {"ncclCommAbort", &nccl.ncclCommAbort},
              {"ncclGetErrorString", &nccl.ncclGetErrorString},
              {"ncclGetLastError", &nccl.ncclGetLastError}};
  if (is_part_of_gpu(cuda_from_device(self)))
    return error_set(STATUS_SYSTEM, "NCCL takes a part of a GPU (MIG) for all of it");
  void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return error_set(STATUS_SYSTEM, "NCCL does not load: %s", dlerror());
  for (size_t i = 0; i < sizeof list / sizeof *list; i++)
    if (!(*(void **)list[i].to = dlsym(library, list[i].name)))
      return error_set(STATUS_SYSTEM, "NCCL has no %s: 2.17 or later is needed", list[i].name);
  return STATUS_OK;
}

/* At once, in the thread that hears of it first: the others may wait for the GPU for ever. */
static void check(ncclComm_t group, ncclResult_t result, const char *what) {
  if (result == ncclSuccess || result == ncclInProgress)
    return;
  fatal("NCCL: %s: %s (%s); the network or another rank failed, NCCL_DEBUG=INFO tells more", what,
        nccl.ncclGetErrorString(result), nccl.ncclGetLastError(group));
}

static void check_background(struct collective *collective) {
  ncclResult_t state = ncclSuccess;
  check(collective->group, nccl.ncclCommGetAsyncError(collective->group, &state), "the state of an exchange");
  check(collective->group, state, "an exchange");
}

static void *watch(void *argument) {
  struct collective *collective = (struct collective *)argument;
  pthread_mutex_lock(&collective->mutex);
  while (!collective->stopping) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WATCH_SECONDS;
    pthread_cond_timedwait(&collective->stop, &collective->mutex, &until);
    if (!collective->stopping)
      check_background(collective);
  }
  pthread_mutex_unlock(&collective->mutex);
  return NULL;
}

static enum status make_group(struct device *self, uint8_t group[DEVICE_GROUP_BYTES]) {
  (void)self;
  static_assert(sizeof(ncclUniqueId) == DEVICE_GROUP_BYTES, "what NCCL's ranks join with");
  ncclUniqueId id;
  const ncclResult_t result = nccl.ncclGetUniqueId(&id);
  if (result != ncclSuccess)
    return error_set(STATUS_SYSTEM, "NCCL: %s", nccl.ncclGetErrorString(result));
  memcpy(group, &id, sizeof id);
  return STATUS_OK;
}

static enum status join(struct device *self, const uint8_t group[DEVICE_GROUP_BYTES], int rank, int size) {
  struct cuda_device *cuda = cuda_from_device(self);
  ncclUniqueId id;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.maxCTAs = BLOCKS_MAX;
  memcpy(&id, group, sizeof id);
  struct collective *collective = (struct collective *)memory_allocate(sizeof *collective, "NCCL");
  const ncclResult_t result = nccl.ncclCommInitRankConfig(&collective->group, size, id, rank, &config);
  if (result != ncclSuccess) {
    memory_release(collective);
    return error_set(STATUS_SYSTEM, "NCCL: %s (%s)", nccl.ncclGetErrorString(result), nccl.ncclGetLastError(NULL));
  }
  CUDA_CHECK(cudaStreamCreateWithFlags(&collective->stream, cudaStreamNonBlocking));
  CUDA_CHECK(cudaEventCreateWithFlags(&collective->ready, cudaEventDisableTiming));
  CUDA_CHECK(cudaEventCreateWithFlags(&collective->done, cudaEventDisableTiming));
  cuda->collective = collective;
  return STATUS_OK;
}

/* From the first exchange on: until then other ranks may still give up joining. */
static void start_watch(struct collective *collective) {
  if (collective->watched)
    return;
  pthread_mutex_init(&collective->mutex, NULL);
  pthread_cond_init(&collective->stop, NULL);
  if (pthread_create(&collective->watch, NULL, watch, collective) != 0)
    fatal("no thread to watch NCCL");
  collective->watched = true;
}

static void stop_watch(struct collective *collective) {
  if (!collective->watched)
    return;
  pthread_mutex_lock(&collective->mutex);
  collective->stopping = true;
  pthread_cond_signal(&collective->stop);
  pthread_mutex_unlock(&collective->mutex);
  pthread_join(collective->watch, NULL);
  pthread_cond_destroy(&collective->stop);
  pthread_mutex_destroy(&collective->mutex);
}

/* The collective stream waits for what is enqueued now. */
static void fork_stream(struct cuda_device *cuda) {
  start_watch(cuda->collective);
  CUDA_CHECK(cudaEventRecord(cuda->collective->ready, cuda->stream));
  CUDA_CHECK(cudaStreamWaitEvent(cuda->collective->stream, cuda->collective->ready, 0));
}

/* What is enqueued later waits for the collective stream. */
static void join_stream(struct cuda_device *cuda) {
  CUDA_CHECK(cudaEventRecord(cuda->collective->done, cuda->collective->stream));
  CUDA_CHECK(cudaStreamWaitEvent(cuda->stream, cuda->collective->done, 0));
}

static void all_reduce_start(struct device *self, float *x, size_t count) {
  struct cuda_device *cuda = cuda_from_device(self);
  const struct collective *collective = cuda->collective;
  fork_stream(cuda);
  check(collective->group, nccl.ncclAllReduce(x, x, count, ncclFloat, ncclSum, collective->group, collective->stream),
        "a sum");
}

static void all_reduce_finish(struct device *self) {
  struct cuda_device *cuda = cuda_from_device(self);
  join_stream(cuda);
  check_background(cuda->collective);
}

static void all_gather(struct device *self, const void *mine, void *all, size_t bytes) {
  struct cuda_device *cuda = cuda_from_device(self);
  const struct collective *collective = cuda->collective;
  fork_stream(cuda);
  check(collective->group, nccl.ncclAllGather(mine, all, bytes, ncclInt8, collective->group, collective->stream),
        "a gathering");
  join_stream(cuda);
}

static void close_group(struct cuda_device *cuda, ncclResult_t (*end)(ncclComm_t)) {
  struct collective *collective = cuda->collective;
  stop_watch(collective);
  end(collective->group);
  CUDA_CHECK(cudaEventDestroy(collective->ready));
  CUDA_CHECK(cudaEventDestroy(collective->done));
  CUDA_CHECK(cudaStreamDestroy(collective->stream));
  memory_release(collective);
  cuda->collective = NULL;
}

static void leave(struct device *self) {
  close_group(cuda_from_device(self), nccl.ncclCommAbort);
}

void runtime_leave_collective(struct cuda_device *cuda) {
  if (!cuda->collective)
    return;
  CUDA_CHECK(cudaStreamSynchronize(cuda->collective->stream));
  close_group(cuda, nccl.ncclCommDestroy);
}

/* In the order of the struct: designated initialisers out of order are no C++. */
static const struct device_collectives table = {.load = load,
                                                .make_group = make_group,
                                                .join = join,
                                                .leave = leave,
                                                .all_reduce_start = all_reduce_start,
                                                .all_reduce_finish = all_reduce_finish,
                                                .all_gather = all_gather};
void runtime_open_collective(struct cuda_device *cuda) {
  cuda->device.collectives = &table;
}
#else
void runtime_open_collective(struct cuda_device *cuda) {
  (void)cuda;
}
void runtime_leave_collective(struct cuda_device *cuda) {
  (void)cuda;
}
#endif

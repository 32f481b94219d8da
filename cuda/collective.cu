/* Gradient sums by NCCL, on a stream of their own. The library is opened when ranks join, so that nodes without it keep
 * the device; NCCL refuses two ranks on one GPU, which the caller finds out before by the GPUs' identities. */
#include "cuda/kernel.h"
#include <dlfcn.h>
#ifdef HAVE_NCCL
#include <nccl.h>

struct collective {
  cudaStream_t stream;
  cudaEvent_t ready, done;
  ncclComm_t group;
};

/* The functions in use, by their names in the library. */
static struct {
  ncclResult_t (*ncclGetUniqueId)(ncclUniqueId *);
  ncclResult_t (*ncclCommInitRank)(ncclComm_t *, int, ncclUniqueId, int);
  ncclResult_t (*ncclAllReduce)(const void *, void *, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t, cudaStream_t);
  ncclResult_t (*ncclCommDestroy)(ncclComm_t);
  const char *(*ncclGetErrorString)(ncclResult_t);
} nccl;

static enum status load(void) {
  const struct {
    const char *name;
    void *to;
  } list[] = {{"ncclGetUniqueId", &nccl.ncclGetUniqueId},
              {"ncclCommInitRank", &nccl.ncclCommInitRank},
              {"ncclAllReduce", &nccl.ncclAllReduce},
              {"ncclCommDestroy", &nccl.ncclCommDestroy},
              {"ncclGetErrorString", &nccl.ncclGetErrorString}};
  void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return error_set(STATUS_SYSTEM, "NCCL does not load: %s", dlerror());
  for (size_t i = 0; i < sizeof list / sizeof *list; i++)
    if (!(*(void **)list[i].to = dlsym(library, list[i].name)))
      return error_set(STATUS_SYSTEM, "NCCL has no %s", list[i].name);
  return STATUS_OK;
}

static enum status identify(struct device *self, uint8_t id[DEVICE_ID_BYTES]) {
  (void)self;
  TRY(load());
  int number;
  struct cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDevice(&number));
  CUDA_CHECK(cudaGetDeviceProperties(&properties, number));
  static_assert(sizeof properties.uuid == DEVICE_ID_BYTES, "a UUID has 16 bytes");
  memcpy(id, &properties.uuid, DEVICE_ID_BYTES);
  return STATUS_OK;
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
  memcpy(&id, group, sizeof id);
  struct collective *collective = (struct collective *)memory_allocate(sizeof *collective, "NCCL");
  const ncclResult_t result = nccl.ncclCommInitRank(&collective->group, size, id, rank);
  if (result != ncclSuccess) {
    memory_release(collective);
    return error_set(STATUS_SYSTEM, "NCCL: %s", nccl.ncclGetErrorString(result));
  }
  CUDA_CHECK(cudaStreamCreateWithFlags(&collective->stream, cudaStreamNonBlocking));
  CUDA_CHECK(cudaEventCreateWithFlags(&collective->ready, cudaEventDisableTiming));
  CUDA_CHECK(cudaEventCreateWithFlags(&collective->done, cudaEventDisableTiming));
  cuda->collective = collective;
  return STATUS_OK;
}

static void all_reduce_start(struct device *self, float *x, size_t count) {
  struct cuda_device *cuda = cuda_from_device(self);
  struct collective *collective = cuda->collective;
  CUDA_CHECK(cudaEventRecord(collective->ready, cuda->stream));
  CUDA_CHECK(cudaStreamWaitEvent(collective->stream, collective->ready, 0));
  const ncclResult_t result =
      nccl.ncclAllReduce(x, x, count, ncclFloat, ncclSum, collective->group, collective->stream);
  if (result != ncclSuccess)
    fatal("NCCL: %s", nccl.ncclGetErrorString(result));
}

static void all_reduce_finish(struct device *self) {
  struct cuda_device *cuda = cuda_from_device(self);
  CUDA_CHECK(cudaEventRecord(cuda->collective->done, cuda->collective->stream));
  CUDA_CHECK(cudaStreamWaitEvent(cuda->stream, cuda->collective->done, 0));
}

void runtime_leave_collective(struct cuda_device *cuda) {
  struct collective *collective = cuda->collective;
  if (!collective)
    return;
  CUDA_CHECK(cudaStreamSynchronize(collective->stream));
  nccl.ncclCommDestroy(collective->group);
  CUDA_CHECK(cudaEventDestroy(collective->ready));
  CUDA_CHECK(cudaEventDestroy(collective->done));
  CUDA_CHECK(cudaStreamDestroy(collective->stream));
  memory_release(collective);
}

static const struct device_collectives table = {.identify = identify,
                                                .make_group = make_group,
                                                .join = join,
                                                .all_reduce_start = all_reduce_start,
                                                .all_reduce_finish = all_reduce_finish};
const struct device_collectives *const runtime_collectives = &table;
#else
const struct device_collectives *const runtime_collectives = NULL;
void runtime_leave_collective(struct cuda_device *cuda) {
  (void)cuda;
}
#endif

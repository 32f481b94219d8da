/* Copies to pinned memory of the host, on a stream of their own. */
#include "cuda/kernel.h"

enum { EVENTS = 64 };
struct downloads {
  cudaStream_t stream;
  cudaEvent_t ready;        /* what was enqueued before the last download */
  cudaEvent_t done[EVENTS]; /* of number n at n % EVENTS: or of a later one, which is done later */
  uint64_t started;
};

static uint64_t start(struct device *self, void *to, const void *from, size_t bytes) {
  struct cuda_device *cuda = cuda_from_device(self);
  struct downloads *downloads = cuda->downloads;
  const uint64_t number = ++downloads->started;
  CUDA_CHECK(cudaEventRecord(downloads->ready, cuda->stream));
  CUDA_CHECK(cudaStreamWaitEvent(downloads->stream, downloads->ready, 0));
  CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, downloads->stream));
  CUDA_CHECK(cudaEventRecord(downloads->done[number % EVENTS], downloads->stream));
  return number;
}

static bool done(struct device *self, uint64_t number, bool wait) {
  const cudaEvent_t event = cuda_from_device(self)->downloads->done[number % EVENTS];
  const bool now = cuda_is_done(event);
  if (!now && wait)
    CUDA_CHECK(cudaEventSynchronize(event));
  return now || wait;
}

static const struct device_downloads table = {.start = start, .done = done};

void runtime_open_downloads(struct cuda_device *cuda) {
  struct downloads *downloads = (struct downloads *)memory_allocate(sizeof *downloads, "downloads");
  CUDA_CHECK(cudaStreamCreateWithFlags(&downloads->stream, cudaStreamNonBlocking));
  CUDA_CHECK(cudaEventCreateWithFlags(&downloads->ready, cudaEventDisableTiming));
  for (int i = 0; i < EVENTS; i++)
    CUDA_CHECK(cudaEventCreateWithFlags(&downloads->done[i], cudaEventDisableTiming));
  cuda->downloads = downloads;
  cuda->device.downloads = &table;
}

void runtime_close_downloads(struct cuda_device *cuda) {
  struct downloads *downloads = cuda->downloads;
  CUDA_CHECK(cudaStreamSynchronize(downloads->stream));
  CUDA_CHECK(cudaEventDestroy(downloads->ready));
  for (int i = 0; i < EVENTS; i++)
    CUDA_CHECK(cudaEventDestroy(downloads->done[i]));
  CUDA_CHECK(cudaStreamDestroy(downloads->stream));
  memory_release(downloads);
}

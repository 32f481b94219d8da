/* Pinned memory, and copies from it on a stream of their own; two events per lane order them against the device's. */
#include "cuda/kernel.h"

struct uploads {
  cudaStream_t stream;
  cudaEvent_t arrived[DEVICE_LANES]; /* on `stream`, behind the lane's last upload */
  cudaEvent_t free[DEVICE_LANES];    /* on the device's stream, behind the last use of what the lane fills */
};

void runtime_open_uploads(struct cuda_device *cuda) {
  struct uploads *uploads = (struct uploads *)memory_allocate(sizeof *uploads, "uploads");
  CUDA_CHECK(cudaStreamCreateWithFlags(&uploads->stream, cudaStreamNonBlocking));
  for (int lane = 0; lane < DEVICE_LANES; lane++) {
    CUDA_CHECK(cudaEventCreateWithFlags(&uploads->arrived[lane], cudaEventDisableTiming));
    CUDA_CHECK(cudaEventCreateWithFlags(&uploads->free[lane], cudaEventDisableTiming));
  }
  cuda->uploads = uploads;
}

void runtime_close_uploads(struct cuda_device *cuda) {
  struct uploads *uploads = cuda->uploads;
  CUDA_CHECK(cudaStreamSynchronize(uploads->stream));
  for (int lane = 0; lane < DEVICE_LANES; lane++) {
    CUDA_CHECK(cudaEventDestroy(uploads->arrived[lane]));
    CUDA_CHECK(cudaEventDestroy(uploads->free[lane]));
  }
  CUDA_CHECK(cudaStreamDestroy(uploads->stream));
  memory_release(uploads);
}

void *runtime_allocate_pinned(struct cuda_device *cuda, size_t bytes, const char *label) {
  (void)cuda;
  void *block = NULL;
  const cudaError_t error = cudaHostAlloc(&block, bytes ? bytes : 1, cudaHostAllocDefault);
  if (error != cudaSuccess)
    fatal("no %zu bytes of pinned memory for %s: %s; a smaller batch needs less", bytes, label,
          cudaGetErrorString(error));
  memset(block, 0, bytes);
  return block;
}

void runtime_release_pinned(struct cuda_device *cuda, void *block) {
  (void)cuda;
  CUDA_CHECK(cudaFreeHost(block));
}

/* Waiting for an event that was never recorded is no wait. */
void runtime_upload(struct cuda_device *cuda, int lane, void *to, const void *from, size_t bytes) {
  struct uploads *uploads = cuda->uploads;
  CUDA_CHECK(cudaStreamWaitEvent(uploads->stream, uploads->free[lane], 0));
  CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, uploads->stream));
  CUDA_CHECK(cudaEventRecord(uploads->arrived[lane], uploads->stream));
}

void runtime_upload_finish(struct cuda_device *cuda, int lane) {
  CUDA_CHECK(cudaStreamWaitEvent(cuda->stream, cuda->uploads->arrived[lane], 0));
}

void runtime_upload_again(struct cuda_device *cuda, int lane) {
  CUDA_CHECK(cudaEventRecord(cuda->uploads->free[lane], cuda->stream));
}

bool runtime_upload_wait(struct cuda_device *cuda, int lane) {
  const cudaError_t error = cudaEventQuery(cuda->uploads->arrived[lane]);
  if (error == cudaSuccess)
    return false;
  if (error != cudaErrorNotReady)
    CUDA_CHECK(error);
  CUDA_CHECK(cudaEventSynchronize(cuda->uploads->arrived[lane]));
  return true;
}

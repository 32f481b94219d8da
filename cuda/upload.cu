/* Pinned memory, and copies from it on a stream of their own; two events per lane order them against the device's.
 * Copies in order, from memory that is not pinned, go through pinned pieces in turns: what CUDA does with such memory
 * itself "might be synchronous", where the caller may change it as soon as the copy returns. */
#include "cuda/kernel.h"

enum { PIECES = 8 };
static const size_t piece_bytes = (size_t)1 << 20;
struct uploads {
  char *pieces;
  cudaEvent_t sent[PIECES]; /* on the device's stream, behind the piece's last copy */
  unsigned next;
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
  for (int piece = 0; piece < PIECES; piece++)
    CUDA_CHECK(cudaEventCreateWithFlags(&uploads->sent[piece], cudaEventDisableTiming));
  uploads->pieces = (char *)runtime_allocate_pinned(cuda, PIECES * piece_bytes, "copies to the device");
  cuda->uploads = uploads;
}

void runtime_close_uploads(struct cuda_device *cuda) {
  struct uploads *uploads = cuda->uploads;
  CUDA_CHECK(cudaStreamSynchronize(uploads->stream));
  for (int lane = 0; lane < DEVICE_LANES; lane++) {
    CUDA_CHECK(cudaEventDestroy(uploads->arrived[lane]));
    CUDA_CHECK(cudaEventDestroy(uploads->free[lane]));
  }
  for (int piece = 0; piece < PIECES; piece++)
    CUDA_CHECK(cudaEventDestroy(uploads->sent[piece]));
  runtime_release_pinned(cuda, uploads->pieces);
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

/* What was fetched ahead of a run's end may be under way. */
void runtime_release_pinned(struct cuda_device *cuda, void *block) {
  CUDA_CHECK(cudaStreamSynchronize(cuda->uploads->stream));
  CUDA_CHECK(cudaFreeHost(block));
}

/* Waiting for an event that was never recorded is no wait. */
void runtime_copy_in(struct cuda_device *cuda, void *to, const void *from, size_t bytes) {
  struct uploads *uploads = cuda->uploads;
  for (size_t at = 0; at < bytes; at += piece_bytes) {
    const size_t length = bytes - at < piece_bytes ? bytes - at : piece_bytes;
    const unsigned piece = uploads->next++ % PIECES;
    char *pinned = uploads->pieces + piece * piece_bytes;
    CUDA_CHECK(cudaEventSynchronize(uploads->sent[piece]));
    memcpy(pinned, (const char *)from + at, length);
    CUDA_CHECK(cudaMemcpyAsync((char *)to + at, pinned, length, cudaMemcpyHostToDevice, cuda->stream));
    CUDA_CHECK(cudaEventRecord(uploads->sent[piece], cuda->stream));
  }
}

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
  if (cuda_is_done(cuda->uploads->arrived[lane]))
    return false;
  CUDA_CHECK(cudaEventSynchronize(cuda->uploads->arrived[lane]));
  return true;
}

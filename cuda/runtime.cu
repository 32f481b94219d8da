/* CUDA's runtime: which GPU, memory, copies. */
#include "cuda/kernel.h"
#include <stdio.h>

const char *const runtime_name = "cuda";

void cuda_check_at(const char *file, int line, cudaError_t error, const char *what) {
  if (error != cudaSuccess)
    fatal_at(file, line, "CUDA: %s: %s", what, cudaGetErrorString(error));
}

void cuda_allow_shared(const void *kernel, size_t bytes) {
  if (bytes > CUDA_SHARED_UNASKED)
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
}

/* "Not ready" is no error, but stays behind as the thread's last one, which the next launch would be taken for. */
bool cuda_is_done(cudaEvent_t event) {
  const cudaError_t error = cudaEventQuery(event);
  if (error == cudaErrorNotReady)
    (void)cudaGetLastError();
  else
    CUDA_CHECK(error);
  return error == cudaSuccess;
}

KERNEL void probe(void) {
}

/* Ranks of a node take its GPUs in turn. */
enum status runtime_open(int local_rank, struct cuda_device *cuda) {
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count == 0)
    error = cudaErrorNoDevice;
  if (error != cudaSuccess)
    return error_set(STATUS_SYSTEM, "no usable GPU on this node: %s; use device 'cpu'", cudaGetErrorString(error));
  const int number = local_rank % count;
  struct cudaDeviceProp properties;
  if ((error = cudaSetDevice(number)) != cudaSuccess ||
      (error = cudaGetDeviceProperties(&properties, number)) != cudaSuccess)
    return error_set(STATUS_SYSTEM, "GPU %d does not answer: %s", number, cudaGetErrorString(error));
  struct cudaFuncAttributes attributes;
  if ((error = cudaFuncGetAttributes(&attributes, (const void *)probe)) != cudaSuccess)
    return error_set(STATUS_SYSTEM,
                     "GPU %d (%s, compute capability %d.%d) does not run this build: %s; it may have no code for it, "
                     "then configure with CUDA_ARCHITECTURES=%d%d",
                     number, properties.name, properties.major, properties.minor, cudaGetErrorString(error),
                     properties.major, properties.minor);
  if ((error = cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking)) != cudaSuccess)
    return error_set(STATUS_SYSTEM, "GPU %d (%s): %s", number, properties.name, cudaGetErrorString(error));
  cuda->number = number;
  int version = 0;
  cudaRuntimeGetVersion(&version);
  snprintf(cuda->device.description, sizeof cuda->device.description,
           "GPU %d of %d: %.100s, %d multiprocessors, %.0f GiB, CUDA %d.%d", number, count, properties.name,
           properties.multiProcessorCount, (double)properties.totalGlobalMem / (double)(1 << 30), version / 1000,
           version % 1000 / 10);
  return STATUS_OK;
}

void runtime_close(struct cuda_device *cuda) {
  CUDA_CHECK(cudaStreamDestroy(cuda->stream));
}

void *runtime_allocate(struct cuda_device *cuda, size_t bytes, const char *label) {
  void *block = NULL;
  const cudaError_t error = cudaMalloc(&block, bytes ? bytes : 1);
  if (error != cudaSuccess) {
    size_t left = 0, total = 0;
    cudaMemGetInfo(&left, &total);
    fatal("the GPU has no %zu bytes for %s (%zu of %zu are free): %s; a smaller batch needs less", bytes, label, left,
          total, cudaGetErrorString(error));
  }
  cuda->device.counts.allocations++;
  if (memory_is_poisoned()) { /* before other streams may write there */
    runtime_fill_bytes(cuda, block, 0xff, bytes);
    runtime_synchronize(cuda);
  }
  return block;
}

void runtime_release(struct cuda_device *cuda, void *block) {
  (void)cuda;
  CUDA_CHECK(cudaFree(block));
}

void runtime_copy_out(struct cuda_device *cuda, void *to, const void *from, size_t bytes) {
  CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, cuda->stream));
  runtime_synchronize(cuda);
}

/* Of nothing there is no node of a graph. */
void runtime_copy(struct cuda_device *cuda, void *to, const void *from, size_t bytes) {
  if (bytes)
    CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, cuda->stream));
}

void runtime_fill_bytes(struct cuda_device *cuda, void *block, int byte, size_t bytes) {
  if (bytes)
    CUDA_CHECK(cudaMemsetAsync(block, byte, bytes, cuda->stream));
}

void runtime_synchronize(struct cuda_device *cuda) {
  CUDA_CHECK(cudaStreamSynchronize(cuda->stream));
}

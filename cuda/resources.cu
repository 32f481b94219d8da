/* Which GPU this is, what is free on it, and threads that come to it. */
#include "cuda/kernel.h"

void runtime_identify(struct cuda_device *cuda, uint8_t id[DEVICE_ID_BYTES]) {
  struct cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, cuda->number));
  static_assert(sizeof properties.uuid == DEVICE_ID_BYTES, "a UUID has 16 bytes");
  memcpy(id, &properties.uuid, DEVICE_ID_BYTES);
}

void runtime_memory_free(struct cuda_device *cuda, size_t *free_bytes, size_t *total_bytes) {
  (void)cuda;
  CUDA_CHECK(cudaMemGetInfo(free_bytes, total_bytes));
}

/* The empty free makes the context: a library may look for it before this thread calls anything else. */
void runtime_enter_thread(struct cuda_device *cuda) {
  CUDA_CHECK(cudaSetDevice(cuda->number));
  CUDA_CHECK(cudaFree(NULL));
}

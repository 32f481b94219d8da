/* The platform of the emulated CUDA device: memory and copies on the host. */
#include "cuda/cuda.h"
#include "emulation/emulation.h"
#include "emulation/private.h"
#include <stdio.h>
#include <string.h>

const char *const runtime_name = "cuda-emulated";
enum status runtime_open(int local_rank, struct cuda_device *cuda) {
  cuda->number = local_rank;
  snprintf(cuda->device.description, sizeof cuda->device.description, "CUDA kernels emulated on the host");
  return STATUS_OK;
}
void runtime_close(struct cuda_device *cuda) {
  (void)cuda;
  emulation_close_ranges();
}
void *runtime_allocate(struct cuda_device *cuda, size_t bytes, const char *label) {
  cuda->device.counts.allocations++;
  return emulation_allocate(bytes, label);
}
void runtime_release(struct cuda_device *cuda, void *block) {
  (void)cuda;
  emulation_release(block);
}

static void copy(void *to, const void *from, size_t bytes) {
  emulation_open_memory();
  if (bytes)
    memmove(to, from, bytes);
  emulation_close_memory();
}
void runtime_copy_in(struct cuda_device *cuda, void *to, const void *from, size_t bytes) {
  (void)cuda;
  copy(to, from, bytes);
}
void runtime_copy_out(struct cuda_device *cuda, void *to, const void *from, size_t bytes) {
  (void)cuda;
  copy(to, from, bytes);
}
void runtime_copy(struct cuda_device *cuda, void *to, const void *from, size_t bytes) {
  (void)cuda;
  emulation_enqueue([=] { copy(to, from, bytes); });
}
void runtime_fill_bytes(struct cuda_device *cuda, void *block, int byte, size_t bytes) {
  (void)cuda;
  emulation_enqueue([=] {
    emulation_open_memory();
    if (bytes)
      memset(block, byte, bytes);
    emulation_close_memory();
  });
}
void runtime_synchronize(struct cuda_device *cuda) {
  (void)cuda;
}

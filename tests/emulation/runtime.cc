/* The platform of the emulated CUDA device: memory, copies, matrix products and sorting on the host. */
#include "cuda/gemm.h"
#include "cuda/sort.h"
#include "emulation/emulation.h"
#include "emulation/private.h"
#include <algorithm>
#include <stdio.h>
#include <vector>

const char *const runtime_name = "cuda-emulated";
const struct device_collectives *const runtime_collectives = NULL;
void runtime_leave_collective(struct cuda_device *cuda) {
  (void)cuda;
}

enum status runtime_open(int local_rank, struct cuda_device *cuda) {
  (void)local_rank;
  snprintf(cuda->device.description, sizeof cuda->device.description, "CUDA kernels emulated on the host");
  return STATUS_OK;
}
void runtime_close(struct cuda_device *cuda) {
  (void)cuda;
  emulation_close_ranges();
}
void *runtime_allocate(struct cuda_device *cuda, size_t bytes, const char *label) {
  (void)cuda;
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
  copy(to, from, bytes);
}
void runtime_fill_bytes(struct cuda_device *cuda, void *block, int byte, size_t bytes) {
  (void)cuda;
  emulation_open_memory();
  if (bytes)
    memset(block, byte, bytes);
  emulation_close_memory();
}
void runtime_synchronize(struct cuda_device *cuda) {
  (void)cuda;
}

/* ---- products, in double */

static double element(enum dtype dtype, const void *x, int64_t i) {
  return dtype == DTYPE_BF16 ? bf16_to_float(((const bf16 *)x)[i]) : ((const float *)x)[i];
}

static void multiply(const struct gemm *call, int64_t batch) {
  const int64_t a_row = call->a_stride ? call->a_stride : call->a_transposed ? call->m : call->k;
  const int64_t b_row = call->b_stride ? call->b_stride : call->b_transposed ? call->k : call->n;
  const int64_t c_row = call->c_stride ? call->c_stride : call->n;
  for (int64_t i = 0; i < call->m; i++)
    for (int64_t j = 0; j < call->n; j++) {
      double sum = call->bias ? call->bias[j] : 0;
      for (int64_t l = 0; l < call->k; l++)
        sum +=
            element(call->dtype, call->a,
                    batch * call->a_batch + (call->a_transposed ? l * a_row + i : i * a_row + l)) *
            element(call->dtype, call->b, batch * call->b_batch + (call->b_transposed ? j * b_row + l : l * b_row + j));
      const int64_t at = batch * call->c_batch + i * c_row + j;
      sum += call->accumulate ? element(call->c_dtype, call->c, at) : 0;
      if (call->c_dtype == DTYPE_BF16)
        ((bf16 *)call->c)[at] = bf16_from_float((float)sum);
      else
        ((float *)call->c)[at] = (float)sum;
    }
}

void gemm_multiply(struct cuda_device *cuda, const struct gemm *call) {
  (void)cuda;
  emulation_open_memory();
  for (int64_t batch = 0; batch < (call->batch ? call->batch : 1); batch++)
    multiply(call, batch);
  emulation_close_memory();
}
enum status gemm_open(struct cuda_device *cuda) {
  (void)cuda;
  return STATUS_OK;
}
void gemm_close(struct cuda_device *cuda) {
  (void)cuda;
}
const char *gemm_version(void) {
  return "plain products";
}

/* ---- sorting */

void sort_by_key(struct cuda_device *cuda, const int32_t *key, int32_t *sorted_key, int32_t *sorted_number,
                 int64_t count, int64_t bound) {
  (void)cuda;
  (void)bound;
  emulation_open_memory();
  for (int64_t i = 0; i < count; i++)
    sorted_number[i] = (int32_t)i;
  std::stable_sort(sorted_number, sorted_number + count, [&](int32_t a, int32_t b) { return key[a] < key[b]; });
  for (int64_t i = 0; i < count; i++)
    sorted_key[i] = key[sorted_number[i]];
  emulation_close_memory();
}

/* Stable radix sort, by CUB. */
#include "cuda/sort.h"
#include "cuda/kernel.h"
#include <cub/device/device_radix_sort.cuh>

enum { THREADS = 256 };

KERNEL void count_up(int32_t *number, int64_t count) {
  for (int64_t i = thread_of_grid(); i < count; i += threads_of_grid())
    number[i] = (int32_t)i;
}

static int bits_below(int64_t bound) {
  int bits = 1;
  while (((int64_t)1 << bits) < bound)
    bits++;
  return bits;
}

void sort_by_key(struct cuda_device *cuda, const int32_t *key, int32_t *sorted_key, int32_t *sorted_number,
                 int64_t count, int64_t bound) {
  const int bits = bits_below(bound);
  size_t bytes = 0, number_bytes = ((size_t)count * sizeof(int32_t) + 255) / 256 * 256;
  CUDA_CHECK(cub::DeviceRadixSort::SortPairs(NULL, bytes, key, sorted_key, sorted_number, sorted_number, count, 0, bits,
                                             cuda->stream));
  int32_t *number = (int32_t *)cuda_scratch(cuda, CUDA_SCRATCH_SORT, number_bytes + bytes);
  LAUNCH(count_up, blocks_striding(count, THREADS), THREADS, 0, cuda, number, count);
  CUDA_CHECK(cub::DeviceRadixSort::SortPairs((char *)number + number_bytes, bytes, key, sorted_key,
                                             (const int32_t *)number, sorted_number, count, 0, bits, cuda->stream));
}

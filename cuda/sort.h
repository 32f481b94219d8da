/* Sorting by slot: CUB's radix sort (sort.cu), or the standard library's in the emulation. */
#ifndef MEMCLIP_CUDA_SORT_H
#define MEMCLIP_CUDA_SORT_H
#include "cuda/cuda.h"

/* sorted_key = key in ascending order, sorted_number[i] = where it stood; equal keys keep their order. 0 <= key <
 * bound.
 */
void sort_by_key(struct cuda_device *cuda, const int32_t *key, int32_t *sorted_key, int32_t *sorted_number,
                 int64_t count, int64_t bound);
#endif

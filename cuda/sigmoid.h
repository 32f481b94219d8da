/* 1 / (1 + e^-x), as good as a T can hold it. */
#ifndef MEMCLIP_CUDA_SIGMOID_H
#define MEMCLIP_CUDA_SIGMOID_H
#include "cuda/kernel.h"

template <typename T> DEVICE float sigmoid(float x) {
  if constexpr (sizeof(T) == sizeof(bf16))
    return fast_inverse(1 + fast_exp2(x * -1.44269504f));
  else
    return 1 / (1 + expf(-x));
}
#endif

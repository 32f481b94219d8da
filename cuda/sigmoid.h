/* 1 / (1 + e^-x), good to fp32. */
#ifndef MEMCLIP_CUDA_SIGMOID_H
#define MEMCLIP_CUDA_SIGMOID_H
#include "cuda/kernel.h"

DEVICE float sigmoid(float x) {
  return 1 / (1 + expf(-x));
}
#endif

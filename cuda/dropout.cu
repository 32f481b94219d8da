/* Dropout by counter-based random numbers; the mask is drawn again wherever it is needed. */
#include "cuda/kernel.h"
#define PHILOX_FUNCTION DEVICE
#include "base/philox.h"

enum { THREADS = 256 };

/* A thread draws one word of the four; a block of them is the cost of one element's memory traffic. */
template <typename T> KERNEL void drop(struct dropout call, unsigned threshold, float scale) {
  const int64_t width = call.width;
  for (int64_t i = thread_of_grid(); i < call.batch * call.tokens * width; i += threads_of_grid()) {
    const int64_t row = i / width, b = row / call.tokens, token = call.position ? call.position[b] : row % call.tokens;
    const uint64_t element = (uint64_t)((call.sample[b] * call.tokens_max + token) * width + i % width);
    uint32_t words[4];
    philox(call.key, (uint64_t)call.step, element / 4, words);
    const unsigned which = (unsigned)(element % 4);
    const uint32_t word = which == 0 ? words[0] : which == 1 ? words[1] : which == 2 ? words[2] : words[3];
    from_float((T *)call.y + i, word >= threshold ? to_float(((const T *)call.x)[i]) * scale : 0);
  }
}

void cuda_dropout(struct device *self, const struct dropout *call) {
  const unsigned threshold = (unsigned)(call->probability * 4294967296.0);
  const float scale = (float)(1 / (1 - call->probability));
  WITH_TYPE(T, call->dtype,
            LAUNCH((drop<T>), blocks_striding(call->batch * call->tokens * call->width, THREADS), THREADS, 0,
                   cuda_from_device(self), *call, threshold, scale));
}

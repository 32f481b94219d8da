/* Dropout by counter-based random numbers; the mask is drawn again wherever it is needed. */
#include "cuda/kernel.h"
#define PHILOX_FUNCTION DEVICE
#include "base/philox.h"

enum { THREADS = 256 };

/* A warp per row. One draw is good for four columns where they belong together. */
template <typename T, int V> KERNEL void drop(struct dropout call, unsigned threshold, float scale) {
  const int64_t width = call.width, row = warp_of_grid(), b = row / call.tokens;
  if (row >= call.batch * call.tokens)
    return;
  const int64_t token = call.position ? call.position[b] : row % call.tokens;
  const uint64_t first = (uint64_t)((call.sample[b] * call.tokens_max + token) * width);
  const uint64_t step = (uint64_t)*call.step;
  float x[V];
  for (int64_t c = lane_of_thread() * V; c < width; c += WARP * V) {
    uint32_t words[4];
    philox(call.key, step, (first + (uint64_t)c) / 4, words);
    load<V>((const T *)call.x, row * width + c, x);
#pragma unroll
    for (int n = 0; n < V; n++) {
      const unsigned which = V == 4 ? (unsigned)n : (unsigned)((first + (uint64_t)c) % 4);
      const uint32_t word = which == 0 ? words[0] : which == 1 ? words[1] : which == 2 ? words[2] : words[3];
      x[n] = word >= threshold ? x[n] * scale : 0;
    }
    store<V>((T *)call.y, row * width + c, x);
  }
}

void cuda_dropout(struct device *self, const struct dropout *call) {
  const unsigned threshold = (unsigned)(call->probability * 4294967296.0);
  const float scale = (float)(1 / (1 - call->probability));
  const unsigned blocks = blocks_for(call->batch * call->tokens, THREADS / WARP);
  WITH_TYPE(T, call->dtype,
            WITH_VECTOR(4, call->width % 4 == 0 && aligned((const char *)call->x, (const char *)call->y),
                        LAUNCH((drop<T, V>), blocks, THREADS, 0, cuda_from_device(self), *call, threshold, scale)));
}

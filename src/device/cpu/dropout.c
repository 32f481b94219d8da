/* Dropout by counter-based random numbers; the mask is drawn again wherever it is needed. */
#include "base/random.h"
#include "device/cpu/cpu.h"

static void drop_row(const struct dropout *call, int64_t row, uint32_t threshold, float scale) {
  const int64_t b = row / call->tokens, token = call->position ? call->position[b] : row % call->tokens;
  const uint64_t first = (uint64_t)((call->sample[b] * call->tokens_max + token) * call->width);
  uint32_t words[4];
  for (int64_t c = 0; c < call->width; c++) {
    const uint64_t element = first + (uint64_t)c;
    if (c == 0 || element % 4 == 0)
      random_philox(call->key, (uint64_t)*call->step, element / 4, words);
    const int64_t i = row * call->width + c;
    const bool kept = words[element % 4] >= threshold;
    cpu_store(call->dtype, call->y, i, kept ? cpu_load(call->dtype, call->x, i) * scale : 0);
  }
}

void cpu_dropout(struct device *self, const struct dropout *call) {
  const uint32_t threshold = (uint32_t)(call->probability * 0x1p32);
  const float scale = (float)(1 / (1 - call->probability));
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t row = 0; row < call->batch * call->tokens; row++)
    drop_row(call, row, threshold, scale);
}

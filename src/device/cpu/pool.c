/* Pooling of tokens: the row at a position (class token, end of text), or the mean of rows. */
#include "device/cpu/cpu.h"
#include <string.h>

/* out[b,:] = x[b, position[b], :], whatever the dtype: rows of bytes. */
void cpu_pool(struct device *self, const struct pool *call) {
  size_t row_bytes = (size_t)call->width * dtype_size(call->dtype);
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t b = 0; b < call->batch; b++) {
    int64_t token = call->position ? call->position[b] : 0;
    memcpy((char *)call->out + (size_t)b * row_bytes,
           (const char *)call->x + (size_t)(b * call->tokens + token) * row_bytes, row_bytes);
  }
}

static void add_row(enum dtype dtype, void *to, const void *from, int64_t width) {
  if (dtype == DTYPE_F32) {
    float *y = to;
    const float *x = from;
    for (int64_t c = 0; c < width; c++)
      y[c] += x[c];
  } else {
    bf16 *y = to;
    const bf16 *x = from;
    for (int64_t c = 0; c < width; c++)
      y[c] = bf16_from_float(bf16_to_float(y[c]) + bf16_to_float(x[c]));
  }
}

void cpu_pool_backward(struct device *self, const struct pool *call) {
  size_t row_bytes = (size_t)call->width * dtype_size(call->dtype);
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t b = 0; b < call->batch; b++) {
    int64_t token = call->position ? call->position[b] : 0;
    char *sample = (char *)call->dx + (size_t)(b * call->tokens) * row_bytes, *row = sample + (size_t)token * row_bytes;
    const char *gradient = (const char *)call->dout + (size_t)b * row_bytes;
    if (call->accumulate) {
      add_row(call->dtype, row, gradient, call->width);
    } else {
      memset(sample, 0, (size_t)call->tokens * row_bytes);
      memcpy(row, gradient, row_bytes);
    }
  }
}

/* out[b,c] = mean over t >= first of x[b,t,c], summed in order of t. */
void cpu_pool_average(struct device *self, const struct pool_average *call) {
  float scale = 1.0f / (float)(call->tokens - call->first);
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t b = 0; b < call->batch; b++)
    for (int64_t c = 0; c < call->width; c++) {
      float sum = 0;
      for (int64_t t = call->first; t < call->tokens; t++)
        sum += cpu_load(call->dtype, call->x, (b * call->tokens + t) * call->width + c);
      cpu_store(call->dtype, call->out, b * call->width + c, sum * scale);
    }
}

void cpu_pool_average_backward(struct device *self, const struct pool_average *call) {
  float scale = 1.0f / (float)(call->tokens - call->first);
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t row = 0; row < call->batch * call->tokens; row++) {
    int64_t b = row / call->tokens, t = row % call->tokens;
    for (int64_t c = 0; c < call->width; c++) {
      float value = t < call->first ? 0 : cpu_load(call->dtype, call->dout, b * call->width + c) * scale;
      cpu_store(call->dtype, call->dx, row * call->width + c, value);
    }
  }
}

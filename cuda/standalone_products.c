/* What the CPU device asks of oneDNN (src/device/cpu/onednn.h), where that is not: fp32 products as plain loops with
 * sums in fp64. For comparison, not for speed. */
#include "device/cpu/onednn.h"
#include "base/memory.h"

enum { TILE = 256 }; /* columns that are summed at once */
struct onednn {
  int threads;
};

struct onednn *onednn_open(enum isa isa, int threads) {
  struct onednn *library = memory_allocate(sizeof *library, "products");
  (void)isa;
  library->threads = threads;
  return library;
}
void onednn_close(struct onednn *library) {
  memory_release(library);
}
void onednn_forget_weights(struct onednn *library) {
  (void)library;
}
void onednn_weights_written(struct onednn *library, const void *from, size_t bytes) {
  (void)library;
  (void)from;
  (void)bytes;
}
const char *onednn_version(void) {
  return "plain products";
}
bool onednn_is_packed(struct onednn *library, const struct gemm *call) {
  (void)library;
  (void)call;
  return false;
}

/* c[0..columns) (+)= bias + sum over l < k of a[l * a_stride] * b[l * b_stride + ...]. */
static void multiply_tile(int64_t k, int64_t columns, const float *a, int64_t a_stride, const float *b,
                          int64_t b_stride, const float *bias, bool accumulate, float *c) {
  double sum[TILE];
  for (int64_t j = 0; j < columns; j++)
    sum[j] = (bias ? (double)bias[j] : 0) + (accumulate ? (double)c[j] : 0);
  for (int64_t l = 0; l < k; l++) {
    const double factor = a[l * a_stride];
    const float *row = b + l * b_stride;
    for (int64_t j = 0; j < columns; j++)
      sum[j] += factor * (double)row[j];
  }
  for (int64_t j = 0; j < columns; j++)
    c[j] = (float)sum[j];
}

/* b[n,k] as dense [k,n]. */
static const float *transpose(const struct onednn *library, const struct gemm *call, struct onednn_scratch scratch) {
  const int64_t stride = call->b_stride ? call->b_stride : call->k;
  const float *b = call->b;
  float *to = scratch.take(scratch.owner, (size_t)(call->k * call->n) * sizeof *to);
#pragma omp parallel for num_threads(library->threads)
  for (int64_t l = 0; l < call->k; l++)
    for (int64_t j = 0; j < call->n; j++)
      to[l * call->n + j] = b[j * stride + l];
  return to;
}

void onednn_multiply(struct onednn *library, const struct gemm *call, struct onednn_scratch scratch) {
  if (call->dtype != DTYPE_F32 || call->c_dtype != DTYPE_F32)
    fatal("plain products are of fp32");
  const int64_t a_stride = call->a_stride ? call->a_stride : call->k,
                c_stride = call->c_stride ? call->c_stride : call->n;
  const float *b = call->b_transposed ? transpose(library, call, scratch) : call->b;
  const int64_t b_stride = call->b_transposed || !call->b_stride ? call->n : call->b_stride;
#pragma omp parallel for collapse(2) num_threads(library->threads)
  for (int64_t i = 0; i < call->m; i++)
    for (int64_t first = 0; first < call->n; first += TILE)
      multiply_tile(call->k, call->n - first < TILE ? call->n - first : TILE, (const float *)call->a + i * a_stride, 1,
                    b + first, b_stride, call->bias ? call->bias + first : NULL, call->accumulate,
                    (float *)call->c + i * c_stride + first);
}

void onednn_multiply_outer(struct onednn *library, const struct gemm_outer *call, struct onednn_scratch scratch) {
  (void)scratch;
  if (call->dtype != DTYPE_F32)
    fatal("plain products are of fp32");
#pragma omp parallel for collapse(2) num_threads(library->threads)
  for (int64_t i = 0; i < call->n; i++)
    for (int64_t first = 0; first < call->k; first += TILE)
      multiply_tile(call->rows, call->k - first < TILE ? call->k - first : TILE, (const float *)call->dy + i, call->n,
                    (const float *)call->x + first, call->k, NULL, false, call->c + i * call->k + first);
}

/* Unit vectors and the distillation losses: a warp per row, sums within a row in fp64, rows added in order. */
#include "cuda/kernel.h"

enum { THREADS = 128 };

DEVICE double row_dot(const float *a, const float *b, int64_t width) {
  double sum = 0;
  for (int64_t c = lane_of_thread(); c < width; c += WARP)
    sum += (double)a[c] * b[c];
  return warp_sum(sum);
}

/* y = x / max(|x|, 1e-12) */
KERNEL void normalize_rows(struct normalize call) {
  const int64_t row = warp_of_grid();
  if (row >= call.rows)
    return;
  const float *x = call.x + row * call.width;
  const float norm = fmaxf((float)sqrt(row_dot(x, x, call.width)), 1e-12f);
  for (int64_t c = lane_of_thread(); c < call.width; c += WARP)
    call.y[row * call.width + c] = x[c] / norm;
  if (call.norm && lane_of_thread() == 0)
    call.norm[row] = norm;
}

void cuda_normalize(struct device *self, const struct normalize *call) {
  LAUNCH(normalize_rows, blocks_for(call->rows, THREADS / WARP), THREADS, 0, cuda_from_device(self), *call);
}

/* dx = (dy - y <y,dy>) / norm */
KERNEL void normalize_gradients(struct normalize call) {
  const int64_t row = warp_of_grid();
  if (row >= call.rows)
    return;
  const float *y = call.y + row * call.width, *dy = call.dy + row * call.width;
  const float along = (float)row_dot(y, dy, call.width);
  for (int64_t c = lane_of_thread(); c < call.width; c += WARP)
    call.dx[row * call.width + c] = (dy[c] - y[c] * along) / call.norm[row];
}

void cuda_normalize_backward(struct device *self, const struct normalize *call) {
  LAUNCH(normalize_gradients, blocks_for(call->rows, THREADS / WARP), THREADS, 0, cuda_from_device(self), *call);
}

/* A row's loss and cosine; ds = scale * d loss / d student = scale (factor_t t + factor_s s):
 *   cosine: 1 - <t,s>/(|t||s|)   ds = -(t/|t| - cos s/|s|) / |s|
 *   mse:    |t-s|^2 / E          ds = 2 (s-t) / E
 *   l2:     |t-s|                ds = (s-t) / |t-s|, 0 where they are equal */
KERNEL void distill_rows(struct distill call, double *loss_of_row) {
  const int64_t row = warp_of_grid(), width = call.width;
  if (row >= call.batch)
    return;
  const float *t = call.teacher + row * width, *s = call.student + row * width;
  const double norm_t = fmax(sqrt(row_dot(t, t, width)), 1e-12), norm_s = fmax(sqrt(row_dot(s, s, width)), 1e-12);
  const double cosine = row_dot(t, s, width) / (norm_t * norm_s);
  double square = 0;
  for (int64_t c = lane_of_thread(); c < width; c += WARP)
    square += ((double)t[c] - s[c]) * ((double)t[c] - s[c]);
  square = warp_sum(square);
  double factor_t = -1 / (norm_t * norm_s), factor_s = cosine / (norm_s * norm_s), loss = 1 - cosine;
  if (call.kind != DISTILL_COSINE) {
    const bool mse = call.kind == DISTILL_MSE;
    loss = mse ? square / (double)width : sqrt(square);
    factor_s = mse ? 2 / (double)width : loss > 0 ? 1 / loss : 0;
    factor_t = -factor_s;
  }
  for (int64_t c = lane_of_thread(); call.dstudent && c < width; c += WARP)
    call.dstudent[row * width + c] = (float)(call.scale * (factor_t * t[c] + factor_s * s[c]));
  if (lane_of_thread() == 0) {
    loss_of_row[row] = loss;
    if (call.cosine)
      call.cosine[row] = (float)cosine;
  }
}

void cuda_distill(struct device *self, const struct distill *call) {
  struct cuda_device *cuda = cuda_from_device(self);
  double *losses = (double *)cuda_scratch(cuda, CUDA_SCRATCH_ROWS, (size_t)call->batch * sizeof *losses);
  LAUNCH(distill_rows, blocks_for(call->batch, THREADS / WARP), THREADS, 0, cuda, *call, losses);
  cuda_add_total(cuda, losses, call->batch, call->scale, call->loss);
}

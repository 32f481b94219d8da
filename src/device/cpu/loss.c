/* Unit vectors and the distillation losses; sums within a row in fp64, rows added in order. */
#include "device/cpu/cpu.h"
#include <math.h>

static double dot(const float *a, const float *b, int64_t width) {
  double sum = 0;
  for (int64_t c = 0; c < width; c++)
    sum += (double)a[c] * b[c];
  return sum;
}

/* y = x / max(|x|, 1e-12) */
void cpu_normalize(struct device *self, const struct normalize *call) {
#pragma omp parallel for num_threads(self->threads)
  for (int64_t row = 0; row < call->rows; row++) {
    const float *x = call->x + row * call->width;
    float norm = fmaxf((float)sqrt(dot(x, x, call->width)), 1e-12f);
    for (int64_t c = 0; c < call->width; c++)
      call->y[row * call->width + c] = x[c] / norm;
    if (call->norm)
      call->norm[row] = norm;
  }
}

/* dx = (dy - y <y,dy>) / norm */
void cpu_normalize_backward(struct device *self, const struct normalize *call) {
#pragma omp parallel for num_threads(self->threads)
  for (int64_t row = 0; row < call->rows; row++) {
    const float *y = call->y + row * call->width, *dy = call->dy + row * call->width;
    float along = (float)dot(y, dy, call->width);
    for (int64_t c = 0; c < call->width; c++)
      call->dx[row * call->width + c] = (dy[c] - y[c] * along) / call->norm[row];
  }
}

/* A row's loss and cosine; ds = scale * d loss / d student:
 *   cosine: 1 - <t,s>/(|t||s|)   ds = -(t/|t| - cos s/|s|) / |s|
 *   mse:    |t-s|^2 / E          ds = 2 (s-t) / E
 *   l2:     |t-s|                ds = (s-t) / |t-s|, 0 where they are equal */
static double distill_row(const struct distill *call, int64_t row) {
  int64_t width = call->width;
  const float *t = call->teacher + row * width, *s = call->student + row * width;
  double norm_t = fmax(sqrt(dot(t, t, width)), 1e-12), norm_s = fmax(sqrt(dot(s, s, width)), 1e-12);
  double cosine = dot(t, s, width) / (norm_t * norm_s), square = 0;
  for (int64_t c = 0; c < width; c++)
    square += ((double)t[c] - s[c]) * ((double)t[c] - s[c]);
  if (call->cosine)
    call->cosine[row] = (float)cosine;
  /* ds = factor_t t + factor_s s */
  double factor_t, factor_s, loss;
  if (call->kind == DISTILL_COSINE) {
    loss = 1 - cosine;
    factor_t = -1 / (norm_t * norm_s);
    factor_s = cosine / (norm_s * norm_s);
  } else if (call->kind == DISTILL_MSE) {
    loss = square / (double)width;
    factor_s = 2 / (double)width;
    factor_t = -factor_s;
  } else {
    loss = sqrt(square);
    factor_s = loss > 0 ? 1 / loss : 0;
    factor_t = -factor_s;
  }
  for (int64_t c = 0; call->dstudent && c < width; c++)
    call->dstudent[row * width + c] = (float)(call->scale * (factor_t * t[c] + factor_s * s[c]));
  return loss;
}

void cpu_distill(struct device *self, const struct distill *call) {
  double *losses = cpu_scratch(cpu_from_device(self), CPU_SCRATCH_ROWS, (size_t)call->batch * sizeof *losses);
#pragma omp parallel for num_threads(self->threads)
  for (int64_t row = 0; row < call->batch; row++)
    losses[row] = distill_row(call, row);
  double sum = 0;
  for (int64_t row = 0; row < call->batch; row++)
    sum += losses[row];
  *call->loss += call->scale * sum;
}

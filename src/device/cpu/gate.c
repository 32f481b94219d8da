/* Gates of the memory layer: element by element (u = m silu(g)) and one scalar per token. */
#include "device/cpu/cpu.h"
#include <math.h>
#include <string.h>

static float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

/* u = m g sigma(g) */
void cpu_gate(struct device *self, const struct gate *call) {
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t i = 0; i < call->rows * call->columns; i++) {
    float g = cpu_load(call->dtype, call->g, i);
    cpu_store(call->dtype, call->u, i, cpu_load(call->dtype, call->m, i) * g * sigmoid(g));
  }
}

/* dm = du silu(g), dg = du m sigma (1 + g (1 - sigma)); columns are shared out, so that a column is summed in order of the rows. */
void cpu_gate_backward(struct device *self, const struct gate *call) {
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t c = 0; c < call->columns; c++) {
    float sum = 0;
    for (int64_t n = 0; n < call->rows; n++) {
      int64_t i = n * call->columns + c;
      float g = cpu_load(call->dtype, call->g, i), m = cpu_load(call->dtype, call->m, i), du = cpu_load(call->dtype, call->du, i);
      float s = sigmoid(g), dg = du * m * s * (1 + g * (1 - s));
      cpu_store(call->dtype, call->dm, i, du * g * s);
      cpu_store(call->dtype, call->dg, i, dg);
      sum += dg;
    }
    if (call->dgate_bias)
      call->dgate_bias[c] += sum;
  }
}

/* s = sigma(<x, weight> + bias), y = s o */
void cpu_token_gate(struct device *self, const struct token_gate *call) {
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t n = 0; n < call->rows; n++) {
    float z = call->bias ? call->bias[0] : 0;
    for (int64_t c = 0; c < call->in; c++)
      z += cpu_load(call->dtype, call->x, n * call->in + c) * call->weight[c];
    float s = call->s[n] = sigmoid(z);
    for (int64_t c = 0; c < call->width; c++)
      cpu_store(call->dtype, call->y, n * call->width + c, s * cpu_load(call->dtype, call->o, n * call->width + c));
  }
}

/* dz[n] = s (1-s) <dy, o>; do = s dy; dx += dz weight */
static void token_gate_row(const struct token_gate *call, int64_t n, float *dz) {
  float s = call->s[n], product = 0;
  for (int64_t c = 0; c < call->width; c++) {
    float dy = cpu_load(call->dtype, call->dy, n * call->width + c);
    product += dy * cpu_load(call->dtype, call->o, n * call->width + c);
    cpu_store(call->dtype, call->d_o, n * call->width + c, s * dy);
  }
  *dz = s * (1 - s) * product;
  for (int64_t c = 0; call->dx && c < call->in; c++) {
    int64_t i = n * call->in + c;
    cpu_store(call->dtype, call->dx, i, cpu_load(call->dtype, call->dx, i) + *dz * call->weight[c]);
  }
}

void cpu_token_gate_backward(struct device *self, const struct token_gate *call) {
  float *dz = cpu_scratch(cpu_from_device(self), CPU_SCRATCH_ROWS, (size_t)call->rows * sizeof *dz);
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t n = 0; n < call->rows; n++)
    token_gate_row(call, n, dz + n);
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t c = 0; c < call->in; c++) {
    float sum = 0;
    for (int64_t n = 0; call->dweight && n < call->rows; n++)
      sum += dz[n] * cpu_load(call->dtype, call->x, n * call->in + c);
    if (call->dweight)
      call->dweight[c] += sum;
  }
  float sum = 0;
  for (int64_t n = 0; n < call->rows; n++)
    sum += dz[n];
  if (call->dbias)
    call->dbias[0] += sum;
}

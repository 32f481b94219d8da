/* Gates: element by element, and one per row. */
#include "device/cpu/kernels.h"
#include "device/cpu/tile.h"
#include "device/cpu/vmath.h"

/* u = m g sigma(g) for `count` elements from `first`. */
TILE_INLINE void gate_elements(enum dtype dtype, const struct gate *call, int64_t first, int64_t count) {
  for (int64_t i = first; i < first + count; i += LANES) {
    int64_t left = first + count - i;
    vfloat m = tile_load(dtype, call->m, i, left), g = tile_load(dtype, call->g, i, left);
    tile_store(dtype, call->u, i, m * g * v_sigmoid(g), left);
  }
}

void CPU_KERNEL(cpu_kernel_gate)(const struct gate *call, int64_t first, int64_t count) {
  if (call->dtype == DTYPE_F32)
    gate_elements(DTYPE_F32, call, first, count);
  else
    gate_elements(DTYPE_BF16, call, first, count);
}

/* dm = du g sigma, dg = du m sigma (1 + g (1 - sigma)) of some rows; column sums of dg are added to bias_sum. */
TILE_INLINE void gate_gradients(enum dtype dtype, const struct gate *call, int64_t first, int64_t rows,
                                float *bias_sum) {
  for (int64_t n = first; n < first + rows; n++)
    for (int64_t c = 0; c < call->columns; c += LANES) {
      int64_t i = n * call->columns + c, left = call->columns - c;
      vfloat m = tile_load(dtype, call->m, i, left), g = tile_load(dtype, call->g, i, left),
             du = tile_load(dtype, call->du, i, left);
      vfloat s = v_sigmoid(g), dg = du * m * s * (v_set(1) + g * (v_set(1) - s));
      tile_store(dtype, call->dm, i, du * g * s, left);
      tile_store(dtype, call->dg, i, dg, left);
      tile_store(DTYPE_F32, bias_sum, c, tile_load(DTYPE_F32, bias_sum, c, left) + dg, left);
    }
}

void CPU_KERNEL(cpu_kernel_gate_backward)(const struct gate *call, int64_t first, int64_t rows, float *bias_sum) {
  if (call->dtype == DTYPE_F32)
    gate_gradients(DTYPE_F32, call, first, rows, bias_sum);
  else
    gate_gradients(DTYPE_BF16, call, first, rows, bias_sum);
}

/* s[n] = sigma(<x[n,:], weight> + bias), y[n,:] = s[n] o[n,:] */
void CPU_KERNEL(cpu_kernel_token_gate)(const struct token_gate *call, int64_t n) {
  vfloat z = {0};
  for (int64_t c = 0; c < call->in; c += LANES)
    z += tile_load(call->dtype, call->x, n * call->in + c, call->in - c) *
         tile_load(DTYPE_F32, call->weight, c, call->in - c);
  vfloat s = v_set(v_sigmoid(v_set(tile_sum(z) + (call->bias ? call->bias[0] : 0)))[0]);
  call->s[n] = s[0];
  for (int64_t c = 0; c < call->width; c += LANES) {
    int64_t i = n * call->width + c, left = call->width - c;
    tile_store(call->dtype, call->y, i, s * tile_load(call->dtype, call->o, i, left), left);
  }
}

/* With dz = s (1-s) <dy, o>: do = s dy, dx += dz weight; what row n adds to dweight, and after it to dbias, is added to
 * sum[in + 1]. */
void CPU_KERNEL(cpu_kernel_token_gate_backward)(const struct token_gate *call, int64_t n, float *sum) {
  vfloat s = v_set(call->s[n]), product = {0};
  for (int64_t c = 0; c < call->width; c += LANES) {
    int64_t i = n * call->width + c, left = call->width - c;
    vfloat dy = tile_load(call->dtype, call->dy, i, left);
    product += dy * tile_load(call->dtype, call->o, i, left);
    tile_store(call->dtype, call->d_o, i, s * dy, left);
  }
  vfloat dz = s * (v_set(1) - s) * v_set(tile_sum(product));
  for (int64_t c = 0; c < call->in; c += LANES) {
    int64_t i = n * call->in + c, left = call->in - c;
    vfloat weight = tile_load(DTYPE_F32, call->weight, c, left);
    if (call->dx)
      tile_store(call->dtype, call->dx, i, tile_load(call->dtype, call->dx, i, left) + dz * weight, left);
    tile_store(DTYPE_F32, sum, c, tile_load(DTYPE_F32, sum, c, left) + dz * tile_load(call->dtype, call->x, i, left),
               left);
  }
  sum[call->in] += dz[0];
}

/* What an entry of the experts' bag needs of its pre-activation z: gelu(z) = z Phi(z), gelu'(z) = Phi(z) + z phi(z). */
#include "device/cpu/kernels.h"
#include "device/cpu/tile.h"
#include "device/cpu/vmath.h"

/* to = weight gelu(z) */
void CPU_KERNEL(cpu_kernel_expert_weights)(const float *weight, const float *z, float *to, int64_t count) {
  for (int64_t i = 0; i < count; i += LANES) {
    const int64_t left = count - i;
    vfloat x = tile_load(DTYPE_F32, z, i, left), bell = v_exp_half_square(x);
    tile_store(DTYPE_F32, to, i, tile_load(DTYPE_F32, weight, i, left) * x * v_normal_cdf(x, bell), left);
  }
}

/* dweight holds c: dz = weight gelu'(z) c, dweight = gelu(z) c. */
void CPU_KERNEL(cpu_kernel_expert_gradients)(const float *weight, const float *z, float *dweight, float *dz,
                                             int64_t count) {
  const float inverse_root_of_two_pi = 0.398942280401432678f;
  for (int64_t i = 0; i < count; i += LANES) {
    const int64_t left = count - i;
    vfloat x = tile_load(DTYPE_F32, z, i, left), c = tile_load(DTYPE_F32, dweight, i, left);
    vfloat bell = v_exp_half_square(x), cdf = v_normal_cdf(x, bell);
    vfloat slope = cdf + x * bell * inverse_root_of_two_pi;
    tile_store(DTYPE_F32, dz, i, tile_load(DTYPE_F32, weight, i, left) * slope * c, left);
    tile_store(DTYPE_F32, dweight, i, x * cdf * c, left);
  }
}

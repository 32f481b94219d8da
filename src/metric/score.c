/* Which instruction set scores are computed with, and the packing that all of them share. */
#include <config.h>
#include "metric/score_kernel.h"
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_X86_KERNELS
const struct score_kernels *score_kernels_best(void) {
  const char *wanted = getenv("MEMCLIP_ISA");
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || (wanted && strcmp(wanted, "generic") == 0))
    return &score_kernels_generic;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512dq") ||
      !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
      (wanted && strcmp(wanted, "avx2") == 0))
    return &score_kernels_avx2;
  return &score_kernels_avx512;
}
#else
const struct score_kernels *score_kernels_best(void) {
  return &score_kernels_generic;
}
#endif

void score_pack(const float *rows, int64_t count, int64_t width, int64_t lanes, float *packed) {
  for (int64_t r = 0; r < lanes; r++)
    for (int64_t e = 0; e < width; e++)
      packed[e * lanes + r] = r < count ? rows[r * width + e] : 0;
}

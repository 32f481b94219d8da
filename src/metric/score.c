/* Which instruction set scores are computed with, and the packing that all of them share. */
#include <config.h>
#include "metric/score_kernel.h"
#include "base/isa.h"

#ifdef HAVE_X86_KERNELS
const struct score_kernels *score_kernels_best(void) {
  static const struct score_kernels *const tables[ISA_COUNT] = {&score_kernels_generic, &score_kernels_avx2,
                                                                &score_kernels_avx512, &score_kernels_avx512};
  return tables[isa_best()];
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

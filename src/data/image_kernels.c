/* The plain passes, and the choice between instruction sets. */
#include "config.h"
#include "data/image_kernels.h"
#include "base/isa.h"
#include "data/image.h"

/* clamp((2^21 + sum weight * pixel) >> 22, 0, 255) */
static uint8_t finish(int32_t sum) {
  const int32_t value = (sum + (1 << (IMAGE_WEIGHT_BITS - 1))) >> IMAGE_WEIGHT_BITS;
  return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static int32_t weight_of(const int16_t *group, int tap) {
  return group[tap] * (1 << IMAGE_LOW_BITS) + group[IMAGE_TAP_GROUP + tap];
}

static void horizontal(const uint8_t *const from[IMAGE_ROW_BLOCK], const struct image_taps *taps,
                       uint8_t *const to[IMAGE_ROW_BLOCK]) {
  for (int r = 0; r < IMAGE_ROW_BLOCK; r++)
    for (int x = 0; x < taps->count; x++) {
      const int16_t *group = taps->weights + (int64_t)x * taps->groups * 2 * IMAGE_TAP_GROUP;
      const uint8_t *pixel = from[r] + (int64_t)taps->first[x] * 3;
      int32_t sum[3] = {0, 0, 0};
      for (int g = 0; g < taps->groups; g++, group += 2 * IMAGE_TAP_GROUP)
        for (int k = 0; k < IMAGE_TAP_GROUP; k++, pixel += 3) {
          const int32_t weight = weight_of(group, k);
          sum[0] += weight * pixel[0];
          sum[1] += weight * pixel[1];
          sum[2] += weight * pixel[2];
        }
      for (int c = 0; c < 3; c++)
        to[r][3 * x + c] = finish(sum[c]);
    }
}

enum { CHUNK = 256 };

static void vertical(const uint8_t *const *rows, const int16_t *weights, int groups, uint8_t *to, int bytes) {
  for (int start = 0; start < bytes; start += CHUNK) {
    const int count = bytes - start < CHUNK ? bytes - start : CHUNK;
    int32_t sum[CHUNK] = {0};
    for (int g = 0; g < groups; g++)
      for (int k = 0; k < IMAGE_TAP_GROUP; k++) {
        const int32_t weight = weight_of(weights + (int64_t)g * 2 * IMAGE_TAP_GROUP, k);
        const uint8_t *row = rows[g * IMAGE_TAP_GROUP + k] + start;
        for (int i = 0; i < count; i++)
          sum[i] += weight * row[i];
      }
    for (int i = 0; i < count; i++)
      to[start + i] = finish(sum[i]);
  }
}

const struct image_kernels image_kernels_generic = {"generic", horizontal, vertical};

#ifdef HAVE_X86_KERNELS
const struct image_kernels *image_kernels_best(void) {
  static const struct image_kernels *const tables[ISA_COUNT] = {&image_kernels_generic, &image_kernels_avx2,
                                                                &image_kernels_avx512, &image_kernels_avx512};
  return tables[isa_best()];
}
#else
const struct image_kernels *image_kernels_best(void) {
  return &image_kernels_generic;
}
#endif

const char *image_resize_isa(void) {
  return image_kernels_best()->name;
}

/* The two passes of a resize, one implementation per instruction set, all equal to the bit.
 *
 * A weight is an integer with 22 fractional bits; it is kept as high * 2^11 + low, both 16 bits wide, because vectors
 * multiply and add pairs of those in one instruction. Sums are taken modulo 2^32 and cannot overflow: 255 * sum
 * |weight| < 2^31. */
#ifndef MEMCLIP_DATA_IMAGE_KERNELS_H
#define MEMCLIP_DATA_IMAGE_KERNELS_H
#include <stdint.h>

enum {
  IMAGE_WEIGHT_BITS = 22,
  IMAGE_LOW_BITS = 11,
  IMAGE_TAP_GROUP = 4, /* taps are padded to groups of four with weight 0 */
  IMAGE_ROW_BLOCK = 4, /* rows that a horizontal kernel takes at once */
  IMAGE_VECTOR_BYTES = 64
};

struct image_taps { /* for each output pixel (or row): the first input, and groups x (4 high, 4 low) weights */
  int count, groups;
  int32_t *first;   /* [count] */
  int16_t *weights; /* [count, groups, 2, 4] */
};

struct image_kernels {
  const char *name;
  /* Four rows of RGB pixels -> four rows of taps->count pixels. Reads up to 16 bytes past the last tap, writes up to 4
   * bytes past the last pixel. */
  void (*horizontal)(const uint8_t *const from[IMAGE_ROW_BLOCK], const struct image_taps *taps,
                     uint8_t *const to[IMAGE_ROW_BLOCK]);
  /* groups x 4 rows of `bytes` bytes -> one row; weights [groups, 2, 4]. Reads and writes whole vectors: rows end with
   * IMAGE_VECTOR_BYTES of slack. */
  void (*vertical)(const uint8_t *const *rows, const int16_t *weights, int groups, uint8_t *to, int bytes);
};
extern const struct image_kernels image_kernels_generic, image_kernels_avx2, image_kernels_avx512;
/* As base/isa.h chooses. */
const struct image_kernels *image_kernels_best(void);
#endif

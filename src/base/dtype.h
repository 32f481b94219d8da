/* Element types of tensors, in memory and in files, and bf16 conversion (round to nearest even). */
#ifndef MEMCLIP_BASE_DTYPE_H
#define MEMCLIP_BASE_DTYPE_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum dtype { DTYPE_F32, DTYPE_BF16, DTYPE_U8, DTYPE_I32, DTYPE_I64, DTYPE_F64, DTYPE_F16, DTYPE_COUNT };
typedef uint16_t bf16; /* the upper half of an IEEE single */

size_t dtype_size(enum dtype dtype);      /* bytes of an element */
const char *dtype_name(enum dtype dtype); /* "fp32", "bf16", "uint8", ... */

static inline float bf16_to_float(bf16 value) {
  uint32_t bits = (uint32_t)value << 16;
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}
static inline bf16 bf16_from_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u)
    return (bf16)((bits >> 16) | 0x40u);
  return (bf16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
#endif

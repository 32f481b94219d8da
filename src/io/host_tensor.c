#include "io/host_tensor.h"
#include <math.h>
#include <stdbool.h>

/* IEEE half precision: 5 bits of exponent (bias 15), 10 of fraction. */
static inline float float_from_half(uint16_t half) {
  const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 0x1fu, fraction = half & 0x3ffu;
  uint32_t bits = sign | (exponent + 112) << 23 | fraction << 13;
  float value;
  if (exponent == 31)
    bits = sign | 0x7f800000u | fraction << 13;
  memcpy(&value, &bits, sizeof value);
  if (exponent == 0)
    value = (sign != 0 ? -1.0f : 1.0f) * (float)fraction * 0x1p-24f;
  return value;
}

/* Rounds to nearest even: below the smallest normal half by adding a float whose last bit is the smallest half, else on
 * the bits. */
static inline uint16_t half_from_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u)
    return (uint16_t)(sign | 0x7e00u);
  if (bits >= 0x477ff000u) /* 65520 and more round to infinity */
    return (uint16_t)(sign | 0x7c00u);
  if (bits < 0x38800000u) { /* below 2^-14 */
    const float moved = fabsf(value) + 0.5f;
    memcpy(&bits, &moved, sizeof bits);
    return (uint16_t)(sign | (bits - 0x3f000000u));
  }
  return (uint16_t)(sign | ((bits - 0x38000000u + 0xfffu + (bits >> 13 & 1u)) >> 13));
}

/* To float with rounding to odd: a second rounding to a narrower type then gives what one rounding would. */
static inline float float_to_odd(double value) {
  float near = (float)value;
  uint32_t bits;
  if ((double)near == value || !isfinite(value))
    return near;
  if (!isfinite(near) || fabs((double)near) > fabs(value))
    near = nextafterf(near, 0.0f);
  memcpy(&bits, &near, sizeof bits);
  bits |= 1u;
  memcpy(&near, &bits, sizeof near);
  return near;
}

static inline __attribute__((always_inline)) double load_float(const unsigned char *from, enum dtype dtype) {
  union {
    float f32;
    double f64;
    uint16_t u16;
  } value;
  memcpy(&value, from, dtype == DTYPE_F64 ? 8 : dtype == DTYPE_F32 ? 4 : 2);
  switch (dtype) {
  case DTYPE_F32:
    return value.f32;
  case DTYPE_F64:
    return value.f64;
  case DTYPE_F16:
    return float_from_half(value.u16);
  default:
    return bf16_to_float(value.u16);
  }
}

static inline __attribute__((always_inline)) void store_float(unsigned char *to, enum dtype dtype, double value) {
  if (dtype == DTYPE_F64) {
    memcpy(to, &value, sizeof value);
  } else if (dtype == DTYPE_F32) {
    const float single = (float)value;
    memcpy(to, &single, sizeof single);
  } else {
    const float single = float_to_odd(value);
    const uint16_t narrow = dtype == DTYPE_F16 ? half_from_float(single) : bf16_from_float(single);
    memcpy(to, &narrow, sizeof narrow);
  }
}

static int64_t load_integer(const unsigned char *from, enum dtype dtype) {
  int64_t wide;
  int32_t narrow;
  if (dtype == DTYPE_U8)
    return *from;
  memcpy(&wide, from, dtype == DTYPE_I64 ? sizeof wide : 0);
  memcpy(&narrow, from, sizeof narrow);
  return dtype == DTYPE_I64 ? wide : narrow;
}

static bool store_integer(unsigned char *to, enum dtype dtype, int64_t value) {
  const uint8_t byte = (uint8_t)value;
  const int32_t narrow = (int32_t)value;
  const bool fits = dtype == DTYPE_I64 || (dtype == DTYPE_U8 ? byte == value : narrow == value);
  const void *source = dtype == DTYPE_I64  ? (const void *)&value
                       : dtype == DTYPE_U8 ? (const void *)&byte
                                           : (const void *)&narrow;
  memcpy(to, source, dtype_size(dtype));
  return fits;
}

static bool is_float(enum dtype dtype) {
  return dtype == DTYPE_F32 || dtype == DTYPE_BF16 || dtype == DTYPE_F64 || dtype == DTYPE_F16;
}

/* One loop for each pair of types: the constants unroll into straight code. */
static inline __attribute__((always_inline)) void
convert_pair(unsigned char *to, enum dtype to_dtype, const unsigned char *from, enum dtype from_dtype, int64_t count) {
  const size_t to_size = to_dtype == DTYPE_F64 ? 8 : to_dtype == DTYPE_F32 ? 4 : 2;
  const size_t from_size = from_dtype == DTYPE_F64 ? 8 : from_dtype == DTYPE_F32 ? 4 : 2;
  for (int64_t i = 0; i < count; i++)
    store_float(to + (size_t)i * to_size, to_dtype, load_float(from + (size_t)i * from_size, from_dtype));
}

static inline __attribute__((always_inline)) void
convert_from(unsigned char *to, enum dtype to_dtype, const unsigned char *from, enum dtype from_dtype, int64_t count) {
  switch (to_dtype) {
  case DTYPE_F32:
    convert_pair(to, DTYPE_F32, from, from_dtype, count);
    break;
  case DTYPE_F64:
    convert_pair(to, DTYPE_F64, from, from_dtype, count);
    break;
  case DTYPE_F16:
    convert_pair(to, DTYPE_F16, from, from_dtype, count);
    break;
  default:
    convert_pair(to, DTYPE_BF16, from, from_dtype, count);
  }
}

static void convert_floats(unsigned char *to, enum dtype to_dtype, const unsigned char *from, enum dtype from_dtype,
                           int64_t count) {
  switch (from_dtype) {
  case DTYPE_F32:
    convert_from(to, to_dtype, from, DTYPE_F32, count);
    break;
  case DTYPE_F64:
    convert_from(to, to_dtype, from, DTYPE_F64, count);
    break;
  case DTYPE_F16:
    convert_from(to, to_dtype, from, DTYPE_F16, count);
    break;
  default:
    convert_from(to, to_dtype, from, DTYPE_BF16, count);
  }
}

static enum status convert_integers(unsigned char *to, enum dtype to_dtype, const unsigned char *from,
                                    enum dtype from_dtype, int64_t count) {
  const size_t to_size = dtype_size(to_dtype), from_size = dtype_size(from_dtype);
  for (int64_t i = 0; i < count; i++) {
    const int64_t value = load_integer(from + (size_t)i * from_size, from_dtype);
    if (!store_integer(to + (size_t)i * to_size, to_dtype, value))
      return error_set(STATUS_INPUT, "the integer %lld at element %lld does not fit into %s", (long long)value,
                       (long long)i, dtype_name(to_dtype));
  }
  return STATUS_OK;
}

enum status host_tensor_convert(void *to, enum dtype to_dtype, const void *from, enum dtype from_dtype, int64_t count) {
  if (to_dtype == from_dtype && count > 0)
    memcpy(to, from, (size_t)count * dtype_size(from_dtype));
  if (to_dtype == from_dtype)
    return STATUS_OK;
  if (is_float(to_dtype) != is_float(from_dtype))
    return error_set(STATUS_INPUT, "%s cannot be read as %s", dtype_name(from_dtype), dtype_name(to_dtype));
  if (!is_float(to_dtype))
    return convert_integers(to, to_dtype, from, from_dtype, count);
  convert_floats(to, to_dtype, from, from_dtype, count);
  return STATUS_OK;
}

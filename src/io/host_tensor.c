#include "io/host_tensor.h"
#include <math.h>
#include <stdbool.h>

/* IEEE half precision: 5 bits of exponent (bias 15), 10 of fraction. */
static float float_from_half(uint16_t half) {
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

/* Rounds to nearest even: below the smallest normal half by adding a float whose last bit is the smallest half, else on the bits. */
static uint16_t half_from_float(float value) {
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
static float float_to_odd(double value) {
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

static double load_float(const unsigned char *from, enum dtype dtype) {
  union {
    float f32;
    double f64;
    uint16_t u16;
  } value;
  memcpy(&value, from, dtype_size(dtype));
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

static void store_float(unsigned char *to, enum dtype dtype, double value) {
  const float single = dtype == DTYPE_F32 ? (float)value : float_to_odd(value);
  const uint16_t narrow = dtype == DTYPE_F16 ? half_from_float(single) : bf16_from_float(single);
  const void *source = dtype == DTYPE_F32 ? (const void *)&single : dtype == DTYPE_F64 ? (const void *)&value : (const void *)&narrow;
  memcpy(to, source, dtype_size(dtype));
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
  const void *source = dtype == DTYPE_I64 ? (const void *)&value : dtype == DTYPE_U8 ? (const void *)&byte : (const void *)&narrow;
  memcpy(to, source, dtype_size(dtype));
  return fits;
}

static bool is_float(enum dtype dtype) {
  return dtype == DTYPE_F32 || dtype == DTYPE_BF16 || dtype == DTYPE_F64 || dtype == DTYPE_F16;
}

enum status host_tensor_convert(void *to, enum dtype to_dtype, const void *from, enum dtype from_dtype, int64_t count) {
  const unsigned char *in = from;
  unsigned char *out = to;
  const size_t in_size = dtype_size(from_dtype), out_size = dtype_size(to_dtype);
  if (to_dtype == from_dtype) {
    if (count > 0)
      memcpy(to, from, (size_t)count * in_size);
    return STATUS_OK;
  }
  if (is_float(to_dtype) != is_float(from_dtype))
    return error_set(STATUS_INPUT, "%s cannot be read as %s", dtype_name(from_dtype), dtype_name(to_dtype));
  for (int64_t i = 0; i < count; i++, in += in_size, out += out_size) {
    if (is_float(to_dtype))
      store_float(out, to_dtype, load_float(in, from_dtype));
    else if (!store_integer(out, to_dtype, load_integer(in, from_dtype)))
      return error_set(STATUS_INPUT, "the integer %lld at element %lld does not fit into %s", (long long)load_integer(in, from_dtype),
                       (long long)i, dtype_name(to_dtype));
  }
  return STATUS_OK;
}

#include "base/dtype.h"
#include "base/error.h"

static const struct {
  const char *name;
  size_t bytes;
} table[DTYPE_COUNT] = {
    [DTYPE_F32] = {"fp32", 4},  [DTYPE_BF16] = {"bf16", 2}, [DTYPE_U8] = {"uint8", 1}, [DTYPE_I32] = {"int32", 4},
    [DTYPE_I64] = {"int64", 8}, [DTYPE_F64] = {"fp64", 8},  [DTYPE_F16] = {"fp16", 2},
};

static int checked(enum dtype dtype) {
  if ((unsigned)dtype >= DTYPE_COUNT)
    fatal("there is no element type %d", (int)dtype);
  return (int)dtype;
}

size_t dtype_size(enum dtype dtype) {
  return table[checked(dtype)].bytes;
}

const char *dtype_name(enum dtype dtype) {
  return table[checked(dtype)].name;
}

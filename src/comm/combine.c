#include "comm/combine.h"
#include <string.h>

/* Partial results of one block stay in the first-level cache while the parts stream by. */
enum { BLOCK_ELEMENTS = 2048 };

typedef void combine_kernel(void *to, const void *a, const void *b, size_t count);

/* to = a op b; `to` may be `a`. */
#define DEFINE_KERNEL(name, type, expression)                                                                          \
  static void name(void *to, const void *a, const void *b, size_t count) {                                             \
    type *out = to;                                                                                                    \
    const type *left = a, *right = b;                                                                                  \
    _Pragma("omp simd") for (size_t i = 0; i < count; i++) {                                                           \
      const type x = left[i], y = right[i];                                                                            \
      out[i] = (expression);                                                                                           \
    }                                                                                                                  \
  }
DEFINE_KERNEL(sum_f32, float, x + y)
DEFINE_KERNEL(max_f32, float, x > y ? x : y)
DEFINE_KERNEL(min_f32, float, x < y ? x : y)
DEFINE_KERNEL(sum_f64, double, x + y)
DEFINE_KERNEL(max_f64, double, x > y ? x : y)
DEFINE_KERNEL(min_f64, double, x < y ? x : y)
DEFINE_KERNEL(sum_i64, int64_t, x + y)
DEFINE_KERNEL(max_i64, int64_t, x > y ? x : y)
DEFINE_KERNEL(min_i64, int64_t, x < y ? x : y)
DEFINE_KERNEL(sum_i32, int32_t, x + y)
DEFINE_KERNEL(max_i32, int32_t, x > y ? x : y)
DEFINE_KERNEL(min_i32, int32_t, x < y ? x : y)

static combine_kernel *const kernels[DTYPE_COUNT][3] = {
    [DTYPE_F32] = {[COMM_SUM] = sum_f32, [COMM_MAX] = max_f32, [COMM_MIN] = min_f32},
    [DTYPE_F64] = {[COMM_SUM] = sum_f64, [COMM_MAX] = max_f64, [COMM_MIN] = min_f64},
    [DTYPE_I64] = {[COMM_SUM] = sum_i64, [COMM_MAX] = max_i64, [COMM_MIN] = min_i64},
    [DTYPE_I32] = {[COMM_SUM] = sum_i32, [COMM_MAX] = max_i32, [COMM_MIN] = min_i32},
};

void combine_in_order(void *to, const void *const *parts, int part_count, size_t count, enum dtype dtype,
                      enum comm_operation operation) {
  combine_kernel *kernel = kernels[dtype][operation];
  if (kernel == NULL)
    fatal("a reduction over ranks of %s is not defined", dtype_name(dtype));
  const size_t size = dtype_size(dtype);
  if (part_count == 1)
    memcpy(to, parts[0], count * size);
  for (size_t first = 0; part_count > 1 && first < count; first += BLOCK_ELEMENTS) {
    const size_t block = count - first < BLOCK_ELEMENTS ? count - first : BLOCK_ELEMENTS, offset = first * size;
    char *out = (char *)to + offset;
    kernel(out, (const char *)parts[0] + offset, (const char *)parts[1] + offset, block);
    for (int p = 2; p < part_count; p++)
      kernel(out, out, (const char *)parts[p] + offset, block);
  }
}

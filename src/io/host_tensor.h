/* Conversion between element types on the host: what readers of files use. */
#ifndef MEMCLIP_IO_HOST_TENSOR_H
#define MEMCLIP_IO_HOST_TENSOR_H
#include "base/dtype.h"
#include "base/error.h"
#include <stdint.h>
/* Floats among floats (rounded to nearest even), integers among integers (range checked); anything else is
 * STATUS_INPUT. Source may be unaligned. */
enum status host_tensor_convert(void *to, enum dtype to_dtype, const void *from, enum dtype from_dtype, int64_t count);
#endif

/* Element-wise reduction of several arrays, always in the order given: the same bits on every rank and every run. */
#ifndef MEMCLIP_COMM_COMBINE_H
#define MEMCLIP_COMM_COMBINE_H
#include "base/dtype.h"
#include "comm/comm.h"
#include <stddef.h>

/* to[i] = ((parts[0][i] op parts[1][i]) op parts[2][i]) ...; `to` overlaps no part. dtype F32, F64, I64 or I32, else
 * fatal(). */
void combine_in_order(void *to, const void *const *parts, int part_count, size_t count, enum dtype dtype,
                      enum comm_operation operation);
#endif

/* numpy's array file, version 1.0: what clip-retrieval and numpy.load read. */
#ifndef MEMCLIP_IO_NPY_H
#define MEMCLIP_IO_NPY_H
#include "base/error.h"
#include <stdint.h>

/* Rows of little-endian fp32 in C order, written atomically. STATUS_SYSTEM on failure. */
enum status npy_write(const char *path, int64_t rows, int64_t columns, const float *values);
#endif

/* The memory of the node that this process may still have: the kernel's estimate, and the limits of the control groups
 * (version 1 or 2) that it is in, as batch systems and containers set them. */
#ifndef MEMCLIP_BASE_HOST_MEMORY_H
#define MEMCLIP_BASE_HOST_MEMORY_H
#include <stddef.h>

/* Bytes; *total likewise. SIZE_MAX both where the system does not tell. */
size_t host_memory_free(size_t *total);
#endif

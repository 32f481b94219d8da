/* Host allocations: labelled, counted, 64-byte aligned, zeroed. Exhaustion is fatal(), so the result is never NULL.
 * memory_count_allocations() lets a test show that a training step allocates nothing. With poison on, released memory
 * is filled with NaN bytes (0xff) before it goes back. A write past the end of a block is fatal() when it is released.
 * A label is a literal: it is not copied. Thread-safe. */
#ifndef MEMCLIP_BASE_MEMORY_H
#define MEMCLIP_BASE_MEMORY_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *memory_allocate(size_t bytes, const char *label);
/* Like realloc; new bytes are zero. */
void *memory_resize(void *block, size_t bytes, const char *label);
void memory_release(void *block); /* NULL is allowed */
char *memory_copy_string(const char *string, const char *label);

uint64_t memory_count_allocations(void); /* since start */
void memory_stop_counting(void);         /* those of the calling thread, which works beside the steps */
size_t memory_live_bytes(void);
size_t memory_peak_bytes(void);
/* Number of blocks still live; prints their labels to stderr when `print`. Zero at a clean exit. */
size_t memory_report_live(bool print);
void memory_set_poison(bool on);
bool memory_is_poisoned(void);

#endif

#include "base/memory.h"
#include "base/error.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64, GUARD = ALIGNMENT, GUARD_BYTE = 0xa5 };

/* Stands in front of every block, in a cache line of its own. */
struct header {
  struct header *previous, *next;
  size_t bytes;
  const char *label;
  void *base; /* what calloc gave: large zeroed blocks stay untouched until somebody writes them */
};
_Static_assert(sizeof(struct header) <= ALIGNMENT, "the header fits in front of an aligned block");

static struct {
  pthread_mutex_t mutex;
  struct header *first;
  uint64_t allocations;
  size_t live_bytes, peak_bytes;
  bool poison;
} all = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local bool beside_steps;

static struct header *header_of(void *block) {
  return (struct header *)((char *)block - ALIGNMENT);
}

static void link_header(struct header *header) {
  pthread_mutex_lock(&all.mutex);
  header->next = all.first;
  if (all.first)
    all.first->previous = header;
  all.first = header;
  all.allocations += !beside_steps;
  all.live_bytes += header->bytes;
  if (all.live_bytes > all.peak_bytes)
    all.peak_bytes = all.live_bytes;
  pthread_mutex_unlock(&all.mutex);
}

static bool unlink_header(struct header *header) {
  pthread_mutex_lock(&all.mutex);
  if (header->previous)
    header->previous->next = header->next;
  else
    all.first = header->next;
  if (header->next)
    header->next->previous = header->previous;
  all.live_bytes -= header->bytes;
  bool poison = all.poison;
  pthread_mutex_unlock(&all.mutex);
  return poison;
}

/* Behind every block: a write past its end is told when the block is released, with the block's name, instead of
 * harming a neighbour of which the C library complains much later. */
static void check_guard(struct header *header) {
  const unsigned char *guard = (unsigned char *)header + ALIGNMENT + header->bytes;
  for (int i = 0; i < GUARD; i++)
    if (guard[i] != GUARD_BYTE)
      fatal("a block of %zu bytes (%s) was written past its end, at byte %zu", header->bytes, header->label,
            header->bytes + (size_t)i);
}

void *memory_allocate(size_t bytes, const char *label) {
  const size_t extra = 2 * ALIGNMENT + GUARD;
  void *base = bytes > SIZE_MAX - extra ? NULL : calloc(1, bytes + extra);
  if (!base)
    fatal("out of memory: %zu bytes for %s, beside %zu bytes in use by this process", bytes, label,
          memory_live_bytes());
  char *block = (char *)(((uintptr_t)base / ALIGNMENT + 2) * ALIGNMENT);
  struct header *header = header_of(block);
  *header = (struct header){.bytes = bytes, .label = label, .base = base};
  memset(block + bytes, GUARD_BYTE, GUARD);
  link_header(header);
  return block;
}

void *memory_resize(void *block, size_t bytes, const char *label) {
  void *fresh = memory_allocate(bytes, label);
  if (!block)
    return fresh;
  size_t kept = header_of(block)->bytes;
  memcpy(fresh, block, kept < bytes ? kept : bytes);
  memory_release(block);
  return fresh;
}

void memory_release(void *block) {
  if (!block)
    return;
  struct header *header = header_of(block);
  check_guard(header);
  if (unlink_header(header))
    memset(block, 0xff, header->bytes);
  free(header->base);
}

char *memory_copy_string(const char *string, const char *label) {
  size_t bytes = strlen(string) + 1;
  return memcpy(memory_allocate(bytes, label), string, bytes);
}

uint64_t memory_count_allocations(void) {
  pthread_mutex_lock(&all.mutex);
  uint64_t count = all.allocations;
  pthread_mutex_unlock(&all.mutex);
  return count;
}

void memory_stop_counting(void) {
  beside_steps = true;
}

size_t memory_live_bytes(void) {
  pthread_mutex_lock(&all.mutex);
  size_t bytes = all.live_bytes;
  pthread_mutex_unlock(&all.mutex);
  return bytes;
}

size_t memory_peak_bytes(void) {
  pthread_mutex_lock(&all.mutex);
  size_t bytes = all.peak_bytes;
  pthread_mutex_unlock(&all.mutex);
  return bytes;
}

size_t memory_report_live(bool print) {
  size_t count = 0;
  pthread_mutex_lock(&all.mutex);
  for (const struct header *header = all.first; header; header = header->next, count++)
    if (print)
      fprintf(stderr, "memclip: still allocated: %zu bytes, %s\n", header->bytes, header->label);
  pthread_mutex_unlock(&all.mutex);
  return count;
}

bool memory_is_poisoned(void) {
  pthread_mutex_lock(&all.mutex);
  bool on = all.poison;
  pthread_mutex_unlock(&all.mutex);
  return on;
}

void memory_set_poison(bool on) {
  pthread_mutex_lock(&all.mutex);
  all.poison = on;
  pthread_mutex_unlock(&all.mutex);
}

/* Planned memory: a layout is a function that takes blocks in order; it runs once over an empty arena to measure and
 * once over an allocated one to assign, so sizes are written in one place. Blocks are aligned to 256 bytes. */
#ifndef MEMCLIP_DEVICE_ARENA_H
#define MEMCLIP_DEVICE_ARENA_H
#include "device/device.h"

struct arena {
  struct device *device;
  const char *label;
  void *block; /* what the device gave; base is the first aligned byte in it */
  char *base;  /* NULL while measuring */
  size_t size_bytes, used_bytes, peak_bytes;
};
void *arena_take(struct arena *arena, size_t bytes); /* NULL while measuring */
void *arena_take_tensor(struct arena *arena, enum dtype dtype, int64_t elements);
/* Marks and rewinds, for blocks whose lives do not overlap. */
size_t arena_mark(const struct arena *arena);
void arena_rewind(struct arena *arena, size_t mark);
/* Allocates what the measuring pass found (peak_bytes) and starts over. The device fills it with NaN when memory poison
 * is on. */
void arena_allocate(struct arena *arena);
void arena_release(struct arena *arena);
#endif

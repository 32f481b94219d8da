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
  size_t size_bytes, used_bytes;
};
void *arena_take(struct arena *arena, size_t bytes); /* NULL while measuring */
void *arena_take_tensor(struct arena *arena, enum dtype dtype, int64_t elements);
/* Allocates what the measuring pass found and starts over. */
void arena_allocate(struct arena *arena);
/* What lies in the arena is not needed any more: filled with NaN when memory poison is on, else left as it is. */
void arena_forget(struct arena *arena);
void arena_release(struct arena *arena);
#endif

/* Planned memory over one device allocation. */
#include "device/arena.h"
#include "base/memory.h"
#include <math.h>

enum { ARENA_ALIGNMENT_BYTES = 256 };

static size_t arena_round_up(size_t bytes) {
  return (bytes + ARENA_ALIGNMENT_BYTES - 1) & ~(size_t)(ARENA_ALIGNMENT_BYTES - 1);
}

void *arena_take(struct arena *arena, size_t bytes) {
  size_t start = arena->used_bytes;
  arena->used_bytes += arena_round_up(bytes);
  if (!arena->base)
    return NULL;
  if (arena->used_bytes > arena->size_bytes)
    fatal("arena %s: %zu bytes taken of %zu planned: the layout is not the one that was measured", arena->label,
          arena->used_bytes, arena->size_bytes);
  return arena->base + start;
}

void *arena_take_tensor(struct arena *arena, enum dtype dtype, int64_t elements) {
  return arena_take(arena, (size_t)elements * dtype_size(dtype));
}

/* One more alignment unit, since a device promises 64 bytes only. */
void arena_allocate(struct arena *arena) {
  arena->size_bytes = arena->used_bytes;
  arena->used_bytes = 0;
  arena->block = arena->device->op->allocate(arena->device, arena->size_bytes + ARENA_ALIGNMENT_BYTES, arena->label);
  arena->base = (char *)arena_round_up((size_t)arena->block);
}

void arena_forget(struct arena *arena) {
  if (memory_is_poisoned())
    arena->device->op->fill(arena->device, (float *)arena->base, (int64_t)(arena->size_bytes / sizeof(float)), NAN);
}

void arena_release(struct arena *arena) {
  if (arena->block)
    arena->device->op->release(arena->device, arena->block);
  *arena = (struct arena){.device = arena->device, .label = arena->label};
}

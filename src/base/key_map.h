/* A set of byte strings, each with a number: names of images, captions, token ids. Keys are borrowed, not copied. */
#ifndef MEMCLIP_BASE_KEY_MAP_H
#define MEMCLIP_BASE_KEY_MAP_H
#include <stddef.h>
#include <stdint.h>

/* Zero-initialised is empty. */
struct key_map {
  struct key_map_entry *entries; /* a power of two, at most two thirds in use */
  size_t capacity, count;
};
/* The number kept with an equal key; else keeps `number` with this one and returns it. */
int64_t key_map_add(struct key_map *map, const void *key, size_t bytes, int64_t number);
/* The number kept with the key, or -1. */
int64_t key_map_find(const struct key_map *map, const void *key, size_t bytes);
void key_map_release(struct key_map *map);
#endif

#include "base/key_map.h"
#include "base/memory.h"
#include <string.h>

struct key_map_entry {
  const void *key; /* NULL: free */
  size_t bytes;
  uint64_t hash;
  int64_t number;
};

/* FNV-1a. */
static uint64_t hash_of(const void *key, size_t bytes) {
  const unsigned char *p = key;
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t i = 0; i < bytes; i++)
    hash = (hash ^ p[i]) * 0x100000001b3u;
  return hash ^ hash >> 32;
}

/* The entry of the key, or the free one where it belongs. */
static struct key_map_entry *place_of(const struct key_map *map, const void *key, size_t bytes, uint64_t hash) {
  for (size_t i = hash & (map->capacity - 1);; i = (i + 1) & (map->capacity - 1)) {
    struct key_map_entry *entry = &map->entries[i];
    if (!entry->key || (entry->hash == hash && entry->bytes == bytes && memcmp(entry->key, key, bytes) == 0))
      return entry;
  }
}

static void grow(struct key_map *map) {
  const struct key_map old = *map;
  map->capacity = old.capacity ? 2 * old.capacity : 64;
  map->entries = memory_allocate(map->capacity * sizeof *map->entries, "key map");
  for (size_t i = 0; i < old.capacity; i++)
    if (old.entries[i].key)
      *place_of(map, old.entries[i].key, old.entries[i].bytes, old.entries[i].hash) = old.entries[i];
  memory_release(old.entries);
}

int64_t key_map_add(struct key_map *map, const void *key, size_t bytes, int64_t number) {
  const uint64_t hash = hash_of(key, bytes);
  if (3 * (map->count + 1) > 2 * map->capacity)
    grow(map);
  struct key_map_entry *entry = place_of(map, key, bytes, hash);
  if (entry->key)
    return entry->number;
  *entry = (struct key_map_entry){key, bytes, hash, number};
  map->count++;
  return number;
}

int64_t key_map_find(const struct key_map *map, const void *key, size_t bytes) {
  if (map->count == 0)
    return -1;
  const struct key_map_entry *entry = place_of(map, key, bytes, hash_of(key, bytes));
  return entry->key ? entry->number : -1;
}

void key_map_release(struct key_map *map) {
  memory_release(map->entries);
  *map = (struct key_map){0};
}

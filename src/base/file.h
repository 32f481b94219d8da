/* Files: whole reads, atomic writes (temporary in the same directory, fsync, rename, fsync of the directory), maps. */
#ifndef MEMCLIP_BASE_FILE_H
#define MEMCLIP_BASE_FILE_H
#include "base/error.h"
#include "base/text.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum status file_read(const char *path,
                      struct text *content); /* appends; STATUS_INPUT with the path and errno's words */
/* The same for a file that others wrote and that must be small: a longer one is refused before it is in memory. */
enum status file_read_at_most(const char *path, size_t bytes_max, struct text *content);
enum status file_write_atomic(const char *path, const void *data, size_t size); /* STATUS_SYSTEM on failure */
/* fsync `temporary`, rename it to `path`, fsync the directory. */
enum status file_publish(const char *temporary, const char *path);
enum status file_make_directories(const char *path); /* mkdir -p */
bool file_exists(const char *path);
bool file_is_directory(const char *path);
/* Size in bytes and modification time in nanoseconds since the epoch. */
enum status file_stat(const char *path, int64_t *size_bytes, int64_t *modified_ns);

struct file_map {
  const uint8_t *data;
  size_t size;
};
enum status file_map(const char *path, struct file_map *map); /* read-only; unmap with file_unmap */
void file_unmap(struct file_map *map);
#endif

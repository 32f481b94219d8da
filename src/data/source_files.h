/* Open files of many shards: at most a few hundred at a time, reopened when needed. Thread-safe. */
#ifndef MEMCLIP_DATA_SOURCE_FILES_H
#define MEMCLIP_DATA_SOURCE_FILES_H
#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

struct source_files;
struct source_files *source_files_new(char *const *paths, int count); /* paths must outlive it */
void source_files_release(struct source_files *files);
/* Exactly `bytes` bytes at `offset` of file `number`; STATUS_INPUT when they are not there. */
enum status source_files_read(struct source_files *files, int number, int64_t offset, void *to, size_t bytes);
#endif

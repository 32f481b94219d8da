/* Reading and writing safetensors files (contract 2.5): header checked completely (ranges, sizes, overlap) before any
 * data is given out; the file is mapped. */
#ifndef MEMCLIP_IO_SAFETENSORS_H
#define MEMCLIP_IO_SAFETENSORS_H
#include "base/dtype.h"
#include "base/error.h"
#include "io/store.h"

struct tensor_entry {
  char *name;
  enum dtype dtype;
  int axes;
  int64_t shape[TENSOR_AXES_MAX];
  int64_t elements;
  const void *data; /* in the map; may be unaligned */
};
struct safetensors {
  struct tensor_entry *entries;
  int64_t count;
  char *metadata; /* JSON object text of __metadata__, or NULL */
  void *map;      /* private */
};
enum status safetensors_open(const char *path, struct safetensors *file);
void safetensors_close(struct safetensors *file);
const struct tensor_entry *safetensors_find(const struct safetensors *file, const char *name);
/* Converts to `dtype` (float kinds among themselves, integer kinds among themselves). */
enum status tensor_entry_read(const struct tensor_entry *entry, enum dtype dtype, int64_t elements, void *data);
/* Written whole, atomically, {"format":"pt"} in the metadata. An entry whose `data` is NULL is read when its turn
 * comes, so that a large model never is in memory as a whole. */
struct tensor_reader {
  enum status (*read)(void *context, const struct tensor_entry *entry, void *data);
  void *context;
};
enum status safetensors_write(const char *path, const struct tensor_entry *entries, int64_t count,
                              const struct tensor_reader *reader /* or NULL */);
#endif

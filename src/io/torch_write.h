/* Writing tensors as torch.save does: a zip archive of stored records with a pickle that torch.load reads with
 * weights_only=True. */
#ifndef MEMCLIP_IO_TORCH_WRITE_H
#define MEMCLIP_IO_TORCH_WRITE_H
#include "io/safetensors.h"

struct torch_content {
  const struct tensor_entry *entries; /* those without data are read when their turn comes */
  const int64_t *storage_of;          /* number of the entry whose storage each one shows, its own mostly */
  int64_t count;
  bool checkpoint; /* {"epoch": .., "name": .., "state_dict": {..}}, else the dict of tensors itself */
  int64_t epoch;
  const char *name;
  const struct tensor_reader *reader; /* or NULL */
};
/* Whole and atomically. */
enum status torch_write(const char *path, const struct torch_content *content);
#endif

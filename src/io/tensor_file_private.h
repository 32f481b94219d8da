/* Private to the readers of tensor files. */
#ifndef MEMCLIP_IO_TENSOR_FILE_PRIVATE_H
#define MEMCLIP_IO_TENSOR_FILE_PRIVATE_H
#include "io/safetensors.h"
#include "io/tensor_file.h"
#include "io/zip.h"

struct tensor_file_source { /* one of the two */
  struct safetensors safetensors;
  struct zip zip;
};
struct tensor_file_source *tensor_file_add_source(struct tensor_file *file);
/* A new view, zeroed; valid until the next one is added. */
struct tensor_view *tensor_file_add_view(struct tensor_file *file);
/* file->path names a zip archive. */
enum status torch_file_read(struct tensor_file *file, const char *key);
#endif

/* Tensors by name from the files in which others keep weights: safetensors (one file, or a set with an index), torch's
 * zip files (a bare state dict or a training checkpoint) and TorchScript archives. Files are mapped; nothing is read
 * before it is asked for, nothing in them is run, and every tensor lies within its file. Names are UTF-8 and occur
 * once. */
#ifndef MEMCLIP_IO_TENSOR_FILE_H
#define MEMCLIP_IO_TENSOR_FILE_H
#include "base/text.h"
#include "io/store.h"

enum tensor_file_kind { TENSOR_FILE_SAFETENSORS, TENSOR_FILE_TORCH, TENSOR_FILE_TORCHSCRIPT };
struct zip_record;
struct tensor_view {
  char *name;
  enum dtype dtype;
  int axes;
  int64_t shape[TENSOR_AXES_MAX], stride[TENSOR_AXES_MAX]; /* in elements */
  int64_t elements;
  const void *data; /* the first element, in a map; may be unaligned */
  bool contiguous;
  struct zip_record *record; /* of a torch file: checked before the first read */
};
struct tensor_file {
  enum tensor_file_kind kind;
  char *path;        /* the file, or the index of several */
  char *what;        /* "safetensors", "torch training checkpoint of epoch 3", ... */
  struct text notes; /* lines: what the file holds besides, such as names that nothing was made of */
  struct tensor_view *views;
  int64_t count;
  bool quick_gelu_class, gelu_class;  /* a TorchScript archive has modules of these classes */
  struct tensor_file_source *sources; /* private: what is open */
  int source_count;
};
/* `path`: a file, or a folder in which open_clip's and Hugging Face's usual names are looked for. `key`: of a training
 * checkpoint, which dict of tensors; NULL is "state_dict". */
enum status tensor_file_open(const char *path, const char *key, struct tensor_file *file);
void tensor_file_close(struct tensor_file *file);
/* Converts floats among floats and integers among integers, rows gathered by their strides. */
enum status tensor_view_read(const struct tensor_view *view, enum dtype dtype, void *data);
/* The bytes where they lie, if they lie in order: after the same checks, without a copy. */
enum status tensor_view_check(const struct tensor_view *view);
/* Tells the system that the tensor's pages are done with, so that a large file does not stay in memory. */
void tensor_view_forget(const struct tensor_view *view);
#endif

/* A safetensors file: every tensor that it lists is read. */
#include "fuzz.h"
#include "base/memory.h"
#include "io/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct fuzz_file file = fuzz_file_new(data, size);
  struct safetensors tensors;
  if (safetensors_open(file.path, &tensors) == STATUS_OK) {
    for (int64_t i = 0; i < tensors.count; i++) {
      const struct tensor_entry *entry = &tensors.entries[i];
      fuzz_require(entry->elements >= 0 && (size_t)entry->elements <= size * 8, "a tensor lies in the file");
      float *values = memory_allocate((size_t)(entry->elements + 1) * sizeof *values, "fuzz");
      tensor_entry_read(entry, DTYPE_F32, entry->elements, values);
      memory_release(values);
      fuzz_require(safetensors_find(&tensors, entry->name) != NULL, "a tensor is found by its name");
    }
    safetensors_close(&tensors);
  }
  fuzz_file_release(&file);
  return 0;
}

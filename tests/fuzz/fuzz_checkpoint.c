/* An HDF5 file as a checkpoint directory would hold it: verified, listed, read. */
#include "fuzz.h"
#include "base/memory.h"
#include "io/store.h"

static void read_all(struct store *store) {
  char **names, *text;
  int64_t count, shape[TENSOR_AXES_MAX];
  if (store_list(store, "", &names, &count) != STATUS_OK)
    return;
  for (int64_t i = 0; i < count; i++) {
    enum dtype dtype;
    int axes;
    store_shape(store, names[i], &dtype, &axes, shape);
    if (store_read_text(store, names[i], &text) == STATUS_OK)
      memory_release(text);
    memory_release(names[i]);
  }
  memory_release(names);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct fuzz_file file = fuzz_file_new(data, size);
  struct store *store;
  if (store_open(file.path, &store) == STATUS_OK) {
    store_verify(store);
    read_all(store);
    store_close(store);
  }
  fuzz_file_release(&file);
  return 0;
}

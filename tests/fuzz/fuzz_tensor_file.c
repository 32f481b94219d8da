#include "fuzz_torch.h"
#include "fuzz.h"
#include "base/memory.h"
#include "io/tensor_file.h"

enum { ELEMENTS_MAX = 1 << 20 }; /* a stride of 0 lets a small file stand for a large tensor */

void fuzz_tensor_file(const void *data, size_t size) {
  struct fuzz_file bytes = fuzz_file_new(data, size);
  struct tensor_file file;
  if (tensor_file_open(bytes.path, NULL, &file) == STATUS_OK) {
    for (int64_t i = 0; i < file.count; i++) {
      const struct tensor_view *view = &file.views[i];
      fuzz_require(view->elements >= 0, "a tensor has a size");
      if (view->elements > ELEMENTS_MAX)
        continue;
      float *values = memory_allocate((size_t)(view->elements + 1) * sizeof *values, "fuzz");
      tensor_view_check(view);
      tensor_view_read(view, DTYPE_F32, values);
      memory_release(values);
    }
    tensor_file_close(&file);
  }
  fuzz_file_release(&bytes);
}

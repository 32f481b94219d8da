/* A torch file or TorchScript archive as it lies on the disk. */
#include "fuzz_torch.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_tensor_file(data, size);
  return 0;
}

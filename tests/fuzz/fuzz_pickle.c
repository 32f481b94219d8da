/* A pickle within a sound torch file, so that no checksum keeps the fuzzer from its inside. */
#include "fuzz_torch.h"
#include "fuzz.h"
#include "../make_zip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const float numbers[2][8] = {{1, 2, 3}, {4, 5, 6}};
  struct text archive = {0};
  const struct zip_part parts[] = {{"top/data.pkl", data, size},
                                   {"top/byteorder", "little", 6},
                                   {"top/data/0", numbers[0], sizeof numbers[0]},
                                   {"top/data/1", numbers[1], sizeof numbers[1]},
                                   {"top/version", "3\n", 2}};
  make_zip(parts, 5, true, size % 2 == 1, &archive);
  fuzz_tensor_file(archive.data, archive.length);
  text_release(&archive);
  return 0;
}

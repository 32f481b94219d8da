/* The index of a shard, its magic and checksum put right so that what is behind them is reached. */
#include "fuzz.h"
#include "base/checksum.h"
#include "base/memory.h"
#include "data/index.h"
#include <string.h>

static void walk(const struct index *index) {
  size_t length = 0;
  for (int64_t s = 0; s < index->samples; s++) {
    length += strlen(index->keys + index->key_at[s]);
    for (uint32_t m = index->first[s]; m < index->first[s + 1]; m++) {
      length += strlen(index->suffix_names[index->suffix[m]]);
      fuzz_require(index->offset[m] >= 0 && index->offset[m] <= index->tar_bytes - (int64_t)index->size[m],
                   "a member lies in the tar");
    }
    index_find(index, s, "jpg");
  }
  for (int64_t n = 0; n < index->notes; n++)
    length += strlen(index->note_texts[n]);
  fuzz_require(length <= SIZE_MAX / 2, "texts end");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct index index;
  struct index_header *header = memory_allocate(size + sizeof *header, "fuzz");
  memcpy(header, data, size);
  if (size >= sizeof *header) {
    memcpy(header->magic, INDEX_MAGIC, sizeof header->magic);
    header->version = INDEX_VERSION;
    const size_t from = offsetof(struct index_header, tar_bytes);
    header->checksum = checksum_crc32c(0, (const char *)header + from, size - from);
  }
  if (index_adopt(header, size, &index)) {
    walk(&index);
    index_release(&index);
  } else
    memory_release(header);
  return 0;
}

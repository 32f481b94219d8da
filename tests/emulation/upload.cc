/* Uploads of the emulated device happen as late as they may: when the lane is finished or waited for. A program that
 * reads before it finished, or changes the source before it waited, computes with the wrong numbers. */
#include "cuda/cuda.h"
#include "emulation/emulation.h"
#include "emulation/private.h"
#include <iterator>
#include <map>
#include <stdlib.h>
#include <vector>

struct upload {
  void *to;
  const void *from;
  size_t bytes;
};
static std::vector<struct upload> pending[DEVICE_LANES];
static bool in_use[DEVICE_LANES]; /* finished, and not yet free again */

void runtime_open_uploads(struct cuda_device *cuda) {
  (void)cuda;
}
void runtime_close_uploads(struct cuda_device *cuda) {
  (void)cuda;
  for (int lane = 0; lane < DEVICE_LANES; lane++) {
    pending[lane].clear();
    in_use[lane] = false;
  }
}

/* CUDA takes other memory, too, but then a copy is none beside what is enqueued. */
static std::map<const char *, size_t> pinned;
void emulation_expect_pinned(const void *block, size_t bytes) {
  auto behind = pinned.upper_bound((const char *)block);
  if (behind == pinned.begin() || (const char *)block + bytes > std::prev(behind)->first + std::prev(behind)->second)
    fatal("emulation: a copy beside what is enqueued, of host memory that is not pinned");
}
void *runtime_allocate_pinned(struct cuda_device *cuda, size_t bytes, const char *label) {
  (void)cuda;
  char *block = (char *)memory_allocate(bytes, label);
  pinned[block] = bytes;
  return block;
}
void runtime_release_pinned(struct cuda_device *cuda, void *block) {
  (void)cuda;
  pinned.erase((const char *)block);
  memory_release(block);
}

void runtime_upload(struct cuda_device *cuda, int lane, void *to, const void *from, size_t bytes) {
  (void)cuda;
  if (in_use[lane])
    fatal("emulation: an upload into lane %d, which is in use", lane);
  emulation_expect_pinned(from, bytes);
  pending[lane].push_back({to, from, bytes});
}

static bool arrive(int lane) {
  const bool any = !pending[lane].empty();
  emulation_open_memory();
  for (const struct upload &upload : pending[lane])
    memcpy(upload.to, upload.from, upload.bytes);
  emulation_close_memory();
  pending[lane].clear();
  return any;
}

void runtime_upload_finish(struct cuda_device *cuda, int lane) {
  (void)cuda;
  arrive(lane);
  in_use[lane] = true;
}
void runtime_upload_again(struct cuda_device *cuda, int lane) {
  (void)cuda;
  in_use[lane] = false;
}
bool runtime_upload_wait(struct cuda_device *cuda, int lane) {
  (void)cuda;
  return arrive(lane);
}

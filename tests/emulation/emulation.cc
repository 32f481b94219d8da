/* The scheduler of the emulation: blocks one after the other, the lanes of a warp in turns. */
#include "emulation/emulation.h"
#include "cuda/cuda.h"
#include "emulation/private.h"
#include <map>
#include <stdlib.h>
#include <vector>

/* Compute capability 8.0 has 163 KiB of shared memory for a block, 8.6, 8.9 and 12.0 have 99, 9.0 has 227. */
enum { LANES = 32, THREADS_MAX = 1024, SHARED_BYTES_MAX = 99 * 1024, COPY_BYTES = 16 };
enum thread_state { THREAD_READY, THREAD_IN_OPERATION, THREAD_AT_BARRIER, THREAD_ENDED };

dim3 threadIdx, blockIdx, blockDim, gridDim;

struct async_copy {
  void *to;
  const void *from;
  unsigned group;
  bool exists;
};
struct thread {
  struct fiber fiber;
  enum thread_state state;
  const char *operation;
  uint64_t operations; /* warp operations that this lane has come to */
  std::vector<struct async_copy> copies;
  unsigned groups; /* committed */
};
struct warp {
  char slots[2][LANES * EMULATION_SLOT];
};

static struct {
  const char *kernel;
  void (*body)(void *context);
  void *context;
  bool reversed;
  unsigned current; /* thread */
  size_t shared_bytes, shared_bytes_most;
  char *shared_dynamic;
  std::map<const void *, char *> shared;
  struct fiber scheduler;
  struct thread threads[THREADS_MAX];
  struct warp warps[THREADS_MAX / LANES];
} launch;

#define STOP(format, ...)                                                                                              \
  fatal("emulation: kernel %s, block %u,%u, thread %u: " format, launch.kernel, blockIdx.x, blockIdx.y,                \
        launch.current, ##__VA_ARGS__)

/* ---- what kernels call */

/* Until the scheduler runs this thread again. */
static void wait_as(enum thread_state state) {
  const unsigned self = launch.current;
  launch.threads[self].state = state;
  fiber_switch(&launch.threads[self].fiber, &launch.scheduler);
  launch.threads[self].state = THREAD_READY;
}

const char *emulation_exchange(const char *operation, const void *mine, size_t bytes) {
  if (bytes > EMULATION_SLOT)
    STOP("%s of %zu bytes", operation, bytes);
  struct thread *thread = &launch.threads[launch.current];
  char *slots = launch.warps[launch.current / LANES].slots[thread->operations++ % 2];
  memcpy(slots + launch.current % LANES * EMULATION_SLOT, mine, bytes);
  thread->operation = operation;
  wait_as(THREAD_IN_OPERATION);
  return slots;
}

void block_barrier(void) {
  wait_as(THREAD_AT_BARRIER);
}

void emulation_stop(const char *why) {
  STOP("%s", why);
}

void emulation_copy_async(void *to, const void *from, bool exists) {
  struct thread *thread = &launch.threads[launch.current];
  if ((uintptr_t)to % 16 || (exists && (uintptr_t)from % 16))
    STOP("an asynchronous copy that is not aligned to 16 bytes");
  memset(to, 0xff, COPY_BYTES); /* what others still read there is lost from now on */
  thread->copies.push_back({to, from, thread->groups, exists});
}

void emulation_copy_commit(void) {
  launch.threads[launch.current].groups++;
}

void emulation_copy_wait(unsigned pending) {
  struct thread *thread = &launch.threads[launch.current];
  size_t kept = 0;
  for (const struct async_copy &copy : thread->copies)
    if (copy.group + pending >= thread->groups)
      thread->copies[kept++] = copy;
    else if (copy.exists)
      memcpy(copy.to, copy.from, COPY_BYTES);
    else
      memset(copy.to, 0, COPY_BYTES);
  thread->copies.resize(kept);
}

static char *poisoned(size_t bytes) {
  char *block = (char *)aligned_alloc(128, (bytes + 127) / 128 * 128);
  memset(block, 0xff, (bytes + 127) / 128 * 128);
  return block;
}

void *emulation_shared(const void *site, size_t bytes) {
  char *&block = launch.shared[site];
  if (!block) {
    block = poisoned(bytes);
    launch.shared_bytes += bytes;
    if (launch.shared_bytes > launch.shared_bytes_most)
      STOP("%zu bytes of shared memory", launch.shared_bytes);
  }
  return block;
}

void *emulation_shared_dynamic(void) {
  return launch.shared_dynamic;
}

/* ---- scheduling */

static void thread_entry(void) {
  fiber_started();
  launch.body(launch.context);
  wait_as(THREAD_ENDED);
}

static void run_thread(unsigned number) {
  launch.current = number;
  threadIdx = dim3(number);
  fiber_switch(&launch.scheduler, &launch.threads[number].fiber);
}

static unsigned in_order(unsigned i, unsigned count) {
  return launch.reversed ? count - 1 - i : i;
}

/* Lanes run to their next stop; as long as all stop in the same operation, they go on. */
static void run_warp(unsigned warp) {
  for (;;) {
    for (unsigned i = 0; i < LANES; i++)
      run_thread(warp * LANES + in_order(i, LANES));
    const struct thread *lanes = &launch.threads[warp * LANES];
    for (unsigned lane = 1; lane < LANES; lane++) {
      launch.current = warp * LANES + lane;
      if (lanes[lane].state != lanes[0].state &&
          (lanes[lane].state == THREAD_IN_OPERATION || lanes[0].state == THREAD_IN_OPERATION))
        STOP("not all lanes of the warp come to %s",
             lanes[0].state == THREAD_IN_OPERATION ? lanes[0].operation : lanes[lane].operation);
      if (lanes[0].state == THREAD_IN_OPERATION && strcmp(lanes[lane].operation, lanes[0].operation) != 0)
        STOP("%s, but lane 0 is in %s", lanes[lane].operation, lanes[0].operation);
    }
    if (lanes[0].state != THREAD_IN_OPERATION)
      return;
  }
}

/* Between barriers; true when all have ended. */
static bool run_phase(unsigned threads) {
  for (unsigned i = 0; i < threads / LANES; i++)
    run_warp(in_order(i, threads / LANES));
  unsigned ended = 0;
  for (unsigned t = 0; t < threads; t++)
    ended += launch.threads[t].state == THREAD_ENDED;
  if (ended && ended < threads)
    STOP("a barrier is reached by %u of %u threads", threads - ended, threads);
  return ended == threads;
}

static void run_block(unsigned threads, size_t dynamic_bytes) {
  launch.shared_bytes = dynamic_bytes;
  launch.shared_dynamic = dynamic_bytes ? poisoned(dynamic_bytes) : NULL;
  for (unsigned t = 0; t < threads; t++) {
    fiber_prepare(&launch.threads[t].fiber, thread_entry);
    launch.threads[t].operations = 0;
    launch.threads[t].groups = 0;
    launch.threads[t].copies.clear();
  }
  while (!run_phase(threads))
    ;
  free(launch.shared_dynamic);
  for (auto &block : launch.shared)
    free(block.second);
  launch.shared.clear();
}

static void run_grid(dim3 blocks, unsigned threads, size_t dynamic_bytes) {
  const unsigned total = blocks.x * blocks.y;
  for (unsigned i = 0; i < total; i++) {
    const unsigned block = in_order(i, total);
    blockIdx = dim3(block % blocks.x, block / blocks.x);
    run_block(threads, dynamic_bytes);
  }
}

/* ---- a launch, in both orders */

struct snapshot {
  std::vector<char> bytes;
  void take() {
    bytes.clear();
    for (const struct emulation_block &block : emulation_blocks())
      bytes.insert(bytes.end(), block.data, block.data + block.bytes);
  }
  void put() const {
    size_t at = 0;
    for (const struct emulation_block &block : emulation_blocks()) {
      memcpy(block.data, bytes.data() + at, block.bytes);
      at += block.bytes;
    }
  }
};

static bool wants_reverse(void) {
  static const char *wish = getenv("MEMCLIP_EMULATION_REVERSE");
  return !wish || strcmp(wish, "0") != 0;
}

void emulation_run(const char *kernel, dim3 blocks, unsigned threads, size_t shared_bytes, void (*body)(void *context),
                   void *context) {
  static struct snapshot before, forward, backward;
  launch.kernel = kernel;
  launch.body = body;
  launch.context = context;
  launch.reversed = false;
  launch.shared_bytes_most = shared_bytes > CUDA_SHARED_UNASKED ? (size_t)SHARED_BYTES_MAX : (size_t)CUDA_SHARED_BYTES;
  blockDim = dim3(threads);
  gridDim = blocks;
  if (threads == 0 || threads % LANES || threads > THREADS_MAX || blocks.z != 1 || blocks.y > 65535 ||
      blocks.x > 0x7fffffff || shared_bytes > SHARED_BYTES_MAX)
    STOP("a launch of %u x %u x %u blocks of %u threads with %zu bytes", blocks.x, blocks.y, blocks.z, threads,
         shared_bytes);
  emulation_open_memory();
  if (wants_reverse())
    before.take();
  run_grid(blocks, threads, shared_bytes);
  if (wants_reverse()) {
    forward.take();
    before.put();
    launch.reversed = true;
    run_grid(blocks, threads, shared_bytes);
    backward.take();
    if (forward.bytes != backward.bytes)
      STOP("the result depends on the order of threads");
  }
  emulation_close_memory();
}

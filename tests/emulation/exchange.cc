/* What the emulated device tells and exchanges beside its kernels. Downloads happen as late as they may, sums between
 * ranks too.
 *  MEMCLIP_EMULATION_COLLECTIVES=1: each rank of the node has a device of its own, and these sum and gather by
 *    themselves, through a file that they map; "partly": the last rank does not join. Without it, and with "shared",
 *    all ranks share one device.
 *  MEMCLIP_EMULATION_MEMORY=bytes: the device's memory. */
#include "cuda/cuda.h"
#include "emulation/emulation.h"
#include "emulation/private.h"
#include <algorithm>
#include <deque>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void runtime_identify(struct cuda_device *cuda, uint8_t id[DEVICE_ID_BYTES]) {
  const char *given = getenv("MEMCLIP_EMULATION_COLLECTIVES");
  memset(id, 0, DEVICE_ID_BYTES);
  id[0] = (uint8_t)(given && strcmp(given, "shared") != 0 ? 1 + cuda->number : 0);
}

void runtime_memory_free(struct cuda_device *cuda, size_t *free_bytes, size_t *total_bytes) {
  (void)cuda;
  const char *size = getenv("MEMCLIP_EMULATION_MEMORY");
  size_t used = 0;
  for (const struct emulation_block &block : emulation_blocks())
    used += block.bytes;
  *total_bytes = size ? strtoull(size, NULL, 10) : (size_t)1 << 40;
  *free_bytes = used < *total_bytes ? *total_bytes - used : 0;
}

void runtime_enter_thread(struct cuda_device *cuda) {
  (void)cuda;
}

/* ---- downloads: made when they are waited for, or at the second look */

struct download {
  void *to;
  const void *from;
  size_t bytes;
  bool looked;
};
static std::deque<struct download> downloads;
static uint64_t downloads_started, downloads_done;

static void arrive(void) {
  const struct download &download = downloads.front();
  emulation_open_memory();
  memcpy(download.to, download.from, download.bytes);
  emulation_close_memory();
  downloads.pop_front();
  downloads_done++;
}

static uint64_t start_download(struct device *self, void *to, const void *from, size_t bytes) {
  (void)self;
  emulation_expect_pinned(to, bytes);
  memset(to, 0xff, bytes);
  downloads.push_back({to, from, bytes, false});
  return ++downloads_started;
}

static bool download_done(struct device *self, uint64_t number, bool wait) {
  (void)self;
  while (downloads_done < number && (wait || downloads.front().looked))
    arrive();
  if (downloads_done < number)
    downloads.front().looked = true;
  return downloads_done >= number;
}

static const struct device_downloads download_table = {.start = start_download, .done = download_done};

void runtime_open_downloads(struct cuda_device *cuda) {
  cuda->device.downloads = &download_table;
}
void runtime_close_downloads(struct cuda_device *cuda) {
  (void)cuda;
  if (!downloads.empty())
    fatal("emulation: a download was started that nobody waited for");
}

/* ---- collectives */

enum { PIECE_BYTES = 1 << 20, RANKS_MAX = 16 };
struct shared {
  pthread_barrier_t barrier;
  char piece[RANKS_MAX][PIECE_BYTES];
};
struct sum {
  float *x;
  size_t count;
};
static struct shared *shared;
static int group_rank, group_size;
static std::deque<struct sum> sums;

static enum status load(struct device *self) {
  (void)self;
  return STATUS_OK;
}

static enum status make_group(struct device *self, uint8_t group[DEVICE_GROUP_BYTES]) {
  (void)self;
  const char *folder = getenv("TMPDIR");
  snprintf((char *)group, DEVICE_GROUP_BYTES, "%s/memclip-emulation-%d", folder ? folder : "/tmp", (int)getpid());
  const int file = open((const char *)group, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (file < 0 || ftruncate(file, sizeof(struct shared)) != 0)
    return error_set(STATUS_SYSTEM, "emulation: %s cannot be made", (const char *)group);
  close(file);
  return STATUS_OK;
}

static void barrier(void) {
  pthread_barrier_wait(&shared->barrier);
}

static void leave(struct device *self) {
  (void)self;
  munmap(shared, sizeof *shared);
  shared = NULL;
}

static enum status join(struct device *self, const uint8_t group[DEVICE_GROUP_BYTES], int rank, int size) {
  (void)self;
  const int file = open((const char *)group, O_RDWR);
  void *block = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (block == MAP_FAILED || size > RANKS_MAX)
    return error_set(STATUS_SYSTEM, "emulation: %s cannot be mapped", (const char *)group);
  close(file);
  shared = (struct shared *)block;
  group_rank = rank;
  group_size = size;
  volatile char *ready = &shared->piece[RANKS_MAX - 1][PIECE_BYTES - 1];
  if (rank == 0) {
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&shared->barrier, &attributes, (unsigned)size);
    __sync_synchronize();
    *ready = 1;
  }
  while (!*ready)
    usleep(100);
  barrier();
  if (rank == 0)
    unlink((const char *)group);
  const char *given = getenv("MEMCLIP_EMULATION_COLLECTIVES");
  if (strcmp(given, "partly") != 0 || rank != size - 1)
    return STATUS_OK;
  leave(self);
  return error_set(STATUS_SYSTEM, "emulation: one rank does not join");
}

/* Every rank's bytes, a piece at a time, in rank order. */
template <typename F> static void exchange(const void *mine, size_t bytes, F take) {
  for (size_t at = 0; at < bytes; at += PIECE_BYTES) {
    const size_t length = std::min(bytes - at, (size_t)PIECE_BYTES);
    memcpy(shared->piece[group_rank], (const char *)mine + at, length);
    barrier();
    for (int r = 0; r < group_size; r++)
      take(r, at, shared->piece[r], length);
    barrier();
  }
}

static void all_reduce_start(struct device *self, float *x, size_t count) {
  (void)self;
  sums.push_back({x, count});
}

static void all_reduce_finish(struct device *self) {
  (void)self;
  emulation_open_memory();
  for (const struct sum &sum : sums)
    exchange(sum.x, sum.count * sizeof *sum.x, [&](int r, size_t at, const char *piece, size_t length) {
      float *x = (float *)((char *)sum.x + at);
      for (size_t i = 0; i < length / sizeof *x; i++)
        x[i] = r ? x[i] + ((const float *)piece)[i] : ((const float *)piece)[i];
    });
  emulation_close_memory();
  sums.clear();
}

static void all_gather(struct device *self, const void *mine, void *all, size_t bytes) {
  all_reduce_finish(self);
  emulation_open_memory();
  exchange(mine, bytes, [&](int r, size_t at, const char *piece, size_t length) {
    memcpy((char *)all + (size_t)r * bytes + at, piece, length);
  });
  emulation_close_memory();
}

static const struct device_collectives collective_table = {.load = load,
                                                           .make_group = make_group,
                                                           .join = join,
                                                           .leave = leave,
                                                           .all_reduce_start = all_reduce_start,
                                                           .all_reduce_finish = all_reduce_finish,
                                                           .all_gather = all_gather};

void runtime_open_collective(struct cuda_device *cuda) {
  if (getenv("MEMCLIP_EMULATION_COLLECTIVES"))
    cuda->device.collectives = &collective_table;
}

void runtime_leave_collective(struct cuda_device *cuda) {
  if (!sums.empty())
    fatal("emulation: a sum was started that nobody waited for");
  if (shared)
    leave(&cuda->device);
}

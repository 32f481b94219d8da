#define _GNU_SOURCE
#include "comm/window.h"
#include "base/memory.h"
#include "comm/combine.h"
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
  ROUND_BYTES = 1 << 20, /* of each rank's data: three of them stay in a second-level cache */
  LINE_BYTES = 64,
  LOOKS_BEFORE_SLEEP = 1000 /* tens of microseconds */
};

/* At the head of rank 0's segment. */
struct shared_barrier {
  atomic_uint arrived, generation, sleepers;
};

static void pause_briefly(void) {
#ifdef __x86_64__
  __builtin_ia32_pause();
#endif
}

/* Waits a moment with open eyes, then sleeps: a rank that kept yielding to computing threads would get its turn back
 * only milliseconds later, one that sleeps is preferred when it wakes. */
static void barrier_wait(struct shared_barrier *barrier, unsigned ranks) {
  const unsigned generation = atomic_load(&barrier->generation);
  if (atomic_fetch_add(&barrier->arrived, 1) + 1 == ranks) {
    atomic_store(&barrier->arrived, 0);
    atomic_store(&barrier->generation, generation + 1);
    if (atomic_load(&barrier->sleepers) > 0)
      syscall(SYS_futex, &barrier->generation, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
    return;
  }
  for (int i = 0; i < LOOKS_BEFORE_SLEEP; i++) {
    if (atomic_load(&barrier->generation) != generation)
      return;
    pause_briefly();
  }
  /* Counted as a sleeper before the kernel compares the generation, so the last rank either sees the count or the
   * comparison fails. */
  atomic_fetch_add(&barrier->sleepers, 1);
  while (atomic_load(&barrier->generation) == generation)
    syscall(SYS_futex, &barrier->generation, FUTEX_WAIT, generation, NULL, NULL, 0);
  atomic_fetch_sub(&barrier->sleepers, 1);
}

/* Segment of a rank: a line for the barrier, two buffers of published data (a round each), two of results (a slice
 * each). Slices are padded to cache lines, so a buffer may exceed the round by a line per rank. */
static size_t round_capacity(const struct window *w) {
  return ROUND_BYTES + (size_t)w->size * LINE_BYTES;
}
static size_t slice_capacity(const struct window *w) {
  return (ROUND_BYTES / (size_t)w->size / LINE_BYTES + 2) * LINE_BYTES;
}
static char *published(const struct window *w, int rank, size_t round) {
  return w->base[rank] + LINE_BYTES + (round % 2) * round_capacity(w);
}
static char *result(const struct window *w, int rank, size_t round) {
  return w->base[rank] + LINE_BYTES + 2 * round_capacity(w) + (round % 2) * slice_capacity(w);
}

static bool agreed(bool mine, MPI_Comm comm) {
  int all = mine;
  exchange_check(MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT, MPI_MIN, comm), "MPI_Allreduce");
  return all != 0;
}

bool window_open(struct window *w, MPI_Comm local) {
  exchange_check(MPI_Comm_rank(local, &w->rank), "MPI_Comm_rank");
  exchange_check(MPI_Comm_size(local, &w->size), "MPI_Comm_size");
  w->segment_bytes = LINE_BYTES + 2 * round_capacity(w) + 2 * slice_capacity(w);
  MPI_Info info;
  exchange_check(MPI_Info_create(&info), "MPI_Info_create");
  exchange_check(MPI_Info_set(info, "alloc_shared_noncontig", "true"),
                 "MPI_Info_set"); /* pages near the rank that touches them first */
  void *mine = NULL;
  const int code = MPI_Win_allocate_shared((MPI_Aint)w->segment_bytes, 1, info, local, &mine, &w->handle);
  exchange_check(MPI_Info_free(&info), "MPI_Info_free");
  if (!agreed(code == MPI_SUCCESS, local))
    return false;
  w->base = memory_allocate((size_t)w->size * sizeof *w->base, "window segments");
  w->parts = memory_allocate((size_t)w->size * sizeof *w->parts, "window parts");
  for (int r = 0; r < w->size; r++) {
    MPI_Aint bytes;
    int unit;
    exchange_check(MPI_Win_shared_query(w->handle, r, &bytes, &unit, &w->base[r]), "MPI_Win_shared_query");
  }
  memset(mine, 0, w->segment_bytes);
  exchange_check(MPI_Barrier(local), "MPI_Barrier");
  return true;
}

void window_close(struct window *w) {
  exchange_check(MPI_Win_free(&w->handle), "MPI_Win_free");
  memory_release(w->base);
  memory_release(w->parts);
  *w = (struct window){0};
}

/* One reduction in progress. Round k covers bytes [k * ROUND_BYTES, ...) of the data; slice o of it belongs to local
 * rank o. */
struct reduction {
  struct window *window;
  struct exchange *across;
  char *data;
  size_t bytes, rounds, element_bytes;
  enum dtype dtype;
  enum comm_operation operation;
};

/* Byte range of rank `owner`'s slice within round `round`, relative to the round. */
static void slice_range(const struct reduction *r, size_t round, int owner, size_t *first, size_t *bytes) {
  const size_t left = r->bytes - round * ROUND_BYTES, total = left < ROUND_BYTES ? left : ROUND_BYTES;
  const size_t ranks = (size_t)r->window->size, even = (total + ranks - 1) / ranks;
  const size_t slice = (even + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
  *first = (size_t)owner * slice < total ? (size_t)owner * slice : total;
  *bytes = *first + slice < total ? slice : total - *first;
}

static void publish(const struct reduction *r, size_t round) {
  const struct window *w = r->window;
  for (int owner = 0; owner < w->size; owner++) {
    size_t first, bytes;
    slice_range(r, round, owner, &first, &bytes);
    if (owner != w->rank)
      memcpy(published(w, w->rank, round) + first, r->data + round * ROUND_BYTES + first, bytes);
  }
}

static void reduce_own(const struct reduction *r, size_t round) {
  const struct window *w = r->window;
  size_t first, bytes;
  slice_range(r, round, w->rank, &first, &bytes);
  char *own = r->data + round * ROUND_BYTES + first, *shared = result(w, w->rank, round);
  for (int rank = 0; rank < w->size; rank++)
    w->parts[rank] = rank == w->rank ? own : published(w, rank, round) + first;
  combine_in_order(shared, w->parts, w->size, bytes / r->element_bytes, r->dtype, r->operation);
  if (r->across != NULL)
    exchange_reduce(r->across, shared, bytes / r->element_bytes, r->dtype, r->operation);
  memcpy(own, shared, bytes);
}

static void collect(const struct reduction *r, size_t round) {
  const struct window *w = r->window;
  for (int owner = 0; owner < w->size; owner++) {
    size_t first, bytes;
    slice_range(r, round, owner, &first, &bytes);
    if (owner != w->rank)
      memcpy(r->data + round * ROUND_BYTES + first, result(w, owner, round), bytes);
  }
}

/* Step s publishes round s, reduces round s-1 and collects round s-2. What a step reads was finished before the barrier
 * that precedes it, and what it writes was last read before that barrier; the last step needs none after it, as the
 * next reduction's first step writes only published data, which nobody reads any more. */
void window_reduce(struct window *window, struct exchange *across, void *data, size_t count, enum dtype dtype,
                   enum comm_operation operation) {
  const size_t element_bytes = dtype_size(dtype), bytes = count * element_bytes;
  const struct reduction r = {.window = window,
                              .across = across,
                              .data = data,
                              .bytes = bytes,
                              .rounds = (bytes + ROUND_BYTES - 1) / ROUND_BYTES,
                              .element_bytes = element_bytes,
                              .dtype = dtype,
                              .operation = operation};
  struct shared_barrier *barrier = (struct shared_barrier *)(void *)window->base[0];
  for (size_t step = 0; r.rounds > 0 && step < r.rounds + 2; step++) {
    if (step > 0)
      barrier_wait(barrier, (unsigned)window->size);
    if (step >= 1 && step <= r.rounds)
      reduce_own(&r, step - 1);
    if (step >= 2)
      collect(&r, step - 2);
    if (step < r.rounds)
      publish(&r, step);
  }
}

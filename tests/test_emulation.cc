/* The emulation stops on faults that a GPU would answer with wrong numbers: each planted fault must end its process. */
#include "cuda/kernel.h"
#include "cuda/tensor.h"
#include "emulation/emulation.h"
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 64 };
static float *memory;

/* Each thread reads what another one wrote. */
KERNEL void reverse(float *x, bool with_barrier) {
  SHARED(float, kept, THREADS);
  kept[threadIdx.x] = x[threadIdx.x];
  if (with_barrier)
    block_barrier();
  x[threadIdx.x] = kept[THREADS - 1 - threadIdx.x];
}
KERNEL void leave_early(float *x) {
  if (threadIdx.x == 5)
    return;
  x[threadIdx.x] = warp_sum(x[threadIdx.x]);
}
KERNEL void half_barrier(float *x) {
  if (threadIdx.x < WARP)
    block_barrier();
  x[threadIdx.x] = 1;
}
KERNEL void two_operations(float *x) {
  if (threadIdx.x % 2)
    x[threadIdx.x] = shuffle(1.0f, 0);
  else
    warp_barrier();
}
KERNEL void race_of_blocks(float *x) {
  if (threadIdx.x == 0)
    x[0] = (float)blockIdx.x;
}
KERNEL void beyond(float *x) {
  x[threadIdx.x + THREADS] = 1;
}
KERNEL void unaligned(float *x) {
  float four[4];
  load<4>(x, 2, four);
  if (threadIdx.x == 0)
    store<4>(x, 4, four);
}
KERNEL void arrays_beside_dynamic(float *x) {
  SHARED_DYNAMIC(float, all);
  SHARED(float, more, 5000);
  more[threadIdx.x] = all[threadIdx.x] = 1;
  x[threadIdx.x] = more[threadIdx.x];
}
/* A tile is fetched where another thread still reads the one before; it has arrived long after. */
KERNEL void overtaken(float *x, bool with_barrier) {
  SHARED(float, tile, 4 * THREADS);
  tile[4 * threadIdx.x] = 1;
  block_barrier();
  const float before = tile[4 * (THREADS - 1 - threadIdx.x)];
  if (with_barrier)
    block_barrier();
  copy_async((bf16 *)(tile + 4 * threadIdx.x), (const bf16 *)x, true);
  copy_commit();
  block_barrier();
  copy_wait<0>();
  x[threadIdx.x] = before;
}

static void run_sound(void) {
  LAUNCH(reverse, 1, THREADS, 0, NULL, memory, true);
}
static void run_no_barrier(void) {
  LAUNCH(reverse, 1, THREADS, 0, NULL, memory, false);
}
static void run_leave_early(void) {
  LAUNCH(leave_early, 1, THREADS, 0, NULL, memory);
}
static void run_half_barrier(void) {
  LAUNCH(half_barrier, 1, THREADS, 0, NULL, memory);
}
static void run_two_operations(void) {
  LAUNCH(two_operations, 1, THREADS, 0, NULL, memory);
}
static void run_race_of_blocks(void) {
  LAUNCH(race_of_blocks, 3, THREADS, 0, NULL, memory);
}
static void run_beyond(void) {
  LAUNCH(beyond, 1, THREADS, 0, NULL, memory);
}
static void run_unaligned(void) {
  LAUNCH(unaligned, 1, THREADS, 0, NULL, memory);
}
static void run_arrays_beside_dynamic(void) {
  LAUNCH(arrays_beside_dynamic, 1, THREADS, 32 * 1024, NULL, memory);
}
static void run_much_shared(void) {
  LAUNCH(reverse, 1, THREADS, 100 * 1024, NULL, memory, true);
}
static void run_not_overtaken(void) {
  LAUNCH(overtaken, 1, THREADS, 0, NULL, memory, true);
}
static void run_overtaken(void) {
  LAUNCH(overtaken, 1, THREADS, 0, NULL, memory, false);
}
static void run_host_access(void) {
  memory[0] = 1;
}

/* What an upload brings is there once its lane is finished, and not before. */
static void use_upload(bool finished) {
  struct cuda_device *none = NULL;
  static float *numbers;
  if (!numbers)
    numbers = (float *)runtime_allocate_pinned(none, THREADS * sizeof *numbers, "numbers");
  numbers[0] = 1;
  runtime_upload(none, 0, memory, numbers, THREADS * sizeof *numbers);
  if (finished)
    runtime_upload_finish(none, 0);
  emulation_open_memory();
  if (memory[0] != 1)
    emulation_stop("the upload has not arrived");
}
static void run_finished_upload(void) {
  use_upload(true);
}
static void run_unfinished_upload(void) {
  use_upload(false);
}
static void run_upload_of_other_memory(void) {
  static float numbers[THREADS];
  runtime_upload(NULL, 0, memory, numbers, sizeof numbers);
}
static void run_upload_in_use(void) {
  use_upload(true);
  use_upload(true);
}

/* Whether a process of its own comes to its end. */
static bool ends_well(void (*run)(void)) {
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    if (!freopen("/dev/null", "w", stderr))
      _exit(1);
    run();
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(void) {
  static const struct {
    const char *name;
    void (*run)(void);
    bool sound;
  } cases[] = {{"a sound kernel runs", run_sound, true},
               {"a missing barrier is seen", run_no_barrier, false},
               {"a lane that left a warp is seen", run_leave_early, false},
               {"a barrier of half the block is seen", run_half_barrier, false},
               {"lanes in different operations are seen", run_two_operations, false},
               {"a race between blocks is seen", run_race_of_blocks, false},
               {"a write beyond a block is seen", run_beyond, false},
               {"a vector off its alignment is seen", run_unaligned, false},
               {"more shared memory than is granted unasked is seen", run_arrays_beside_dynamic, false},
               {"more shared memory than every GPU has is seen", run_much_shared, false},
               {"asynchronous copies into a tile that was read", run_not_overtaken, true},
               {"an asynchronous copy into a tile that is read is seen", run_overtaken, false},
               {"an upload arrives", run_finished_upload, true},
               {"a missing wait for an upload is seen", run_unfinished_upload, false},
               {"an upload over what is in use is seen", run_upload_in_use, false},
               {"an upload of memory that is not pinned is seen", run_upload_of_other_memory, false},
               {"the host cannot touch device memory", run_host_access, false}};
  const int count = sizeof cases / sizeof *cases;
  int failed = 0;
  memory = (float *)emulation_allocate(THREADS * sizeof(float), "test");
  emulation_open_memory();
  for (int i = 0; i < THREADS; i++)
    memory[i] = (float)i;
  emulation_close_memory();
  for (int i = 0; i < count; i++) {
    const bool right = ends_well(cases[i].run) == cases[i].sound;
    printf("%s %d - %s\n", right ? "ok" : "not ok", i + 1, cases[i].name);
    failed += !right;
  }
  emulation_release(memory);
  printf("1..%d\n", count);
  return failed != 0;
}

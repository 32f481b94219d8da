/* Stretches of calls that repeat. The first time a key is met they run as they come, so that scratch memory grows and
 * products are chosen; the second time they are captured, and from then on the graph runs in their place. A key beyond
 * those that there is room for runs as it comes every time, as one does that is to be captured when memory is short: a
 * graph takes some 10 kB of the device's for each kernel. */
#include "cuda/cuda.h"

enum { GRAPHS_MAX = 512, MEMORY_LEFT_BYTES = 256 << 20 };
enum { OUTSIDE, RUNNING, CAPTURING };

struct graphs {
  struct {
    uint64_t key;
    struct graph *graph; /* NULL until captured */
  } list[GRAPHS_MAX];
  int count, current, state, captured;
  void *retired[CUDA_SCRATCH_COUNT * 16]; /* scratch that graphs still use */
  int retired_count;
};

void graphs_open(struct cuda_device *cuda) {
  cuda->graphs = (struct graphs *)memory_allocate(sizeof *cuda->graphs, "CUDA graphs");
}

void graphs_close(struct cuda_device *cuda) {
  struct graphs *graphs = cuda->graphs;
  for (int i = 0; i < graphs->count; i++)
    if (graphs->list[i].graph)
      runtime_release_graph(cuda, graphs->list[i].graph);
  for (int i = 0; i < graphs->retired_count; i++)
    runtime_release(cuda, graphs->retired[i]);
  memory_release(graphs);
}

void graphs_expect_outside(struct cuda_device *cuda, const char *what) {
  if (cuda->graphs->state != OUTSIDE)
    fatal("%s within a recorded stretch of calls", what);
}

void graphs_expect_no_capture(struct cuda_device *cuda, const char *what) {
  if (cuda->graphs->state == CAPTURING)
    fatal("a recorded stretch of calls needs %s, which it did not when it ran before", what);
}

void graphs_retire(struct cuda_device *cuda, void *block) {
  struct graphs *graphs = cuda->graphs;
  graphs_expect_no_capture(cuda, "more scratch memory");
  if (!graphs->captured || !block) {
    runtime_synchronize(cuda);
    runtime_release(cuda, block);
    return;
  }
  if (graphs->retired_count == (int)(sizeof graphs->retired / sizeof *graphs->retired))
    fatal("scratch memory grew %d times under recorded stretches of calls", graphs->retired_count);
  graphs->retired[graphs->retired_count++] = block;
}

static int find(const struct graphs *graphs, uint64_t key) {
  for (int i = 0; i < graphs->count; i++)
    if (graphs->list[i].key == key)
      return i;
  return -1;
}

static bool has_room(struct cuda_device *cuda) {
  size_t left, total;
  runtime_memory_free(cuda, &left, &total);
  return left >= MEMORY_LEFT_BYTES;
}

bool cuda_record(struct device *self, uint64_t key) {
  struct cuda_device *cuda = cuda_from_device(self);
  struct graphs *graphs = cuda->graphs;
  graphs_expect_outside(cuda, "a stretch of calls begins");
  const int found = find(graphs, key);
  graphs->state = RUNNING;
  graphs->current = found;
  if (found < 0) {
    if (graphs->count < GRAPHS_MAX)
      graphs->list[graphs->count++].key = key;
    return false;
  }
  if (!graphs->list[found].graph) {
    if (has_room(cuda)) {
      graphs->state = CAPTURING;
      runtime_begin_capture(cuda);
    }
    return false;
  }
  graphs->state = OUTSIDE;
  runtime_run_graph(cuda, graphs->list[found].graph);
  self->counts.replays++;
  return true;
}

void cuda_submit(struct device *self) {
  struct cuda_device *cuda = cuda_from_device(self);
  struct graphs *graphs = cuda->graphs;
  const int state = graphs->state;
  graphs->state = OUTSIDE;
  if (state != CAPTURING)
    return;
  struct graph *graph = runtime_end_capture(cuda);
  graphs->list[graphs->current].graph = graph;
  graphs->captured++;
  self->counts.recordings++;
  runtime_run_graph(cuda, graph);
}

/* Graphs of the emulated device: what would go to the stream is kept with the arguments it has then, and done when the
 * graph runs. Memory and values that change from one time to the next show as wrong numbers. */
#include "cuda/cuda.h"
#include "emulation/emulation.h"
#include <vector>

struct graph {
  std::vector<std::function<void()>> calls;
};
static struct graph *recording;

void emulation_enqueue(const std::function<void()> &call) {
  if (recording)
    recording->calls.push_back(call);
  else
    call();
}

void runtime_begin_capture(struct cuda_device *cuda) {
  (void)cuda;
  recording = new struct graph;
}

struct graph *runtime_end_capture(struct cuda_device *cuda) {
  (void)cuda;
  struct graph *graph = recording;
  recording = NULL;
  return graph;
}

void runtime_run_graph(struct cuda_device *cuda, struct graph *graph) {
  (void)cuda;
  for (const std::function<void()> &call : graph->calls)
    call();
}

void runtime_release_graph(struct cuda_device *cuda, struct graph *graph) {
  (void)cuda;
  delete graph;
}

/* CUDA graphs of what goes to the device's stream. Thread-local capture: other threads (NCCL's) may call CUDA
 * meanwhile. */
#include "cuda/kernel.h"

struct graph {
  cudaGraphExec_t exec;
};

void runtime_begin_capture(struct cuda_device *cuda) {
  CUDA_CHECK(cudaStreamBeginCapture(cuda->stream, cudaStreamCaptureModeThreadLocal));
}

struct graph *runtime_end_capture(struct cuda_device *cuda) {
  struct graph *graph = (struct graph *)memory_allocate(sizeof *graph, "CUDA graph");
  cudaGraph_t recorded;
  CUDA_CHECK(cudaStreamEndCapture(cuda->stream, &recorded));
  CUDA_CHECK(cudaGraphInstantiate(&graph->exec, recorded, 0));
  CUDA_CHECK(cudaGraphDestroy(recorded));
  return graph;
}

void runtime_run_graph(struct cuda_device *cuda, struct graph *graph) {
  CUDA_CHECK(cudaGraphLaunch(graph->exec, cuda->stream));
}

void runtime_release_graph(struct cuda_device *cuda, struct graph *graph) {
  (void)cuda;
  CUDA_CHECK(cudaGraphExecDestroy(graph->exec));
  memory_release(graph);
}

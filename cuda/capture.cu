/* CUDA graphs of what goes to the device's stream; a `struct graph` is CUDA's own executable graph. Thread-local
 * capture: other threads (NCCL's) may call CUDA meanwhile. */
#include "cuda/kernel.h"

void runtime_begin_capture(struct cuda_device *cuda) {
  CUDA_CHECK(cudaStreamBeginCapture(cuda->stream, cudaStreamCaptureModeThreadLocal));
}

struct graph *runtime_end_capture(struct cuda_device *cuda) {
  cudaGraph_t recorded;
  cudaGraphExec_t graph;
  CUDA_CHECK(cudaStreamEndCapture(cuda->stream, &recorded));
  CUDA_CHECK(cudaGraphInstantiate(&graph, recorded, 0));
  CUDA_CHECK(cudaGraphDestroy(recorded));
  return (struct graph *)graph;
}

void runtime_run_graph(struct cuda_device *cuda, struct graph *graph) {
  CUDA_CHECK(cudaGraphLaunch((cudaGraphExec_t)graph, cuda->stream));
}

void runtime_release_graph(struct cuda_device *cuda, struct graph *graph) {
  (void)cuda;
  CUDA_CHECK(cudaGraphExecDestroy((cudaGraphExec_t)graph));
}

/* CUDA's streams, events and graphs on the host, under the platform's own files: what is enqueued happens later, stream
 * by stream, in an order that is drawn; one stream lags behind all others as far as events let it. A wait that is
 * missing gives other numbers in some order. It stops where a copy in the background is of pageable memory, where
 * streams wait for each other for ever, and where a launch would see an error that a call left behind.
 *  MEMCLIP_MOCK_SEED=n: the order that is drawn; n % 3 is the stream that lags (the device's, uploads, downloads). */
#include "cuda/cuda.h"
#include "emulation/emulation.h"
#include <deque>
#include <map>
#include <stdio.h>
#include <stdlib.h>
#include <vector>

struct CUevent_st {
  uint64_t recorded, done;
};
struct operation {
  enum { CALL, RECORD, WAIT } kind;
  std::function<void()> call;
  cudaEvent_t event;
  uint64_t number; /* of the event's records */
};
struct mock_graph {
  std::vector<std::function<void()>> calls;
};
struct CUstream_st {
  std::deque<struct operation> operations;
  struct mock_graph *recording;
};
static std::vector<cudaStream_t> streams; /* the device's first */
static std::map<char *, size_t> pinned;
static cudaError_t last_error;
static uint64_t state, lagging;

static unsigned draw(size_t count) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (unsigned)((state >> 33) % count);
}

/* ---- streams run */

/* False when there is nothing, or nothing yet. */
static bool run_next(cudaStream_t stream) {
  if (stream->operations.empty())
    return false;
  const struct operation next = stream->operations.front();
  if (next.kind == operation::WAIT && next.event->done < next.number)
    return false;
  stream->operations.pop_front();
  if (next.kind == operation::CALL)
    next.call();
  if (next.kind == operation::RECORD)
    next.event->done = next.number;
  return true;
}

/* A few operations of a stream; false when none can go on, but for the one that lags. */
static bool run_some(void) {
  const size_t start = draw(streams.size());
  for (size_t n = 0; n < streams.size(); n++) {
    const size_t number = (start + n) % streams.size();
    bool any = false;
    for (unsigned i = 1 + draw(4); number != lagging && i > 0 && run_next(streams[number]); i--)
      any = true;
    if (any)
      return true;
  }
  return false;
}

static void run_until(const std::function<bool()> &holds) {
  while (!holds())
    if (!run_some() && !(lagging < streams.size() && run_next(streams[lagging])))
      fatal("mock: streams wait for ever");
}

static bool is_recording(void) {
  return !streams.empty() && streams[0]->recording;
}
/* What must not be called while the device's stream is recorded. */
static cudaError_t outside(void) {
  return is_recording() ? last_error = cudaErrorStreamCaptureUnsupported : cudaSuccess;
}

static void enqueue(cudaStream_t stream, const std::function<void()> &call) {
  if (stream->recording)
    stream->recording->calls.push_back(call);
  else
    stream->operations.push_back({operation::CALL, call, NULL, 0});
  if (!is_recording() && draw(4) == 0)
    run_some();
}

void emulation_enqueue(const std::function<void()> &call) {
  if (last_error != cudaSuccess)
    fatal("mock: a launch would see that a call before it left: %s", cudaGetErrorString(last_error));
  enqueue(streams[0], call);
}

/* ---- the device */

cudaError_t cudaGetDeviceCount(int *count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int number) {
  const char *seed = getenv("MEMCLIP_MOCK_SEED");
  (void)number;
  state = seed ? strtoull(seed, NULL, 10) : 0;
  lagging = state % 3;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int number) {
  (void)number;
  *properties = {};
  snprintf(properties->name, sizeof properties->name, "a mock of CUDA's runtime");
  return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *kernel) {
  (void)attributes;
  (void)kernel;
  return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void *kernel, int attribute, int value) {
  (void)kernel;
  (void)attribute;
  (void)value;
  return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) {
  *version = 12010;
  return cudaSuccess;
}
cudaError_t cudaGetLastError(void) {
  const cudaError_t error = last_error;
  last_error = cudaSuccess;
  return error;
}
const char *cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorNotReady ? "device not ready" : "operation not permitted when stream is capturing";
}

/* ---- streams and events */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
  (void)flags;
  streams.push_back(*stream = new CUstream_st());
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (!stream->operations.empty())
    fatal("mock: a stream is destroyed that has not ended");
  for (size_t i = 0; i < streams.size(); i++)
    if (streams[i] == stream)
      streams.erase(streams.begin() + (ptrdiff_t)i);
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (outside() == cudaSuccess)
    run_until([=] { return stream->operations.empty(); });
  return outside();
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  (void)flags;
  if (outside() == cudaSuccess && event->recorded > 0)
    stream->operations.push_back({operation::WAIT, nullptr, event, event->recorded});
  return outside();
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
  (void)flags;
  *event = new CUevent_st();
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (outside() == cudaSuccess)
    stream->operations.push_back({operation::RECORD, nullptr, event, ++event->recorded});
  return outside();
}
/* What is not ready is the thread's last error, too. */
cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (outside() != cudaSuccess || event->done == event->recorded)
    return outside();
  run_some();
  return last_error = cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const uint64_t number = event->recorded;
  if (outside() == cudaSuccess)
    run_until([=] { return event->done >= number; });
  return outside();
}

/* ---- memory */

cudaError_t cudaMalloc(void **block, size_t bytes) {
  if (outside() == cudaSuccess)
    *block = emulation_allocate(bytes, "mock");
  return outside();
}
/* Waits for the device. */
cudaError_t cudaFree(void *block) {
  for (size_t i = 0; block && i < streams.size(); i++)
    cudaStreamSynchronize(streams[i]);
  if (outside() == cudaSuccess)
    emulation_release(block);
  return outside();
}
cudaError_t cudaHostAlloc(void **block, size_t bytes, unsigned flags) {
  (void)flags;
  if (outside() == cudaSuccess)
    pinned[(char *)(*block = malloc(bytes))] = bytes;
  return outside();
}
cudaError_t cudaFreeHost(void *block) {
  memset(block, 0xff, pinned[(char *)block]); /* for what still copies it */
  pinned.erase((char *)block);
  free(block);
  return cudaSuccess;
}
static bool is_pinned(const void *block, size_t bytes) {
  const auto behind = pinned.upper_bound((char *)block);
  return behind != pinned.begin() && (char *)block + bytes <= std::prev(behind)->first + std::prev(behind)->second;
}
/* The host waits for what comes to pageable memory. */
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (kind == cudaMemcpyHostToDevice && !is_pinned(from, bytes))
    fatal("mock: a copy in the background from pageable memory");
  enqueue(stream, [=] {
    emulation_open_memory();
    memmove(to, from, bytes);
    emulation_close_memory();
  });
  return kind == cudaMemcpyDeviceToHost && !is_pinned(to, bytes) ? cudaStreamSynchronize(stream) : cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *block, int byte, size_t bytes, cudaStream_t stream) {
  enqueue(stream, [=] {
    emulation_open_memory();
    memset(block, byte, bytes);
    emulation_close_memory();
  });
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
  *free_bytes = *total_bytes = (size_t)1 << 40;
  return cudaSuccess;
}

/* ---- graphs */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  (void)mode;
  stream->recording = new mock_graph();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
  *graph = stream->recording;
  stream->recording = NULL;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags) {
  (void)flags;
  *exec = new mock_graph(*graph);
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  for (const std::function<void()> &call : exec->calls)
    stream->operations.push_back({operation::CALL, call, NULL, 0});
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}

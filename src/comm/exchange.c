#include "comm/exchange.h"
#include "base/clock.h"
#include "base/memory.h"
#include "comm/combine.h"
#include <limits.h>

enum {
  BLOCK_BYTES = 4 << 20,  /* of data per round; bounds the scratch memory */
  GATHER_BYTES = 8 << 10, /* below it one message from each to each costs less than two rounds */
  MESSAGE_TAG = 1
};

static const double WATCH_SECONDS = 200e-6, NAP_SHARE = 0.1, NAP_SECONDS_MAX = 1e-3;

void exchange_check(int code, const char *call) {
  char words[MPI_MAX_ERROR_STRING] = "unknown error";
  int length = 0;
  if (code == MPI_SUCCESS)
    return;
  MPI_Error_string(code, words, &length);
  fatal("%s: %s", call, words);
}

void exchange_await(MPI_Request *request) {
  const double start = clock_seconds();
  int done = 0;
  for (;;) {
    exchange_check(MPI_Test(request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    if (done)
      return;
    const double waited = clock_seconds() - start;
    if (waited > WATCH_SECONDS)
      clock_sleep(waited * NAP_SHARE < NAP_SECONDS_MAX ? waited * NAP_SHARE : NAP_SECONDS_MAX);
  }
}

void exchange_open(struct exchange *exchange, MPI_Comm comm) {
  exchange->comm = comm;
  exchange_check(MPI_Comm_rank(comm, &exchange->rank), "MPI_Comm_rank");
  exchange_check(MPI_Comm_size(comm, &exchange->size), "MPI_Comm_size");
  const size_t size = (size_t)exchange->size;
  /* A rank's slice is at most ceil(elements / size); GATHER_BYTES come from each rank. */
  const size_t gathered = size * GATHER_BYTES, scattered = BLOCK_BYTES + size * sizeof(double);
  exchange->scratch = memory_allocate(gathered > scattered ? gathered : scattered, "exchange scratch");
  exchange->parts = memory_allocate(size * sizeof *exchange->parts, "exchange parts");
  exchange->slice_bytes = memory_allocate(4 * size * sizeof(int), "exchange counts");
  exchange->slice_offset = exchange->slice_bytes + size;
  exchange->part_bytes = exchange->slice_offset + size;
  exchange->part_offset = exchange->part_bytes + size;
  exchange->requests = memory_allocate(2 * size * sizeof *exchange->requests, "exchange requests");
}

void exchange_close(struct exchange *exchange) {
  memory_release(exchange->scratch);
  memory_release(exchange->parts);
  memory_release(exchange->slice_bytes);
  memory_release(exchange->requests);
  *exchange = (struct exchange){0};
}

/* Everyone gets everything and reduces all of it. */
static void reduce_gathered(struct exchange *x, void *data, size_t count, enum dtype dtype,
                            enum comm_operation operation) {
  const int bytes = (int)(count * dtype_size(dtype));
  MPI_Request request;
  exchange_check(MPI_Iallgather(data, bytes, MPI_BYTE, x->scratch, bytes, MPI_BYTE, x->comm, &request),
                 "MPI_Iallgather");
  exchange_await(&request);
  for (int r = 0; r < x->size; r++)
    x->parts[r] = x->scratch + (size_t)r * (size_t)bytes;
  combine_in_order(data, x->parts, x->size, count, dtype, operation);
}

/* The block in slices, one per rank: scatter, reduce the own one, gather. */
static void reduce_sliced(struct exchange *x, char *data, size_t count, enum dtype dtype,
                          enum comm_operation operation) {
  const size_t size = dtype_size(dtype), slice = (count + (size_t)x->size - 1) / (size_t)x->size;
  for (int r = 0; r < x->size; r++) {
    const size_t first = (size_t)r * slice < count ? (size_t)r * slice : count;
    const size_t last = first + slice < count ? first + slice : count;
    x->slice_offset[r] = (int)(first * size);
    x->slice_bytes[r] = (int)((last - first) * size);
  }
  const int mine = x->slice_bytes[x->rank];
  for (int r = 0; r < x->size; r++) {
    x->part_bytes[r] = mine;
    x->part_offset[r] = r * mine;
    x->parts[r] = x->scratch + x->part_offset[r];
  }
  MPI_Request request;
  exchange_check(MPI_Ialltoallv(data, x->slice_bytes, x->slice_offset, MPI_BYTE, x->scratch, x->part_bytes,
                                x->part_offset, MPI_BYTE, x->comm, &request),
                 "MPI_Ialltoallv");
  exchange_await(&request);
  combine_in_order(data + x->slice_offset[x->rank], x->parts, x->size, (size_t)mine / size, dtype, operation);
  exchange_check(
      MPI_Iallgatherv(MPI_IN_PLACE, 0, MPI_BYTE, data, x->slice_bytes, x->slice_offset, MPI_BYTE, x->comm, &request),
      "MPI_Iallgatherv");
  exchange_await(&request);
}

void exchange_reduce(struct exchange *exchange, void *data, size_t count, enum dtype dtype,
                     enum comm_operation operation) {
  const size_t size = dtype_size(dtype), block = BLOCK_BYTES / size;
  if (exchange->size == 1)
    return;
  for (size_t first = 0; first < count; first += block) {
    const size_t part = count - first < block ? count - first : block;
    char *at = (char *)data + first * size;
    if (part * size <= GATHER_BYTES)
      reduce_gathered(exchange, at, part, dtype, operation);
    else
      reduce_sliced(exchange, at, part, dtype, operation);
  }
}

/* ---- messages from rank to rank, whose ends may be devices' memory */

/* Rank's slice of `bytes`: where it begins and, returned, how long it is. */
static int slice_of(int rank, size_t slice, size_t bytes, size_t *first) {
  *first = (size_t)rank * slice < bytes ? (size_t)rank * slice : bytes;
  const size_t length = bytes - *first < slice ? bytes - *first : slice;
  if (length > INT_MAX)
    fatal("a slice of %zu bytes is too long for one message", length);
  return (int)length;
}

static void receive(struct exchange *x, int rank, char *to, int bytes, int *count) {
  if (rank != x->rank && bytes)
    exchange_check(MPI_Irecv(to, bytes, MPI_BYTE, rank, MESSAGE_TAG, x->comm, &x->requests[(*count)++]), "MPI_Irecv");
}

static void send(struct exchange *x, int rank, const char *from, int bytes, int *count) {
  if (rank != x->rank && bytes)
    exchange_check(MPI_Isend(from, bytes, MPI_BYTE, rank, MESSAGE_TAG, x->comm, &x->requests[(*count)++]), "MPI_Isend");
}

static void await_messages(struct exchange *x, int count) {
  for (int i = 0; i < count; i++)
    exchange_await(&x->requests[i]);
}

void exchange_scatter(struct exchange *x, const char *data, char *parts, size_t slice, size_t bytes) {
  int count = 0;
  size_t first;
  const int mine = slice_of(x->rank, slice, bytes, &first);
  for (int r = 0; r < x->size; r++)
    receive(x, r, parts + (size_t)r * (size_t)mine, mine, &count);
  for (int r = 0; r < x->size; r++) {
    const int length = slice_of(r, slice, bytes, &first);
    send(x, r, data + first, length, &count);
  }
  await_messages(x, count);
}

void exchange_spread(struct exchange *x, char *data, size_t slice, size_t bytes) {
  int count = 0;
  size_t first;
  for (int r = 0; r < x->size; r++) {
    const int length = slice_of(r, slice, bytes, &first);
    receive(x, r, data + first, length, &count);
  }
  const int mine = slice_of(x->rank, slice, bytes, &first);
  for (int r = 0; r < x->size; r++)
    send(x, r, data + first, mine, &count);
  await_messages(x, count);
}

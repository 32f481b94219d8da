#define _GNU_SOURCE
#include "config.h"
#include "comm/comm.h"
#include "base/clock.h"
#include "base/memory.h"
#include "comm/exchange.h"
#include "comm/launch.h"
#include "comm/queue.h"
#include "comm/window.h"
#ifdef HAVE_MPI_CUDA_QUERY
#include <mpi-ext.h>
#endif
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* MPI counts are int: larger calls are cut. */
enum { CALL_BYTES_MAX = 1 << 30, MESSAGE_BYTES = 4096 };

static struct {
  int rank, size, local_rank, local_size;
  MPI_Comm local, across;       /* the node's ranks; the ranks of equal local rank on all nodes */
  struct exchange world, nodes; /* over all ranks; over `across` */
  struct window window;
  bool has_window, reaches_devices;
  uint64_t last_started; /* ticket of the newest comm_all_reduce_start */
  _Atomic double busy_seconds;
  char host[256];
  char library[MPI_MAX_LIBRARY_VERSION_STRING];
} comm = {.size = 1, .local_size = 1, .library = "no MPI"};

/* A rank that dies with a message takes all others along. */
static void abort_all(void) {
  MPI_Abort(MPI_COMM_WORLD, STATUS_SYSTEM);
}

/* Test switch: MEMCLIP_COMM_NODE_RANKS=N takes every N successive ranks of a node for a node of its own. */
static void split_into_nodes(void) {
  const char *given = getenv("MEMCLIP_COMM_NODE_RANKS");
  const int ranks = given != NULL ? atoi(given) : 0;
  exchange_check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, comm.rank, MPI_INFO_NULL, &comm.local),
                 "MPI_Comm_split_type");
  if (ranks > 0) {
    MPI_Comm whole = comm.local;
    int position;
    exchange_check(MPI_Comm_rank(whole, &position), "MPI_Comm_rank");
    exchange_check(MPI_Comm_split(whole, position / ranks, comm.rank, &comm.local), "MPI_Comm_split");
    exchange_check(MPI_Comm_free(&whole), "MPI_Comm_free");
  }
  exchange_check(MPI_Comm_rank(comm.local, &comm.local_rank), "MPI_Comm_rank");
  exchange_check(MPI_Comm_size(comm.local, &comm.local_size), "MPI_Comm_size");
  exchange_check(MPI_Comm_split(MPI_COMM_WORLD, comm.local_rank, comm.rank, &comm.across), "MPI_Comm_split");
}

/* The shared window serves when every node has the same number of ranks, more than one, and memory to share; messages
 * serve otherwise. */
static void open_reductions(void) {
  int range[2] = {comm.local_size, -comm.local_size};
  exchange_check(MPI_Allreduce(MPI_IN_PLACE, range, 2, MPI_INT, MPI_MIN, MPI_COMM_WORLD), "MPI_Allreduce");
  exchange_open(&comm.world, MPI_COMM_WORLD);
  exchange_open(&comm.nodes, comm.across);
  int usable = range[0] == -range[1] && comm.local_size > 1;
  if (usable)
    usable = comm.has_window = window_open(&comm.window, comm.local);
  exchange_check(MPI_Allreduce(MPI_IN_PLACE, &usable, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD), "MPI_Allreduce");
  if (comm.has_window && !usable)
    window_close(&comm.window);
  comm.has_window = usable != 0;
}

/* MEMCLIP_COMM_DEVICES overrules what the library says of itself. */
static void find_devices(void) {
  const char *given = getenv("MEMCLIP_COMM_DEVICES");
  int reaches = 0;
#ifdef HAVE_MPI_CUDA_QUERY
  reaches = MPIX_Query_cuda_support();
#endif
  if (given && *given)
    reaches = atoi(given);
  exchange_check(MPI_Allreduce(MPI_IN_PLACE, &reaches, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD), "MPI_Allreduce");
  comm.reaches_devices = reaches != 0;
}

/* What follows the version is about the package and its build. */
static void find_library(void) {
  int length;
  exchange_check(MPI_Get_library_version(comm.library, &length), "MPI_Get_library_version");
  comm.library[strcspn(comm.library, ",\n")] = '\0';
}

enum status comm_start(int *argc, char ***argv) {
  int provided = MPI_THREAD_SINGLE, size = 1;
  if (MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS)
    return error_set(STATUS_SYSTEM, "MPI cannot start");
  exchange_check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  exchange_check(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size");
  enum status status = launch_check_alone(size);
  if (status == STATUS_OK && size > 1 && provided < MPI_THREAD_SERIALIZED)
    status = error_set(
        STATUS_SYSTEM,
        "this MPI library allows no calls from a second thread (MPI_THREAD_SERIALIZED): use one built with threads");
  if (status != STATUS_OK) {
    MPI_Finalize();
    return status;
  }
  comm.size = size;
  exchange_check(MPI_Comm_rank(MPI_COMM_WORLD, &comm.rank), "MPI_Comm_rank");
  fatal_install(comm.rank, abort_all);
  find_library();
  if (size > 1) {
    split_into_nodes();
    open_reductions();
    find_devices();
    queue_start();
  }
  return STATUS_OK;
}

void comm_stop(void) {
  int started = 0, finished = 0;
  MPI_Initialized(&started);
  MPI_Finalized(&finished);
  if (!started || finished)
    return;
  if (comm.size > 1) {
    queue_stop();
    if (comm.has_window)
      window_close(&comm.window);
    exchange_close(&comm.nodes);
    exchange_close(&comm.world);
    exchange_check(MPI_Comm_free(&comm.across), "MPI_Comm_free");
    exchange_check(MPI_Comm_free(&comm.local), "MPI_Comm_free");
  }
  MPI_Finalize();
  fatal_install(comm.rank, NULL);
  comm.rank = comm.local_rank = 0;
  comm.size = comm.local_size = 1;
}

int comm_rank(void) {
  return comm.rank;
}
int comm_size(void) {
  return comm.size;
}
const char *comm_library(void) {
  return comm.library;
}
int comm_local_rank(void) {
  return comm.local_rank;
}
int comm_local_size(void) {
  return comm.local_size;
}

const char *comm_host(void) {
  if (comm.host[0] == '\0' && gethostname(comm.host, sizeof comm.host - 1) != 0)
    snprintf(comm.host, sizeof comm.host, "unknown host");
  return comm.host;
}

static void run_and_wait(const struct job *job) {
  queue_wait(queue_submit(job));
}

static void run_barrier(const struct job *job) {
  (void)job;
  MPI_Request request;
  exchange_check(MPI_Ibarrier(MPI_COMM_WORLD, &request), "MPI_Ibarrier");
  exchange_await(&request);
}

void comm_barrier(void) {
  if (comm.size > 1)
    run_and_wait(&(struct job){.run = run_barrier});
}

static void broadcast(char *data, size_t bytes, int root) {
  for (size_t done = 0; done < bytes; done += CALL_BYTES_MAX) {
    const size_t part = bytes - done < CALL_BYTES_MAX ? bytes - done : CALL_BYTES_MAX;
    MPI_Request request;
    exchange_check(MPI_Ibcast(data + done, (int)part, MPI_BYTE, root, MPI_COMM_WORLD, &request), "MPI_Ibcast");
    exchange_await(&request);
  }
}

static void run_broadcast(const struct job *job) {
  broadcast(job->data, job->count, job->root);
}

void comm_broadcast(void *data, size_t bytes, int root) {
  if (comm.size > 1)
    run_and_wait(&(struct job){.run = run_broadcast, .data = data, .count = bytes, .root = root});
}

static void run_all_reduce(const struct job *job) {
  if (comm.has_window)
    window_reduce(&comm.window, comm.nodes.size > 1 ? &comm.nodes : NULL, job->data, job->count, job->dtype,
                  job->operation);
  else
    exchange_reduce(&comm.world, job->data, job->count, job->dtype, job->operation);
}

void comm_all_reduce(void *data, size_t count, enum dtype dtype, enum comm_operation operation) {
  if (comm.size > 1)
    run_and_wait(
        &(struct job){.run = run_all_reduce, .data = data, .count = count, .dtype = dtype, .operation = operation});
}

bool comm_reaches_devices(void) {
  return comm.reaches_devices;
}

static void run_call(const struct job *job) {
  job->call(job->data);
}

void comm_run(void (*run)(void *context), void *context) {
  if (comm.size > 1)
    run_and_wait(&(struct job){.run = run_call, .call = run, .data = context});
}

static void run_scatter(const struct job *job) {
  exchange_scatter(&comm.world, job->source, job->data, job->slice, job->count);
}

void comm_scatter(const void *data, void *parts, size_t slice, size_t bytes) {
  if (comm.size > 1)
    run_and_wait(&(struct job){.run = run_scatter, .source = data, .data = parts, .slice = slice, .count = bytes});
}

static void run_spread(const struct job *job) {
  exchange_spread(&comm.world, job->data, job->slice, job->count);
}

void comm_spread(void *data, size_t slice, size_t bytes) {
  if (comm.size > 1)
    run_and_wait(&(struct job){.run = run_spread, .data = data, .slice = slice, .count = bytes});
}

static void run_started_all_reduce(const struct job *job) {
  const double start = clock_seconds();
  run_all_reduce(job);
  atomic_store(&comm.busy_seconds,
               atomic_load(&comm.busy_seconds) + clock_seconds() - start); /* this thread alone writes it */
}

void comm_all_reduce_start(float *data, size_t count) {
  if (comm.size > 1)
    comm.last_started = queue_submit(&(struct job){
        .run = run_started_all_reduce, .data = data, .count = count, .dtype = DTYPE_F32, .operation = COMM_SUM});
}

double comm_all_reduce_wait(void) {
  const double start = clock_seconds();
  if (comm.size > 1)
    queue_wait(comm.last_started);
  return clock_seconds() - start;
}

double comm_all_reduce_busy_seconds(void) {
  return atomic_load(&comm.busy_seconds);
}

/* Every rank's part by one broadcast each: for what a single call cannot count. */
static void gather_by_broadcasts(const struct job *job, size_t (*bytes_of)(const struct job *job, int rank)) {
  char *all = job->data;
  for (int r = 0; r < comm.size; r++) {
    const size_t bytes = bytes_of(job, r);
    if (r == comm.rank && (const void *)all != job->source)
      memcpy(all, job->source, bytes);
    broadcast(all, bytes, r);
    all += bytes;
  }
}

static size_t even_bytes(const struct job *job, int rank) {
  (void)rank;
  return job->count;
}

static size_t varied_bytes(const struct job *job, int rank) {
  return job->sizes[rank];
}

static void run_all_gather(const struct job *job) {
  char *place = (char *)job->data + (size_t)comm.rank * job->count;
  const size_t total = job->count * (size_t)comm.size;
  if (total > CALL_BYTES_MAX) {
    gather_by_broadcasts(job, even_bytes);
    return;
  }
  const void *source = job->source == place ? MPI_IN_PLACE : job->source;
  const int bytes = (int)job->count;
  MPI_Request request;
  exchange_check(MPI_Iallgather(source, bytes, MPI_BYTE, job->data, bytes, MPI_BYTE, MPI_COMM_WORLD, &request),
                 "MPI_Iallgather");
  exchange_await(&request);
}

void comm_all_gather(const void *mine, void *all, size_t bytes_per_rank) {
  if (comm.size > 1)
    run_and_wait(&(struct job){.run = run_all_gather, .data = all, .source = mine, .count = bytes_per_rank});
  else if (mine != all)
    memcpy(all, mine, bytes_per_rank);
}

static void run_all_gather_varied(const struct job *job) {
  gather_by_broadcasts(job, varied_bytes);
}

void comm_all_gather_varied(const void *mine, void *all, const size_t *bytes) {
  if (comm.size > 1)
    run_and_wait(&(struct job){.run = run_all_gather_varied, .data = all, .source = mine, .sizes = bytes});
  else if (mine != all)
    memcpy(all, mine, bytes[0]);
}

enum status comm_agree(enum status mine) {
  if (comm.size == 1)
    return mine;
  int32_t failing = mine == STATUS_OK ? comm.size : comm.rank;
  comm_all_reduce(&failing, 1, DTYPE_I32, COMM_MIN);
  if (failing == comm.size)
    return STATUS_OK;
  struct {
    int32_t status;
    char message[MESSAGE_BYTES];
  } failure = {.status = mine};
  if (failing == comm.rank && failing == 0)
    snprintf(failure.message, sizeof failure.message, "%s", error_message());
  else if (failing == comm.rank) /* rank 0 found nothing wrong: where it is wrong is part of the message */
    snprintf(failure.message, sizeof failure.message, "rank %d on %s: %s", comm.rank, comm_host(), error_message());
  comm_broadcast(&failure, sizeof failure, failing);
  return error_set((enum status)failure.status, "%s", failure.message);
}

/* Reductions by messages, for ranks that share no memory. Every rank receives its slice from all others, reduces it in
 * rank order and gives the result to all: as little traffic as any algorithm, and bits that depend on nothing but the
 * number of ranks (MPI_Allreduce promises less). */
#ifndef MEMCLIP_COMM_EXCHANGE_H
#define MEMCLIP_COMM_EXCHANGE_H
#include "comm/comm.h"
#include <mpi.h>

struct exchange {
  MPI_Comm comm;
  int rank, size;
  char *scratch;                   /* what the other ranks sent */
  const void **parts;              /* [size] into scratch */
  int *slice_bytes, *slice_offset; /* [size] of the block in progress */
  int *part_bytes, *part_offset;   /* [size] of what arrives in scratch */
  MPI_Request *requests;           /* [2 * size] */
};

/* Collective over `comm`, which must outlive it. */
void exchange_open(struct exchange *exchange, MPI_Comm comm);
void exchange_close(struct exchange *exchange);
/* In place; any count. */
void exchange_reduce(struct exchange *exchange, void *data, size_t count, enum dtype dtype,
                     enum comm_operation operation);

/* By messages from rank to rank alone (comm.h). */
void exchange_scatter(struct exchange *exchange, const char *data, char *parts, size_t slice, size_t bytes);
void exchange_spread(struct exchange *exchange, char *data, size_t slice, size_t bytes);

/* fatal() with MPI's own words unless `code` is MPI_SUCCESS. */
void exchange_check(int code, const char *call);
/* Completes a request: watches for a moment, then naps for a share of the time already waited. Open MPI's own wait
 * would burn a core until the slowest rank arrives, and a thread that yields instead gets its turn from computing
 * threads only milliseconds later. */
void exchange_await(MPI_Request *request);
#endif

/* Collectives over MPI. One communication thread makes every MPI call between comm_start and comm_stop, so gradient
 * buckets are reduced while the backward pass runs (Open MPI does not progress a nonblocking reduction without calls);
 * ranks of one node reduce through a shared window first. Counts may exceed 2^31: calls are cut. Reductions add in rank
 * order within a node, then in node order: the same bits on every rank and every run. "Collective" means: every rank
 * calls it, in the same order. A program that never calls comm_start (tools) is one rank of one. */
#ifndef MEMCLIP_COMM_COMM_H
#define MEMCLIP_COMM_COMM_H
#include "base/dtype.h"
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum comm_operation { COMM_SUM, COMM_MAX, COMM_MIN };

/* MPI_Init_thread, the fatal hook (MPI_Abort), the communication thread. STATUS_SYSTEM when MPI cannot start, or when
 * every process believes it is alone although the launcher's environment says otherwise. Collective. */
enum status comm_start(int *argc, char ***argv);
void comm_stop(void); /* joins the thread, MPI_Finalize. Collective. */
int comm_rank(void);
int comm_size(void);
int comm_local_rank(void); /* among the ranks of this node */
int comm_local_size(void);
const char *comm_host(void);
const char *comm_library(void); /* "Open MPI v4.1.4"; "no MPI" before comm_start */
/* A sentence with the remedy when this rank is bound to one core beside idle ones (mpirun's default for few ranks),
 * else NULL. */
const char *comm_affinity_warning(void);

void comm_barrier(void);
void comm_broadcast(void *data, size_t bytes, int root);
/* In place; dtype F32, F64, I64 or I32. Waits. */
void comm_all_reduce(void *data, size_t count, enum dtype dtype, enum comm_operation operation);
/* `all` receives size * bytes_per_rank, in rank order; `mine` may be its own place in it. */
void comm_all_gather(const void *mine, void *all, size_t bytes_per_rank);
/* Ranks contribute different sizes: bytes[r] of rank r (the same array on all ranks). */
void comm_all_gather_varied(const void *mine, void *all, const size_t *bytes);

/* Whether MPI takes pointers to devices' memory (CUDA-aware, and knows it) on all ranks; MEMCLIP_COMM_DEVICES=0 or 1
 * overrules it. comm_scatter and comm_spread alone do, by messages from rank to rank: what Open MPI allows there beside
 * blocking collectives. Collective at comm_start. */
bool comm_reaches_devices(void);
/* Runs it on the communication thread, and waits: for libraries that MPI calls there and that want to be told. */
void comm_run(void (*run)(void *context), void *context);
/* Slice r of data[bytes], its bytes r * slice .. (r + 1) * slice - 1 as far as there are any, goes to rank r: parts
 * gets the slice of this rank from all ranks but itself, in rank order, without gaps (its own place is left). */
void comm_scatter(const void *data, void *parts, size_t slice, size_t bytes);
/* Every rank's slice of data[bytes], at its own place, goes to all. */
void comm_spread(void *data, size_t slice, size_t bytes);

/* Starts an in-place fp32 sum over all ranks and returns at once; data must stay untouched until the wait. Started in
 * the same order on all ranks. */
void comm_all_reduce_start(float *data, size_t count);
/* Waits for all started reductions; returns the seconds that this call had to wait (the part not hidden). */
double comm_all_reduce_wait(void);
double comm_all_reduce_busy_seconds(void); /* time that reductions took in all, since start */

/* All ranks leave with the same status: the lowest failing rank's, whose message is recorded on every rank
 * (error_message), with the rank and its host where rank 0 is not among them. Collective. */
enum status comm_agree(enum status mine);
#endif

/* Reductions among the ranks of one node through memory they share. A round of data travels in three steps: each rank
 * publishes the slices that others own, reduces the slice it owns straight from all ranks' memory in rank order, and
 * copies the others' results. The three steps of successive rounds overlap, so one barrier per round suffices. Waiting
 * ranks sleep (futex). */
#ifndef MEMCLIP_COMM_WINDOW_H
#define MEMCLIP_COMM_WINDOW_H
#include "comm/exchange.h"
#include <stdbool.h>

struct window {
  MPI_Win handle;
  int rank, size;
  char **base;        /* [size] each rank's segment as mapped here */
  const void **parts; /* [size] scratch of a reduction */
  size_t segment_bytes;
};

/* false on every rank when the node gives no shared memory (a small or missing /dev/shm). Collective over the ranks of
 * a node. */
bool window_open(struct window *window, MPI_Comm local);
void window_close(struct window *window);
/* In place; any count. With `across` (ranks of equal local rank on all nodes; NULL on a single node) the sum spans the
 * nodes: every rank of the node carries its slice over the network. */
void window_reduce(struct window *window, struct exchange *across, void *data, size_t count, enum dtype dtype,
                   enum comm_operation operation);
#endif

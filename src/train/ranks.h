/* How the numbers of all ranks' devices come together: gradients in reduce.c, features in contrastive.c. */
#ifndef MEMCLIP_TRAIN_RANKS_H
#define MEMCLIP_TRAIN_RANKS_H
#include "device/device.h"

enum ranks_path {
  RANKS_ON_HOST,    /* the devices' memory is the host's, or there is one rank */
  RANKS_BY_DEVICES, /* the devices do it among themselves */
  RANKS_BY_MPI,     /* MPI reads and writes the devices' memory */
  RANKS_STAGED      /* MPI does it in pinned memory of the host */
};
/* The first of devices, MPI and host that can do it on all ranks; the log says which and why. Joins the devices, once.
 * Collective. */
enum ranks_path ranks_join(struct device *device);
/* all[size * bytes] = every rank's mine[bytes], in rank order, both on the device, for what is enqueued from now on;
 * `mine` may be its own place in there. staging[size * bytes] on the host serves RANKS_ON_HOST and RANKS_STAGED.
 * Collective. */
void ranks_gather(struct device *device, enum ranks_path path, const void *mine, void *all, size_t bytes,
                  void *staging);
#endif

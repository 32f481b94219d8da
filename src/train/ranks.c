#include "train/ranks.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "report/report.h"
#include <string.h>

/* Whether each rank has a device of its own. Collective. */
static bool devices_differ(struct device *device) {
  uint8_t mine[DEVICE_ID_BYTES], *all = memory_allocate((size_t)comm_size() * DEVICE_ID_BYTES, "device identities");
  bool differ = true;
  device->op->identify(device, mine);
  comm_all_gather(mine, all, DEVICE_ID_BYTES);
  for (int a = 0; a < comm_size(); a++)
    for (int b = 0; b < a; b++)
      differ = differ && memcmp(all + a * DEVICE_ID_BYTES, all + b * DEVICE_ID_BYTES, DEVICE_ID_BYTES) != 0;
  memory_release(all);
  return differ;
}

/* Why the devices cannot is a message, not an error: MPI does it, too. Collective. */
static enum status join_devices(struct device *device) {
  uint8_t group[DEVICE_GROUP_BYTES] = {0};
  const struct device_collectives *collectives = device->collectives;
  TRY(comm_agree(collectives ? collectives->load(device)
                             : error_set(STATUS_SYSTEM, "the device has no collectives of its own")));
  if (!devices_differ(device))
    return error_set(STATUS_SYSTEM, "several ranks share a device");
  TRY(comm_agree(comm_rank() == 0 ? collectives->make_group(device, group) : STATUS_OK));
  comm_broadcast(group, sizeof group, 0);
  const enum status mine = collectives->join(device, group, comm_rank(), comm_size()), all = comm_agree(mine);
  if (all != STATUS_OK && mine == STATUS_OK)
    collectives->leave(device);
  return all;
}

static void enter_thread(void *context) {
  struct device *device = context;
  device->op->enter_thread(device);
}

enum ranks_path ranks_join(struct device *device) {
  if (device->memory_is_host || comm_size() == 1)
    return RANKS_ON_HOST;
  if (join_devices(device) == STATUS_OK) {
    report_message("gradients and features are exchanged by the devices among themselves");
    return RANKS_BY_DEVICES;
  }
  const bool aware = comm_reaches_devices();
  report_message("gradients are summed by MPI %s: %s", aware ? "in the devices' memory" : "through the host's memory",
                 error_message());
  if (aware)
    comm_run(enter_thread, device);
  return aware ? RANKS_BY_MPI : RANKS_STAGED;
}

static void gather_through_host(struct device *device, const void *mine, void *all, size_t bytes, char *staging) {
  char *place = staging + (size_t)comm_rank() * bytes;
  device->op->copy_out(device, place, mine, bytes);
  comm_all_gather(place, staging, bytes);
  device->op->copy_in(device, all, staging, (size_t)comm_size() * bytes);
}

void ranks_gather(struct device *device, enum ranks_path path, const void *mine, void *all, size_t bytes,
                  void *staging) {
  if (path == RANKS_BY_DEVICES) {
    device->collectives->all_gather(device, mine, all, bytes);
  } else if (path == RANKS_BY_MPI) {
    if (mine != (char *)all + (size_t)comm_rank() * bytes)
      device->op->copy(device, (char *)all + (size_t)comm_rank() * bytes, mine, bytes);
    device->op->synchronize(device);
    comm_spread(all, bytes, (size_t)comm_size() * bytes);
  } else {
    gather_through_host(device, mine, all, bytes, staging);
  }
}

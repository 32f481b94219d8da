/* Which device a name means. */
#include "device/device.h"
#include "device/cpu/cpu.h"
#include <string.h>

enum status device_open(const char *name, int threads, struct device **device) {
  if (strcmp(name, "cpu") == 0 || strcmp(name, "auto") == 0)
    return cpu_open(threads, device);
  if (strcmp(name, "cuda") == 0)
    return error_set(STATUS_SYSTEM, "device 'cuda': this build has no CUDA device; use device 'cpu'");
  return error_set(STATUS_INPUT, "device '%s' is unknown; use 'auto', 'cpu' or 'cuda'", name);
}

void device_close(struct device *device) {
  if (device)
    device->op->close(device);
}

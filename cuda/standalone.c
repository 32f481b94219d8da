/* device_open for the stand-alone programs, which hold the CUDA device themselves and no other. */
#include "device/device.h"
#include "device/module.h"
#include <string.h>

enum status device_open(const char *name, int threads, struct device **device) {
  (void)threads;
  if (strcmp(name, "cuda") != 0)
    return error_set(STATUS_INPUT, "device '%s': this program has the device 'cuda' only", name);
  return memclip_device_module_open(sizeof(struct device_operations), 0, device);
}

void device_close(struct device *device) {
  if (device)
    device->op->close(device);
}

/* device_open for the stand-alone programs, which hold the CUDA device themselves, and the CPU to compare with. */
#include "device/cpu/cpu.h"
#include "device/device.h"
#include "device/module.h"
#include <string.h>

enum status device_open(const char *name, int threads, struct device **device) {
  if (strcmp(name, "cpu") == 0)
    return cpu_open(threads, device);
  if (strcmp(name, "cuda") != 0)
    return error_set(STATUS_INPUT, "device '%s' is unknown; use 'cpu' or 'cuda'", name);
  return memclip_device_module_open(sizeof(struct device_operations), 0, device);
}

void device_close(struct device *device) {
  if (device)
    device->op->close(device);
}

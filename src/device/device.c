/* Which device a name means. The CUDA device is a module of its own, opened at run time, so that one installation
 * starts on nodes with and without CUDA's libraries; this is the one file that knows whether it was built. */
#include <config.h>
#include "device/device.h"
#include "device/cpu/cpu.h"
#include "device/module.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef HAVE_CUDA
#define CUDA_MODULE MEMCLIP_MODULEDIR "/memclip_cuda.so"
#else
#define CUDA_MODULE ""
#endif

/* MEMCLIP_CUDA_MODULE names another file, for a build that is not installed. It stays open: a driver does not like to
 * be unloaded. */
static enum status open_cuda(int local_rank, struct device **device) {
  const char *wanted = getenv("MEMCLIP_CUDA_MODULE"), *path = wanted && *wanted ? wanted : CUDA_MODULE;
  if (!*path)
    return error_set(STATUS_SYSTEM, "this build has no CUDA device: configure --with-cuda, or use device 'cpu'");
  void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!module)
    return error_set(STATUS_SYSTEM, "the CUDA module does not open here: %s; use device 'cpu'", dlerror());
  device_module_open *open_module;
  *(void **)&open_module = dlsym(module, DEVICE_MODULE_OPEN);
  if (!open_module)
    return error_set(STATUS_SYSTEM, "%s is no device module of memclip", path);
  return open_module(sizeof(struct device_operations), local_rank, device);
}

/* The CPU, with the reason why in its description. */
static enum status open_any(int threads, int local_rank, struct device **device) {
  if (open_cuda(local_rank, device) == STATUS_OK)
    return STATUS_OK;
  char reason[sizeof(*device)->description];
  snprintf(reason, sizeof reason, "%s", error_message());
  TRY(cpu_open(threads, device));
  char *description = (*device)->description;
  const size_t used = strlen(description);
  snprintf(description + used, sizeof(*device)->description - used, "; the CPU, since %s", reason);
  return STATUS_OK;
}

enum status device_open_ranked(const char *name, int threads, int local_rank, struct device **device) {
  if (strcmp(name, "cpu") == 0)
    return cpu_open(threads, device);
  if (strcmp(name, "auto") == 0)
    return open_any(threads, local_rank, device);
  if (strcmp(name, "cuda") != 0)
    return error_set(STATUS_INPUT, "device '%s' is unknown; use 'auto', 'cpu' or 'cuda'", name);
  const enum status status = open_cuda(local_rank, device);
  return status == STATUS_OK ? STATUS_OK : error_context(status, "device 'cuda'");
}

enum status device_open(const char *name, int threads, struct device **device) {
  return device_open_ranked(name, threads, 0, device);
}

void device_close(struct device *device) {
  if (device)
    device->op->close(device);
}

/* What a device module (memclip_cuda.so) offers to device.c, which opens it at run time: one function. A module is made
 * for one build of the program: the size of the table tells the two apart. */
#ifndef MEMCLIP_DEVICE_MODULE_H
#define MEMCLIP_DEVICE_MODULE_H
#include "device/device.h"

/* local_rank: the rank within its node, which chooses among several GPUs. STATUS_SYSTEM when there is none. */
typedef enum status device_module_open(size_t operations_bytes, int local_rank, struct device **device);
#define DEVICE_MODULE_OPEN "memclip_device_module_open"
device_module_open memclip_device_module_open;

#endif

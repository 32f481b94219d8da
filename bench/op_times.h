/* Where the time of a step goes: a device's operations, timed one by one and added up by class. */
#ifndef MEMCLIP_BENCH_OP_TIMES_H
#define MEMCLIP_BENCH_OP_TIMES_H
#include "device/device.h"
#include <stdio.h>

enum op_class {
  OP_PRODUCT,
  OP_ATTENTION,
  OP_MEMORY,
  OP_ACTIVATION,
  OP_NORM,
  OP_EMBEDDING,
  OP_LOSS,
  OP_OPTIMIZER,
  OP_COPY,
  OP_CLASSES
};
struct op_times {
  double seconds[OP_CLASSES], flops[OP_CLASSES];
};

/* From here until the detaching every operation of the device is waited for and counted. One device at a time. */
void op_times_attach(struct device *device);
struct op_times op_times_detach(struct device *device);
const char *op_class_name(enum op_class class);
double op_times_flops(const struct op_times *times);
/* One line per class with a share of `seconds`; what is in no operation is the host's. */
void op_times_print(const struct op_times *times, double seconds, FILE *to);
#endif

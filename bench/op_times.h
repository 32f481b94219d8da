/* Where the time of a step goes: a device's operations, timed one by one and added up by class. */
#ifndef MEMCLIP_BENCH_OP_TIMES_H
#define MEMCLIP_BENCH_OP_TIMES_H
#include "bench/op_limits.h"
#include <stdio.h>

struct op_times {
  double seconds[OP_CLASSES], flops[OP_CLASSES], limit[OP_CLASSES]; /* limit: seconds at the rates */
};

/* From here until the detaching every operation of the device is waited for and counted. One device at a time. */
void op_times_attach(struct device *device, struct op_rates rates);
struct op_times op_times_detach(struct device *device);
const char *op_class_name(enum op_class class);
double op_times_flops(const struct op_times *times);
double op_times_limit(const struct op_times *times);
/* One line per class with a share of `seconds`; what is in no operation is the host's. */
void op_times_print(const struct op_times *times, double seconds, FILE *to);
#endif

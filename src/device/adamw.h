/* What AdamW needs to know of a step, made on the host in fp64. */
#ifndef MEMCLIP_DEVICE_ADAMW_H
#define MEMCLIP_DEVICE_ADAMW_H
#include "device/device.h"

/* Rate, decay and bias corrections of step `step`, from 1 on; all else is 0. */
struct adamw_group adamw_group_at(int64_t step, double lr, double decay, double beta1, double beta2);
#endif

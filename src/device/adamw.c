#include "device/adamw.h"
#include <math.h>

struct adamw_group adamw_group_at(int64_t step, double lr, double decay, double beta1, double beta2) {
  return (struct adamw_group){.shrink = (float)(1 - lr * decay),
                              .rate = (float)(lr / (1 - pow(beta1, (double)step))),
                              .root_scale = (float)(1 / sqrt(1 - pow(beta2, (double)step)))};
}

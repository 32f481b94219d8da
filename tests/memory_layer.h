/* The memory layer (product keys, values or experts, SwiLU, value projection, scalar gate) put together from device
 * operations in fp32, for tests that know its numbers. A parameter that is NULL switches its part off. */
#ifndef MEMCLIP_TESTS_MEMORY_LAYER_H
#define MEMCLIP_TESTS_MEMORY_LAYER_H
#include "device/device.h"

enum memory_parameter {
  QUERY_WEIGHT,
  QUERY_BIAS,
  KEYS,
  VALUES,
  SWILU_WEIGHT,
  SWILU_BIAS,
  OUTPUT_WEIGHT,
  OUTPUT_BIAS,
  GATE_WEIGHT,
  GATE_BIAS,
  EXPERTS_IN,
  EXPERTS_OUT,
  MEMORY_PARAMETERS
};

struct memory_layer {
  struct device *device;
  int64_t rows, width, heads, n_keys, knn, half, value_width;
  float *parameter[MEMORY_PARAMETERS], *gradient[MEMORY_PARAMETERS];
  float *x, *y, *dy, *dx;
  int32_t *index;
  float *weight;
  float *queries, *m, *g, *u, *o, *s, *z, *dweight, *dqueries, *dm, *dg, *du, *d_o; /* made by memory_layer_run */
};

/* y, index, weight, dx and the gradients (added) from x, dy and the parameters. */
void memory_layer_run(struct memory_layer *layer);

static inline float *memory_layer_floats(struct device *device, int64_t count) {
  return device->op->allocate(device, (size_t)count * sizeof(float), "memory layer");
}
#endif

/* What gemm.c asks of oneDNN; onednn.c is the only file that includes its header. Both its 2.x and 3.x interfaces are
 * supported. Primitives are made once per shape and kept; so are packed copies of weights, until forgotten. */
#ifndef MEMCLIP_DEVICE_CPU_ONEDNN_H
#define MEMCLIP_DEVICE_CPU_ONEDNN_H
#include "device/cpu/gemm.h"

struct onednn;
struct onednn *onednn_open(enum isa isa, int threads);
void onednn_close(struct onednn *library);
void onednn_forget_weights(struct onednn *library);
/* Packed copies of weights within these bytes are made anew before their next use. */
void onednn_weights_written(struct onednn *library, const void *from, size_t bytes);
const char *onednn_version(void);

/* As gemm_multiply, and as gemm_add_outer but written, for a dtype that the processor multiplies. `scratch` is asked
 * for `bytes` of work space. */
struct onednn_scratch {
  void *(*take)(void *owner, size_t bytes);
  void *owner;
};
/* Whether a kept b is packed as it is now, so that b itself is not read. */
bool onednn_is_packed(struct onednn *library, const struct gemm *call);
void onednn_multiply(struct onednn *library, const struct gemm *call, struct onednn_scratch scratch);
void onednn_multiply_outer(struct onednn *library, const struct gemm_outer *call, struct onednn_scratch scratch);
#endif

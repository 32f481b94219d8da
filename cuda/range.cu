/* Named ranges of time for nsys and ncu: NVTX, header only, which does nothing where no tool listens. */
#include "cuda/cuda.h"
#include <nvtx3/nvToolsExt.h>

static nvtxDomainHandle_t domain(void) {
  static const nvtxDomainHandle_t memclip = nvtxDomainCreateA("memclip");
  return memclip;
}

void runtime_range_begin(struct cuda_device *cuda, const char *name) {
  (void)cuda;
  nvtxEventAttributes_t attributes = {};
  attributes.version = NVTX_VERSION;
  attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  attributes.messageType = NVTX_MESSAGE_TYPE_ASCII;
  attributes.message.ascii = name;
  nvtxDomainRangePushEx(domain(), &attributes);
}

void runtime_range_end(struct cuda_device *cuda) {
  (void)cuda;
  nvtxDomainRangePop(domain());
}

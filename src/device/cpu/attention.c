/* Softmax attention: one (sample, head) at a time per thread. */
#include "device/cpu/attention.h"
#include "device/cpu/cpu.h"
#include <omp.h>

typedef void attention_kernel(const struct attention *call, int64_t sample, int64_t head, float *work);

static void for_each_head(struct device *self, const struct attention *call, int64_t floats, attention_kernel *kernel) {
  float *scratch =
      cpu_scratch(cpu_from_device(self), CPU_SCRATCH_THREADS, (size_t)(floats * self->threads) * sizeof *scratch);
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t item = 0; item < call->batch * call->heads; item++)
    kernel(call, item / call->heads, item % call->heads, scratch + floats * omp_get_thread_num());
}

void cpu_attention(struct device *self, const struct attention *call) {
  struct attention_layout layout = attention_layout(call);
  for_each_head(self, call, attention_forward_floats(&layout),
                cpu_from_device(self)->product_kernel->cpu_kernel_attention);
}

void cpu_attention_backward(struct device *self, const struct attention *call) {
  struct attention_layout layout = attention_layout(call);
  for_each_head(self, call, attention_backward_floats(&layout),
                cpu_from_device(self)->product_kernel->cpu_kernel_attention_backward);
}

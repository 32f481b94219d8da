/* Matrix products in the arithmetic that the processor has. */
#include "device/cpu/gemm.h"
#include "device/cpu/onednn.h"

static void *take_work_space(void *owner, size_t bytes) {
  return cpu_scratch(owner, CPU_SCRATCH_GEMM, bytes);
}

/* rows of `columns` bf16 elements, `stride` apart, to dense fp32. */
static const float *widen(struct cpu_device *cpu, enum cpu_scratch_slot slot, const bf16 *from, int64_t rows,
                          int64_t columns, int64_t stride) {
  float *to = cpu_scratch(cpu, slot, (size_t)(rows * columns) * sizeof *to);
#pragma omp parallel for num_threads(cpu->device.threads) if (rows * columns > 16384)
  for (int64_t row = 0; row < rows; row++)
    cpu->kernel->cpu_kernel_widen(to + row * columns, from + row * stride, columns);
  return to;
}

static void narrow(struct cpu_device *cpu, bf16 *to, const float *from, int64_t rows, int64_t columns, int64_t stride) {
#pragma omp parallel for num_threads(cpu->device.threads) if (rows * columns > 16384)
  for (int64_t row = 0; row < rows; row++)
    cpu->kernel->cpu_kernel_narrow(to + row * stride, from + row * columns, columns);
}

static int64_t or_dense(int64_t stride, int64_t columns) {
  return stride ? stride : columns;
}

/* bf16 operands multiplied in fp32. Of a kept b the widened, packed copy is kept. */
static void multiply_widened(struct cpu_device *cpu, const struct gemm *call) {
  int64_t b_rows = call->b_transposed ? call->n : call->k, b_columns = call->b_transposed ? call->k : call->n;
  struct gemm wide = *call;
  wide.dtype = wide.c_dtype = DTYPE_F32;
  wide.b_key = call->b;
  wide.a = widen(cpu, CPU_SCRATCH_OPERAND_A, call->a, call->m, call->k, or_dense(call->a_stride, call->k));
  wide.a_stride = wide.b_stride = 0;
  if (!call->b_kept || !onednn_is_packed(cpu->onednn, &wide))
    wide.b = widen(cpu, CPU_SCRATCH_OPERAND_B, call->b, b_rows, b_columns, or_dense(call->b_stride, b_columns));
  if (call->c_dtype == DTYPE_BF16) {
    int64_t stride = or_dense(call->c_stride, call->n);
    float *c = cpu_scratch(cpu, CPU_SCRATCH_RESULT, (size_t)(call->m * call->n) * sizeof *c);
    if (call->accumulate)
      widen(cpu, CPU_SCRATCH_RESULT, call->c, call->m, call->n, stride);
    wide.c = c;
    wide.c_stride = 0;
    onednn_multiply(cpu->onednn, &wide, (struct onednn_scratch){take_work_space, cpu});
    narrow(cpu, call->c, c, call->m, call->n, stride);
  } else {
    onednn_multiply(cpu->onednn, &wide, (struct onednn_scratch){take_work_space, cpu});
  }
}

void gemm_multiply(struct cpu_device *cpu, const struct gemm *call) {
  if (call->m == 0 || call->n == 0)
    return;
  if (call->dtype == DTYPE_BF16 && cpu->device.bf16_is_storage_only)
    multiply_widened(cpu, call);
  else
    onednn_multiply(cpu->onednn, call, (struct onednn_scratch){take_work_space, cpu});
}

static void add_sweep(struct cpu_device *cpu, float *y, const float *x, int64_t count) {
  enum { PIECE = 16384 };
#pragma omp parallel for num_threads(cpu->device.threads) if (count > PIECE)
  for (int64_t first = 0; first < count; first += PIECE)
    cpu->kernel->cpu_kernel_add_row(y + first, DTYPE_F32, x + first, count - first < PIECE ? count - first : PIECE);
}

void gemm_add_outer(struct cpu_device *cpu, const struct gemm_outer *call) {
  if (call->rows == 0)
    return;
  struct gemm_outer wide = *call;
  if (call->dtype == DTYPE_BF16 && cpu->device.bf16_is_storage_only) {
    wide.dtype = DTYPE_F32;
    wide.dy = widen(cpu, CPU_SCRATCH_OPERAND_A, call->dy, call->rows, call->n, call->n);
    wide.x = widen(cpu, CPU_SCRATCH_OPERAND_B, call->x, call->rows, call->k, call->k);
  }
  wide.c = cpu_scratch(cpu, CPU_SCRATCH_GRADIENT, (size_t)(call->n * call->k) * sizeof *wide.c);
  onednn_multiply_outer(cpu->onednn, &wide, (struct onednn_scratch){take_work_space, cpu});
  add_sweep(cpu, call->c, wide.c, call->n * call->k);
}

/* The CPU device. Work is split over OpenMP threads in files compiled for the baseline; the inner loops lie in kernels
 * (kernels.h) compiled once per instruction set and chosen at start; matrix products go to oneDNN (gemm.h).
 * Rows are cut into chunks whose number does not depend on the threads, so sums are the same for any thread count. */
#ifndef MEMCLIP_DEVICE_CPU_CPU_H
#define MEMCLIP_DEVICE_CPU_CPU_H
#include "base/isa.h"
#include "device/cpu/kernels.h"
#include "device/device.h"

/* Scratch blocks by use: two blocks that live at the same time have different slots. */
enum cpu_scratch_slot {
  CPU_SCRATCH_GEMM,      /* oneDNN's own */
  CPU_SCRATCH_OPERAND_A, /* operands and results widened to fp32 where bf16 is storage only */
  CPU_SCRATCH_OPERAND_B,
  CPU_SCRATCH_RESULT,
  CPU_SCRATCH_GRADIENT, /* a weight gradient before it is added */
  CPU_SCRATCH_COLUMNS,  /* column sums of chunks of rows */
  CPU_SCRATCH_SCORES,
  CPU_SCRATCH_THREADS, /* per-thread work space */
  CPU_SCRATCH_INDEX,
  CPU_SCRATCH_ROWS, /* values per row */
  CPU_SCRATCH_COUNT
};

struct onednn;

struct cpu_device {
  struct device device; /* first */
  enum isa isa;
  const struct cpu_kernels *kernel;
  const struct cpu_kernels *product_kernel; /* for attention and product keys */
  struct onednn *onednn;
  struct cpu_scratch {
    void *block;
    size_t bytes;
  } scratch[CPU_SCRATCH_COUNT];
};

static inline struct cpu_device *cpu_from_device(struct device *device) {
  return (struct cpu_device *)device;
}

enum status cpu_open(int threads, struct device **device);

/* The fastest on this machine, or MEMCLIP_ISA when that is set. STATUS_SYSTEM when it asks for more, STATUS_INPUT
 * when it is unknown. */
enum status cpu_detect_isa(enum isa *isa);
const struct cpu_kernels *cpu_isa_kernels(enum isa isa);
/* The kernels whose small products of bf16 operands are the fastest here; those of `isa` itself when MEMCLIP_ISA is
 * set. */
const struct cpu_kernels *cpu_isa_product_kernels(enum isa isa);

/* At least `bytes` of 64-byte aligned memory that keeps its contents until the slot is asked for more than ever before.
 */
void *cpu_scratch(struct cpu_device *cpu, enum cpu_scratch_slot slot, size_t bytes);

/* Told by every operation that may write a weight: packed copies of it are made anew. */
void cpu_weights_written(struct cpu_device *cpu, const void *from, size_t bytes);

/* rows cut into `count` chunks of `rows` rows each, the last one shorter; independent of the number of threads. */
struct cpu_chunks {
  int64_t rows, count;
};
struct cpu_chunks cpu_chunks(int64_t rows);
/* The rows of chunk number `chunk` of `total`: *first and the return value, their count. */
static inline int64_t cpu_chunk_range(struct cpu_chunks chunks, int64_t total, int64_t chunk, int64_t *first) {
  *first = chunk * chunks.rows;
  int64_t left = total - *first;
  return left < chunks.rows ? left : chunks.rows;
}
/* out[columns] += the sums over the chunks of partial[count, stride], in order of the chunks. Nothing when out is NULL.
 */
void cpu_add_chunks(struct cpu_device *cpu, const float *partial, int64_t count, int64_t stride, int64_t columns,
                    float *out);
/* out[columns] += column sums of x[rows, columns]. */
void cpu_sum_columns(struct cpu_device *cpu, enum dtype dtype, const void *x, int64_t rows, int64_t columns,
                     float *out);

static inline float cpu_load(enum dtype dtype, const void *x, int64_t i) {
  return dtype == DTYPE_BF16 ? bf16_to_float(((const bf16 *)x)[i]) : ((const float *)x)[i];
}
static inline void cpu_store(enum dtype dtype, void *x, int64_t i, float value) {
  if (dtype == DTYPE_BF16)
    ((bf16 *)x)[i] = bf16_from_float(value);
  else
    ((float *)x)[i] = value;
}
static inline const void *cpu_at(enum dtype dtype, const void *x, int64_t i) {
  return (const char *)x + i * (dtype == DTYPE_BF16 ? 2 : 4);
}
static inline void *cpu_at_writable(enum dtype dtype, void *x, int64_t i) {
  return (char *)x + i * (dtype == DTYPE_BF16 ? 2 : 4);
}

/* The operations, one group per file. */
void cpu_fill(struct device *self, float *x, int64_t count, float value);
void cpu_cast(struct device *self, void *to, enum dtype to_dtype, const void *from, enum dtype from_dtype,
              int64_t count);
void cpu_add(struct device *self, float *y, const float *x, double scale, int64_t count);
void cpu_clamp(struct device *self, float *x, int64_t count, float low, float high);
void cpu_adamw(struct device *self, const struct adamw *call);
void cpu_adamw_squares(struct device *self, const struct adamw *call);
void cpu_linear(struct device *self, const struct linear *call);
void cpu_linear_data_gradient(struct device *self, const struct linear_data_gradient *call);
void cpu_linear_weight_gradient(struct device *self, const struct linear_weight_gradient *call);
void cpu_activation(struct device *self, const struct activation_call *call);
void cpu_activation_backward(struct device *self, const struct activation_call *call);
void cpu_norm(struct device *self, const struct norm *call);
void cpu_norm_backward(struct device *self, const struct norm_backward *call);
void cpu_attention(struct device *self, const struct attention *call);
void cpu_attention_backward(struct device *self, const struct attention *call);
void cpu_patchify(struct device *self, const struct patchify *call);
void cpu_image_embed(struct device *self, const struct image_embed *call);
void cpu_image_embed_backward(struct device *self, const struct image_embed *call);
void cpu_text_embed(struct device *self, const struct text_embed *call);
void cpu_text_embed_backward(struct device *self, const struct text_embed *call);
void cpu_memory_select(struct device *self, const struct memory_select *call);
void cpu_memory_select_backward(struct device *self, const struct memory_select *call);
void cpu_memory_read(struct device *self, const struct memory_read *call);
void cpu_memory_read_backward(struct device *self, const struct memory_read *call);
void cpu_expert_read(struct device *self, const struct expert_read *call);
void cpu_expert_read_backward(struct device *self, const struct expert_read *call);
void cpu_dropout(struct device *self, const struct dropout *call);
void cpu_gate(struct device *self, const struct gate *call);
void cpu_gate_backward(struct device *self, const struct gate *call);
void cpu_token_gate(struct device *self, const struct token_gate *call);
void cpu_token_gate_backward(struct device *self, const struct token_gate *call);
void cpu_pool(struct device *self, const struct pool *call);
void cpu_pool_backward(struct device *self, const struct pool *call);
void cpu_pool_average(struct device *self, const struct pool_average *call);
void cpu_pool_average_backward(struct device *self, const struct pool_average *call);
void cpu_normalize(struct device *self, const struct normalize *call);
void cpu_normalize_backward(struct device *self, const struct normalize *call);
void cpu_distill(struct device *self, const struct distill *call);
void cpu_contrastive_normalisers(struct device *self, const struct contrastive *call);
void cpu_contrastive(struct device *self, const struct contrastive *call);

#endif

/* The inner loops that are compiled once per instruction set. A kernel runs on one thread over a range of rows or
 * elements. Its file is compiled into libcpu_generic.a, libcpu_avx2.a ... with CPU_ISA set to that name and that set's
 * flags; CPU_KERNEL puts the name of the set behind the function's. The list below is the only one: it makes the
 * prototypes, the table's type and the tables. Kernels call no function outside their own set's files, since the linker
 * may keep any one copy of a shared inline function. */
#ifndef MEMCLIP_DEVICE_CPU_KERNELS_H
#define MEMCLIP_DEVICE_CPU_KERNELS_H
#include "device/device.h"

/* Where a chunk of rows sums what norm_backward adds to parameters' gradients; each [width]. */
struct norm_sums {
  float *weight, *bias, *branch, *gamma;
};

/* What AdamW's formula needs of a step, in fp32. */
struct adamw_factors {
  float gradient_scale, beta1, rest1, beta2, rest2, shrink, rate, root_scale, eps;
  bool bf16_state;
};

/* X(name, arguments). Counts and firsts are elements or rows as named; partial sums are ADDED to. */
#define CPU_KERNELS(X)                                                                                                 \
  X(cpu_kernel_widen, (float *to, const bf16 *from, int64_t count))                                                    \
  X(cpu_kernel_narrow, (bf16 * to, const float *from, int64_t count))                                                  \
  X(cpu_kernel_add_row, (float *sum, enum dtype dtype, const void *row, int64_t count))                                \
  X(cpu_kernel_add_scaled, (float *y, const float *x, float scale, int64_t count))                                     \
  X(cpu_kernel_sum_rows, (float *to, enum dtype dtype, const void *a, const float *b, int64_t count))                  \
  X(cpu_kernel_activation, (const struct activation_call *call, int64_t first, int64_t count))                         \
  X(cpu_kernel_activation_backward, (const struct activation_call *call, int64_t row, float *sum))                     \
  X(cpu_kernel_norm, (const struct norm *call, int64_t first, int64_t count))                                          \
  X(cpu_kernel_norm_backward,                                                                                          \
    (const struct norm_backward *call, int64_t first, int64_t count, const struct norm_sums *sums))                    \
  X(cpu_kernel_adamw, (const struct adamw *call, const struct adamw_factors *factors, int64_t first, int64_t count))   \
  X(cpu_kernel_sum_of_squares, (const float *x, int64_t count, double *result))                                        \
  X(cpu_kernel_join_row, (const float *score, int64_t count, float scale, float *max, float *sum))                     \
  X(cpu_kernel_join_columns,                                                                                           \
    (const float *score, int64_t rows, int64_t stride, int64_t count, float scale, float *max, float *sum))            \
  X(cpu_kernel_softmax_both, (float *score, int64_t count, float scale, float row_lse, const float *column_lse))       \
  X(cpu_kernel_attention, (const struct attention *call, int64_t sample, int64_t head, float *work))                   \
  X(cpu_kernel_attention_backward, (const struct attention *call, int64_t sample, int64_t head, float *work))          \
  X(cpu_kernel_bag_sum, (const struct cpu_bag *bag, int64_t first, int64_t rows))                                      \
  X(cpu_kernel_bag_dot, (const struct cpu_bag *bag, int64_t first, int64_t rows))                                      \
  X(cpu_kernel_bag_scatter,                                                                                            \
    (const struct cpu_bag *bag, const int32_t *first, const struct cpu_bag_entry *entry, int64_t slot))                \
  X(cpu_kernel_memory_pack_keys, (const struct memory_select *call, int64_t half, float *packed))                      \
  X(cpu_kernel_memory_select,                                                                                          \
    (const struct memory_select *call, int64_t head, int64_t first, const float *packed, float *work))                 \
  X(cpu_kernel_expert_weights, (const float *weight, const float *z, float *to, int64_t count))                        \
  X(cpu_kernel_expert_gradients, (const float *weight, const float *z, float *dweight, float *dz, int64_t count))      \
  X(cpu_kernel_gate, (const struct gate *call, int64_t first, int64_t count))                                          \
  X(cpu_kernel_gate_backward, (const struct gate *call, int64_t first, int64_t rows, float *bias_sum))                 \
  X(cpu_kernel_token_gate, (const struct token_gate *call, int64_t row))                                               \
  X(cpu_kernel_token_gate_backward, (const struct token_gate *call, int64_t row, float *sum))

struct cpu_bag;
struct cpu_bag_entry;

#define CPU_KERNEL_FIELD(name, arguments) void(*name) arguments;
struct cpu_kernels {
  CPU_KERNELS(CPU_KERNEL_FIELD)
};

#ifdef CPU_ISA
#define CPU_KERNEL_PASTE(name, isa) name##_##isa
#define CPU_KERNEL_JOIN(name, isa) CPU_KERNEL_PASTE(name, isa)
#define CPU_KERNEL(name) CPU_KERNEL_JOIN(name, CPU_ISA)
#define CPU_KERNEL_PROTOTYPE(name, arguments) void CPU_KERNEL(name) arguments;
CPU_KERNELS(CPU_KERNEL_PROTOTYPE)
#endif

extern const struct cpu_kernels cpu_kernels_generic, cpu_kernels_avx2, cpu_kernels_avx512, cpu_kernels_avx512bf16;

#endif

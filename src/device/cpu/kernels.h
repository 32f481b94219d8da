/* The inner loops that are compiled once per instruction set. A kernel runs on one thread over a range of rows or elements.
 * Its file is compiled into libcpu_generic.a, libcpu_avx2.a ... with CPU_ISA set to that name and that set's flags; CPU_KERNEL puts the
 * name of the set behind the function's. The list below is the only one: it makes the prototypes, the table's type and the tables.
 * Kernels call no function outside their own set's files, since the linker may keep any one copy of a shared inline function. */
#ifndef MEMCLIP_DEVICE_CPU_KERNELS_H
#define MEMCLIP_DEVICE_CPU_KERNELS_H
#include "device/device.h"

/* X(name, arguments). Counts and firsts are elements or rows as named; partial sums are ADDED to. */
#define CPU_KERNELS(X)                                                                                                                     \
  X(cpu_kernel_widen, (float *to, const bf16 *from, int64_t count))                                                                        \
  X(cpu_kernel_narrow, (bf16 * to, const float *from, int64_t count))                                                                      \
  X(cpu_kernel_add_row, (float *sum, enum dtype dtype, const void *row, int64_t count))                                                    \
  X(cpu_kernel_attention, (const struct attention *call, int64_t sample, int64_t head, float *work))                                       \
  X(cpu_kernel_attention_backward, (const struct attention *call, int64_t sample, int64_t head, float *work))                              \
  X(cpu_kernel_bag_sum, (const struct cpu_bag *bag, int64_t first, int64_t rows))                                                          \
  X(cpu_kernel_bag_dot, (const struct cpu_bag *bag, int64_t first, int64_t rows))                                                          \
  X(cpu_kernel_bag_scatter, (const struct cpu_bag *bag, const int32_t *first, const struct cpu_bag_entry *entry, int64_t slot))            \
  X(cpu_kernel_memory_pack_keys, (const struct memory_select *call, int64_t half, float *packed))                                          \
  X(cpu_kernel_memory_select, (const struct memory_select *call, int64_t head, int64_t first, const float *packed, float *work))           \
  X(cpu_kernel_gate, (const struct gate *call, int64_t first, int64_t count))                                                              \
  X(cpu_kernel_gate_backward, (const struct gate *call, int64_t first, int64_t rows, float *bias_sum))                                     \
  X(cpu_kernel_token_gate, (const struct token_gate *call, int64_t row))                                                                   \
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

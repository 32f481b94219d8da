/* The table of one instruction set's kernels. */
#include "device/cpu/kernels.h"

#define CPU_KERNEL_ENTRY(name, arguments) .name = CPU_KERNEL(name),
const struct cpu_kernels CPU_KERNEL(cpu_kernels) = {CPU_KERNELS(CPU_KERNEL_ENTRY)};

/* Which instruction set the CPU device takes its kernels from. */
#include <config.h>
#include "device/cpu/cpu.h"

#ifdef HAVE_X86_KERNELS
const struct cpu_kernels *cpu_isa_kernels(enum isa isa) {
  static const struct cpu_kernels *const tables[ISA_COUNT] = {&cpu_kernels_generic, &cpu_kernels_avx2,
                                                              &cpu_kernels_avx512, &cpu_kernels_avx512bf16};
  return tables[isa];
}

/* Attention and product keys use no AMX tiles, so on Intel's processors, tiles or not, they are faster with widened
 * operands. */
const struct cpu_kernels *cpu_isa_product_kernels(enum isa isa) {
  __builtin_cpu_init();
  return isa == ISA_AVX512BF16 && !isa_is_forced() && __builtin_cpu_is("intel") ? &cpu_kernels_avx512
                                                                                : cpu_isa_kernels(isa);
}

/* Intel's processors multiply bf16 quickly in AMX tiles only: without them their AVX512-BF16 products reach about 60 %
 * of the fp32 rate (78 against 142 GFLOP/s on a core of Sapphire Rapids whose virtual machine hides AMX), so fp32
 * arithmetic is chosen there. */
static enum isa preferred(enum isa best) {
  __builtin_cpu_init();
  bool slow = __builtin_cpu_is("intel") && !__builtin_cpu_supports("amx-bf16");
  return best == ISA_AVX512BF16 && slow ? ISA_AVX512 : best;
}
#else
const struct cpu_kernels *cpu_isa_kernels(enum isa isa) {
  (void)isa;
  return &cpu_kernels_generic;
}

const struct cpu_kernels *cpu_isa_product_kernels(enum isa isa) {
  return cpu_isa_kernels(isa);
}

static enum isa preferred(enum isa best) {
  return best;
}
#endif

enum status cpu_detect_isa(enum isa *isa) {
  TRY(isa_choose(isa));
  if (!isa_is_forced())
    *isa = preferred(*isa);
  return STATUS_OK;
}

/* Which instruction set the kernels are taken from. */
#include <config.h>
#include "device/cpu/cpu.h"
#include <stdlib.h>
#include <string.h>

static const char *const isa_names[CPU_ISA_COUNT] = {"generic", "avx2", "avx512", "avx512bf16"};

const char *cpu_isa_name(enum cpu_isa isa) {
  return isa_names[isa];
}

#ifdef HAVE_X86_KERNELS
const struct cpu_kernels *cpu_isa_kernels(enum cpu_isa isa) {
  static const struct cpu_kernels *const tables[CPU_ISA_COUNT] = {&cpu_kernels_generic, &cpu_kernels_avx2,
                                                                  &cpu_kernels_avx512, &cpu_kernels_avx512bf16};
  return tables[isa];
}

/* Attention and product keys use no AMX tiles, so on Intel's processors, tiles or not, they are faster with widened
 * operands. */
const struct cpu_kernels *cpu_isa_product_kernels(enum cpu_isa isa) {
  const char *wanted = getenv("MEMCLIP_ISA");
  bool forced = wanted && *wanted;
  __builtin_cpu_init();
  return isa == CPU_ISA_AVX512BF16 && !forced && __builtin_cpu_is("intel") ? &cpu_kernels_avx512 : cpu_isa_kernels(isa);
}

static enum cpu_isa isa_of_machine(void) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
    return CPU_ISA_GENERIC;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return CPU_ISA_AVX2;
  return __builtin_cpu_supports("avx512bf16") ? CPU_ISA_AVX512BF16 : CPU_ISA_AVX512;
}

/* Intel's processors multiply bf16 quickly in AMX tiles only: without them their AVX512-BF16 products reach about 60 %
 * of the fp32 rate (78 against 142 GFLOP/s on a core of Sapphire Rapids whose virtual machine hides AMX), so fp32
 * arithmetic is chosen there. */
static enum cpu_isa isa_preferred(enum cpu_isa best) {
  bool slow = __builtin_cpu_is("intel") && !__builtin_cpu_supports("amx-bf16");
  return best == CPU_ISA_AVX512BF16 && slow ? CPU_ISA_AVX512 : best;
}
#else
const struct cpu_kernels *cpu_isa_kernels(enum cpu_isa isa) {
  (void)isa;
  return &cpu_kernels_generic;
}

const struct cpu_kernels *cpu_isa_product_kernels(enum cpu_isa isa) {
  return cpu_isa_kernels(isa);
}

static enum cpu_isa isa_of_machine(void) {
  return CPU_ISA_GENERIC;
}

static enum cpu_isa isa_preferred(enum cpu_isa best) {
  return best;
}
#endif

enum status cpu_detect_isa(enum cpu_isa *isa) {
  enum cpu_isa best = isa_of_machine();
  *isa = isa_preferred(best);
  const char *wanted = getenv("MEMCLIP_ISA");
  if (!wanted || !*wanted)
    return STATUS_OK;
  for (int i = 0; i < CPU_ISA_COUNT; i++) {
    if (strcmp(wanted, isa_names[i]) != 0)
      continue;
    if (i > (int)best)
      return error_set(STATUS_SYSTEM, "MEMCLIP_ISA=%s, but this processor has no more than %s; unset MEMCLIP_ISA",
                       wanted, isa_names[best]);
    *isa = (enum cpu_isa)i;
    return STATUS_OK;
  }
  return error_set(STATUS_INPUT, "MEMCLIP_ISA=%s is unknown; use generic, avx2, avx512 or avx512bf16, or unset it",
                   wanted);
}

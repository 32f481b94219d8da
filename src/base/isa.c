#include "config.h"
#include "base/isa.h"
#include <stdlib.h>
#include <string.h>

static const char *const names[ISA_COUNT] = {"generic", "avx2", "avx512", "avx512bf16"};

const char *isa_name(enum isa isa) {
  return names[isa];
}

#ifdef HAVE_X86_KERNELS
enum isa isa_of_machine(void) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
    return ISA_GENERIC;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
    return ISA_AVX2;
#if defined __clang__ && __clang_major__ < 16 /* which do not know the name */
  return ISA_AVX512;
#else
  return __builtin_cpu_supports("avx512bf16") ? ISA_AVX512BF16 : ISA_AVX512;
#endif
}
#else
enum isa isa_of_machine(void) {
  return ISA_GENERIC;
}
#endif

static const char *wanted(void) {
  const char *name = getenv("MEMCLIP_ISA");
  return name ? name : "";
}

bool isa_is_forced(void) {
  return wanted()[0] != '\0';
}

enum status isa_choose(enum isa *isa) {
  *isa = isa_of_machine();
  if (!isa_is_forced())
    return STATUS_OK;
  for (int i = 0; i < ISA_COUNT; i++) {
    if (strcmp(wanted(), names[i]) != 0)
      continue;
    if (i > (int)*isa)
      return error_set(STATUS_SYSTEM, "MEMCLIP_ISA=%s, but this processor has no more than %s; unset MEMCLIP_ISA",
                       wanted(), names[*isa]);
    *isa = (enum isa)i;
    return STATUS_OK;
  }
  return error_set(STATUS_INPUT, "MEMCLIP_ISA=%s is unknown; use generic, avx2, avx512 or avx512bf16, or unset it",
                   wanted());
}

enum isa isa_best(void) {
  const enum isa best = isa_of_machine();
  for (int i = 0; i < (int)best; i++)
    if (strcmp(wanted(), names[i]) == 0)
      return (enum isa)i;
  return best;
}

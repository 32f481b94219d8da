/* Which instruction set the kernels are taken from: the processor's best, or the one that MEMCLIP_ISA names (generic,
 * avx2, avx512, avx512bf16). Device, pictures and metrics all choose by this. Without x86 kernels in the build it is
 * always generic. */
#ifndef MEMCLIP_BASE_ISA_H
#define MEMCLIP_BASE_ISA_H
#include "base/error.h"
#include <stdbool.h>

/* Each has all of those before it. avx2 includes FMA; avx512 is F, BW, DQ and VL. */
enum isa { ISA_GENERIC, ISA_AVX2, ISA_AVX512, ISA_AVX512BF16, ISA_COUNT };
const char *isa_name(enum isa isa);
enum isa isa_of_machine(void);
bool isa_is_forced(void); /* MEMCLIP_ISA is set */
/* What MEMCLIP_ISA names: STATUS_INPUT when it is unknown, STATUS_SYSTEM when this processor has less. Unset: the
 * machine's. */
enum status isa_choose(enum isa *isa);
/* The same for kernels that cannot fail: what isa_choose refuses, where the device is opened, counts as unset. */
enum isa isa_best(void);
#endif

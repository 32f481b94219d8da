/* The small files of numbers that open_clip computed: parity/fixtures.tar.gz, unpacked by the build. */
#ifndef MEMCLIP_TESTS_FIXTURE_H
#define MEMCLIP_TESTS_FIXTURE_H
#include "io/safetensors.h"

char *unpacked_path(const char *name); /* memory_release */

struct distance { /* norms; an error that is not a number stays one */
  double error, size;
};
/* Between `ours` and the tensor `name`, which is there whole or as what parity/make_parity.py calls its probe: sums
 * under signs, each as large for an error as the error is, and the norm. */
struct distance reference_distance(const struct safetensors *file, const char *name, const float *ours, int64_t count);
#endif

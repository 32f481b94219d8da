/* Ranges of the emulated device: each must end that begins. MEMCLIP_EMULATION_RANGES names a file that gets a line for
 * each, indented by how deep it lies. */
#include "cuda/cuda.h"
#include "emulation/private.h"
#include <stdio.h>
#include <stdlib.h>

static int depth;

void runtime_range_begin(struct cuda_device *cuda, const char *name) {
  (void)cuda;
  const char *path = getenv("MEMCLIP_EMULATION_RANGES");
  FILE *file = path && *path ? fopen(path, "a") : NULL;
  if (file) {
    fprintf(file, "%*s%s\n", depth, "", name);
    fclose(file);
  }
  depth++;
}

void runtime_range_end(struct cuda_device *cuda) {
  (void)cuda;
  if (depth-- == 0)
    fatal("emulation: a range ends that did not begin");
}

void emulation_close_ranges(void) {
  if (depth != 0)
    fatal("emulation: %d ranges did not end", depth);
}

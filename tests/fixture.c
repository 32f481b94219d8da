#include "fixture.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include <math.h>
#include <stdlib.h>

enum { SIGNS = 3, PROBE_NUMBERS = SIGNS + 1 };

char *unpacked_path(const char *name) {
  const char *build = getenv("builddir");
  return text_format("%s/tests/unpacked/%s", build ? build : ".", name);
}

static struct distance whole_distance(const float *theirs, const float *ours, int64_t count) {
  double error = 0, size = 0;
  for (int64_t i = 0; i < count; i++) {
    error += ((double)ours[i] - (double)theirs[i]) * ((double)ours[i] - (double)theirs[i]);
    size += (double)theirs[i] * (double)theirs[i];
  }
  return (struct distance){sqrt(error), sqrt(size)};
}

static struct distance probe_distance(const float *theirs, const float *ours, int64_t count) {
  double error = 0;
  for (uint32_t k = 0; k < SIGNS; k++) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
      sum += (uint32_t)(i + 1) * 2654435761u * (2 * k + 1) >> 31 ? -(double)ours[i] : (double)ours[i];
    error += (sum - (double)theirs[k]) * (sum - (double)theirs[k]) / SIGNS;
  }
  return (struct distance){sqrt(error), (double)theirs[SIGNS]};
}

struct distance reference_distance(const struct safetensors *file, const char *name, const float *ours, int64_t count) {
  char *probe_name = text_format("probe.%s", name);
  const struct tensor_entry *whole = safetensors_find(file, name),
                            *entry = whole ? whole : safetensors_find(file, probe_name);
  const int64_t numbers = whole ? count : PROBE_NUMBERS;
  float *theirs = memory_allocate((size_t)numbers * sizeof *theirs, "reference");
  if (!entry || tensor_entry_read(entry, DTYPE_F32, numbers, theirs) != STATUS_OK)
    fatal("%s is not among the reference's numbers, or of another size", name);
  const struct distance distance = (whole ? whole_distance : probe_distance)(theirs, ours, count);
  memory_release(theirs);
  memory_release(probe_name);
  return distance;
}

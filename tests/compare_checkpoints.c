/* compare_checkpoints A B BOUND: exit 0 when every tensor below /model and /optimizer differs by at most BOUND, relative to its size; 0 means equal to the bit. */
#include "base/memory.h"
#include "base/text.h"
#include "io/store.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double compare(struct store *a, struct store *b, const char *name) {
  enum dtype dtype;
  int axes;
  int64_t shape[TENSOR_AXES_MAX], count = 1;
  double difference = 0, size = 0;
  if (store_shape(a, name, &dtype, &axes, shape) != STATUS_OK)
    fatal("%s", error_message());
  for (int i = 0; i < axes; i++)
    count *= shape[i];
  float *left = memory_allocate((size_t)count * sizeof *left, "left"), *right = memory_allocate((size_t)count * sizeof *right, "right");
  if (store_read(a, name, DTYPE_F32, count, left) != STATUS_OK || store_read(b, name, DTYPE_F32, count, right) != STATUS_OK)
    fatal("%s", error_message());
  for (int64_t i = 0; i < count; i++) {
    difference += ((double)left[i] - (double)right[i]) * ((double)left[i] - (double)right[i]);
    size += (double)left[i] * (double)left[i];
  }
  memory_release(left);
  memory_release(right);
  return sqrt(difference / fmax(size, 1e-30));
}

int main(int argc, char **argv) {
  static const char *const groups[] = {"model", "optimizer"};
  struct store *a, *b;
  double worst = 0;
  char *worst_name = NULL;
  if (argc != 4)
    return 2;
  if (store_open(argv[1], &a) != STATUS_OK || store_open(argv[2], &b) != STATUS_OK)
    fatal("%s", error_message());
  for (int g = 0; g < 2; g++) {
    char **names;
    int64_t count;
    if (store_list(a, groups[g], &names, &count) != STATUS_OK)
      fatal("%s", error_message());
    for (int64_t i = 0; i < count; i++) {
      char *name = text_format("%s/%s", groups[g], names[i]);
      const double distance = compare(a, b, name);
      if (!(distance <= worst)) {
        worst = distance;
        memory_release(worst_name);
        worst_name = memory_copy_string(name, "name");
      }
      memory_release(name);
      memory_release(names[i]);
    }
    memory_release(names);
  }
  printf("largest relative difference %g (%s)\n", worst, worst_name ? worst_name : "none");
  store_close(a);
  store_close(b);
  memory_release(worst_name);
  return !(worst <= strtod(argv[3], NULL));
}

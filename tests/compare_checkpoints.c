/* compare_checkpoints A B BOUND [TENSOR]: exit 0 when the tensors below /model, and those below /optimizer, differ by
 * at most BOUND relative to their size, all of a group taken together; 0 means equal to the bit. (Not tensor by tensor:
 * the gradient of a key's bias is zero but for rounding, and AdamW makes full steps of rounding.) TENSOR: that one
 * alone, such as optimizer/exp_avg/logit_scale. */
#include "base/memory.h"
#include "base/text.h"
#include "io/store.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct sums {
  double difference, size;
};

static void compare(struct store *a, struct store *b, const char *name, struct sums *sums) {
  enum dtype dtype;
  int axes;
  int64_t shape[TENSOR_AXES_MAX], count = 1;
  if (store_shape(a, name, &dtype, &axes, shape) != STATUS_OK)
    fatal("%s", error_message());
  for (int i = 0; i < axes; i++)
    count *= shape[i];
  float *left = memory_allocate((size_t)count * sizeof *left, "left"),
        *right = memory_allocate((size_t)count * sizeof *right, "right");
  if (store_read(a, name, DTYPE_F32, count, left) != STATUS_OK ||
      store_read(b, name, DTYPE_F32, count, right) != STATUS_OK)
    fatal("%s", error_message());
  for (int64_t i = 0; i < count; i++) {
    sums->difference += ((double)left[i] - (double)right[i]) * ((double)left[i] - (double)right[i]);
    sums->size += (double)left[i] * (double)left[i];
  }
  memory_release(left);
  memory_release(right);
}

static double compare_group(struct store *a, struct store *b, const char *group) {
  struct sums sums = {0};
  char **names;
  int64_t count;
  if (store_list(a, group, &names, &count) != STATUS_OK)
    fatal("%s", error_message());
  for (int64_t i = 0; i < count; i++) {
    char *name = text_format("%s/%s", group, names[i]);
    compare(a, b, name, &sums);
    memory_release(name);
    memory_release(names[i]);
  }
  memory_release(names);
  return sqrt(sums.difference / fmax(sums.size, 1e-30));
}

static double compare_tensor(struct store *a, struct store *b, const char *name) {
  struct sums sums = {0};
  compare(a, b, name, &sums);
  return sqrt(sums.difference / fmax(sums.size, 1e-30));
}

int main(int argc, char **argv) {
  struct store *a, *b;
  if (argc != 4 && argc != 5)
    return 2;
  if (store_open(argv[1], &a) != STATUS_OK || store_open(argv[2], &b) != STATUS_OK)
    fatal("%s", error_message());
  const bool one = argc == 5;
  const double bound = strtod(argv[3], NULL),
               model = one ? compare_tensor(a, b, argv[4]) : compare_group(a, b, "model"),
               optimizer = one ? model : compare_group(a, b, "optimizer");
  printf("relative difference: weights %g, moments %g\n", model, optimizer);
  store_close(a);
  store_close(b);
  return !(model <= bound) || !(optimizer <= bound);
}

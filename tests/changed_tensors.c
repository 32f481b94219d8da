/* changed_tensors A B: the names of model tensors of checkpoint B that A does not hold with the same bits. */
#include "base/memory.h"
#include "base/text.h"
#include "io/store.h"
#include <stdio.h>
#include <string.h>

static float *read(struct store *store, const char *name, int64_t *count) {
  enum dtype dtype;
  int axes;
  int64_t shape[TENSOR_AXES_MAX];
  if (store_shape(store, name, &dtype, &axes, shape) != STATUS_OK)
    return NULL;
  *count = 1;
  for (int i = 0; i < axes; i++)
    *count *= shape[i];
  float *values = memory_allocate((size_t)*count * sizeof *values, "tensor");
  if (store_read(store, name, DTYPE_F32, *count, values) != STATUS_OK)
    fatal("%s", error_message());
  return values;
}

static bool changed(struct store *a, struct store *b, const char *name) {
  int64_t left_count = 0, right_count = 0;
  float *left = read(a, name, &left_count), *right = read(b, name, &right_count);
  const bool same = left && left_count == right_count && memcmp(left, right, (size_t)left_count * sizeof *left) == 0;
  memory_release(left);
  memory_release(right);
  return !same;
}

int main(int argc, char **argv) {
  struct store *a, *b;
  char **names;
  int64_t count;
  if (argc != 3)
    return 2;
  if (store_open(argv[1], &a) != STATUS_OK || store_open(argv[2], &b) != STATUS_OK ||
      store_list(b, "model", &names, &count) != STATUS_OK)
    fatal("%s", error_message());
  for (int64_t i = 0; i < count; i++) {
    char *name = text_format("model/%s", names[i]);
    if (changed(a, b, name))
      puts(names[i]);
    memory_release(name);
    memory_release(names[i]);
  }
  memory_release(names);
  store_close(a);
  store_close(b);
  return 0;
}

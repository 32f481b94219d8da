/* edit_checkpoint IN OUT ACTION NAME: copies an HDF5 file of ours with one change: `nan` puts a NaN into the dataset,
 * `shape` gives it one row more, `drop` leaves it out. The copy's checksums are right. Hard links become copies. */
#include "base/memory.h"
#include "base/text.h"
#include "io/store.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static enum status copy_text(struct store *from, struct store *to, const char *name) {
  char *text;
  TRY(store_read_text(from, name, &text));
  const enum status status = store_write_text(to, name, text);
  memory_release(text);
  return status;
}

static enum status copy(struct store *from, struct store *to, const char *name, const char *action) {
  enum dtype dtype;
  int axes;
  int64_t shape[TENSOR_AXES_MAX], count = 1;
  if (store_shape(from, name, &dtype, &axes, shape) != STATUS_OK)
    return copy_text(from, to, name);
  for (int i = 0; i < axes; i++)
    count *= shape[i];
  const int64_t row = axes > 0 && shape[0] > 0 ? count / shape[0] : 1;
  void *data = memory_allocate((size_t)(count + row) * dtype_size(dtype), "dataset");
  enum status status = store_read(from, name, dtype, count, data);
  if (strcmp(action, "nan") == 0)
    ((float *)data)[count / 2] = NAN;
  if (strcmp(action, "shape") == 0)
    shape[0]++;
  if (status == STATUS_OK)
    status = store_write(to, name, dtype, axes, shape, data);
  memory_release(data);
  return status;
}

static enum status edit(char **argv) {
  struct store *from, *to;
  char **names;
  int64_t count;
  enum status status = STATUS_OK;
  TRY(store_open(argv[1], &from));
  TRY(store_create(argv[2], &to));
  TRY(store_list(from, "", &names, &count));
  for (int64_t i = 0; i < count && status == STATUS_OK; i++) {
    char *name = names[i];
    name[strcspn(name, ".")] = '/';
    const bool chosen = strcmp(name, argv[4]) == 0;
    if (!chosen || strcmp(argv[3], "drop") != 0)
      status = copy(from, to, name, chosen ? argv[3] : "");
    memory_release(name);
  }
  memory_release(names);
  store_close(from);
  return status == STATUS_OK ? store_publish(to) : status;
}

int main(int argc, char **argv) {
  const enum status status = argc == 5 ? edit(argv) : error_set(STATUS_USAGE, "IN OUT ACTION NAME");
  if (status != STATUS_OK)
    fprintf(stderr, "%s\n", error_message());
  return (int)status;
}

#include "base/memory.h"
#include "base/text.h"
#include "io/store_private.h"
#include <string.h>

static enum status write_text(struct store *store, const char *name, const char *text) {
  const size_t length = strlen(text), bytes = length > 0 ? length : 1; /* the terminator of an empty text */
  hid_t type = store_string_type(bytes), space = H5Screate(H5S_SCALAR), dataset;
  const enum status status = store_write_checked(store, name, type, space, text, bytes, &dataset);
  if (dataset >= 0)
    H5Dclose(dataset);
  H5Sclose(space);
  H5Tclose(type);
  return status;
}

/* Strings of one length, that of the longest, padded with NULs: a damaged file of variable strings can crash HDF5. */
static enum status write_strings(struct store *store, const char *name, const char *const *strings, int64_t count) {
  const hsize_t length = (hsize_t)count;
  size_t longest = 1;
  for (int64_t i = 0; i < count; i++)
    longest = strlen(strings[i]) > longest ? strlen(strings[i]) : longest;
  char *bytes = memory_allocate((size_t)count * longest + 1, "strings being written");
  for (int64_t i = 0; i < count; i++)
    memcpy(bytes + (size_t)i * longest, strings[i], strlen(strings[i]));
  hid_t type = store_string_type(longest), space = H5Screate_simple(1, &length, NULL), dataset;
  const enum status status = store_write_checked(store, name, type, space, bytes, (size_t)count * longest, &dataset);
  if (dataset >= 0)
    H5Dclose(dataset);
  H5Sclose(space);
  H5Tclose(type);
  memory_release(bytes);
  return status;
}

static enum status read_variable(struct store *store, const char *name, hid_t dataset, hid_t type, char **strings,
                                 int64_t count) {
  char **words = memory_allocate((size_t)count * sizeof *words, "strings as read");
  hid_t space = H5Dget_space(dataset);
  enum status status = STATUS_OK;
  if (H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, words) < 0)
    status = store_fail(store, "read", name);
  for (int64_t i = 0; status == STATUS_OK && i < count; i++)
    strings[i] = memory_copy_string(words[i] != NULL ? words[i] : "", "string");
  H5Dvlen_reclaim(type, space, H5P_DEFAULT, words);
  H5Sclose(space);
  memory_release(words);
  return status;
}

/* Strings of `size` bytes end at a NUL or, padded with spaces, at the last other character. */
static enum status read_fixed(struct store *store, const char *name, hid_t dataset, hid_t type, char **strings,
                              int64_t count) {
  const size_t size = H5Tget_size(type);
  const bool spaces = H5Tget_strpad(type) == H5T_STR_SPACEPAD;
  char *bytes = memory_allocate((size_t)count * size, "strings as read");
  enum status status = STATUS_OK;
  if (H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes) < 0)
    status = store_fail(store, "read", name);
  for (int64_t i = 0; status == STATUS_OK && i < count; i++) {
    const char *start = bytes + (size_t)i * size;
    size_t length = strnlen(start, size);
    while (spaces && length > 0 && start[length - 1] == ' ')
      length--;
    strings[i] = memory_allocate(length + 1, "string");
    memcpy(strings[i], start, length);
  }
  memory_release(bytes);
  return status;
}

static enum status read_open(struct store *store, const char *name, hid_t dataset, char ***strings, int64_t *count) {
  int axes;
  int64_t shape[TENSOR_AXES_MAX];
  TRY(store_get_shape(store, name, dataset, &axes, shape, count));
  hid_t type = H5Dget_type(dataset);
  enum status status = STATUS_OK;
  *strings = NULL;
  if (type < 0 || H5Tget_class(type) != H5T_STRING)
    status = store_refuse(store, name, "its elements are not strings");
  if (status == STATUS_OK) {
    *strings = memory_allocate((size_t)*count * sizeof **strings, "strings");
    if (*count > 0)
      status =
          (H5Tis_variable_str(type) > 0 ? read_variable : read_fixed)(store, name, dataset, type, *strings, *count);
  }
  if (type >= 0)
    H5Tclose(type);
  if (status != STATUS_OK && *strings != NULL) {
    store_release_names(*strings, *count);
    *strings = NULL;
  }
  return status;
}

static enum status read_strings(struct store *store, const char *name, char ***strings, int64_t *count) {
  hid_t dataset = store_open_dataset(store, name);
  if (dataset < 0)
    return STATUS_INPUT;
  const enum status status = read_open(store, name, dataset, strings, count);
  H5Dclose(dataset);
  return status;
}

static enum status read_text(struct store *store, const char *name, char **text) {
  char **strings;
  int64_t count;
  TRY(read_strings(store, name, &strings, &count));
  enum status status = STATUS_OK;
  if (count == 1)
    *text = memory_copy_string(strings[0], "text");
  else
    status = store_refuse(store, name, "holds %lld strings, wanted is one text", (long long)count);
  store_release_names(strings, count);
  return status;
}

enum status store_write_text(struct store *store, const char *name, const char *text) {
  STORE_LOCKED(write_text(store, name, text));
}
enum status store_write_strings(struct store *store, const char *name, const char *const *strings, int64_t count) {
  STORE_LOCKED(write_strings(store, name, strings, count));
}
enum status store_read_text(struct store *store, const char *name, char **text) {
  STORE_LOCKED(read_text(store, name, text));
}
enum status store_read_strings(struct store *store, const char *name, char ***strings, int64_t *count) {
  STORE_LOCKED(read_strings(store, name, strings, count));
}

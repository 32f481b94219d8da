#define _GNU_SOURCE
#include "io/store_private.h"
#include "base/checksum.h"
#include "base/memory.h"
#include "base/text.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ATTRIBUTE_BYTES_MAX = 1 << 26, WRITE_BACK_BYTES = 32 << 20 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Lustre and NFS refuse locks; a file must not load code for its filters. */
static void start_library(void) {
  setenv("HDF5_USE_FILE_LOCKING", "FALSE", 1);
  H5dont_atexit(); /* a file that could not be written stays open and must not be tried again */
  if (H5open() < 0)
    fatal("HDF5 cannot start");
  H5PLset_loading_state(0);
}

const char *store_library(void) {
  static _Thread_local char text[64];
  unsigned major, minor, release;
  store_lock();
  H5get_libversion(&major, &minor, &release);
  store_unlock();
  snprintf(text, sizeof text, "HDF5 %u.%u.%u", major, minor, release);
  return text;
}

void store_lock(void) {
  pthread_once(&once, start_library);
  pthread_mutex_lock(&mutex);
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void store_unlock(void) {
  pthread_mutex_unlock(&mutex);
}

/* The innermost entry of HDF5's error stack says what happened; of a failed system call it quotes the system's message.
 */
static herr_t copy_innermost(unsigned position, const H5E_error2_t *error, void *out) {
  if (position == 0)
    *(char **)out = text_format("%s", error->desc != NULL ? error->desc : "no reason given");
  return 0;
}

static char *library_words(void) {
  char *words = NULL;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, copy_innermost, &words);
  if (words == NULL)
    return text_format("no reason given");
  char *quoted = strstr(words, "error message = '"),
       *end = quoted != NULL ? strchr(quoted += strlen("error message = '"), '\'') : NULL;
  if (end != NULL) {
    char *inner = text_format("%.*s", (int)(end - quoted), quoted);
    memory_release(words);
    return inner;
  }
  return words;
}

static enum status record(struct store *store, const char *message) {
  const enum status status = error_set(store->temporary != NULL ? STATUS_SYSTEM : STATUS_INPUT, "%s", message);
  if (store->temporary != NULL && store->failure == NULL)
    store->failure = memory_copy_string(error_message(), "store failure");
  return status;
}

enum status store_fail(struct store *store, const char *action, const char *name) {
  char *words = library_words();
  char *message = text_format("%s: cannot %s%s%s: %s", store->path, action, name != NULL ? " " : "",
                              name != NULL ? name : "", words);
  const enum status status = record(store, message);
  memory_release(message);
  memory_release(words);
  return status;
}

enum status store_refuse(struct store *store, const char *name, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *cause = text_format_list(format, arguments);
  va_end(arguments);
  char *message = text_format("%s: %s: %s", store->path, name, cause);
  const enum status status = record(store, message);
  memory_release(message);
  memory_release(cause);
  return status;
}

char *store_path_of(const char *name) {
  char *path = text_format("%s%s", name[0] == '/' ? "" : "/", name);
  char *rest = strchr(path + 1, '/');
  for (char *p = rest; p != NULL && *p != '\0'; p++)
    if (*p == '.')
      *p = '/';
  return path;
}

/* A link into another file is an error: a file speaks of itself alone. */
static herr_t refuse_external_link(const char *parent_file, const char *parent_group, const char *child_file,
                                   const char *child_object, unsigned *flags, hid_t access, void *unused) {
  (void)parent_file, (void)parent_group, (void)child_file, (void)child_object, (void)flags, (void)access, (void)unused;
  return -1;
}

hid_t store_access(hid_t property_class) {
  hid_t access = H5Pcreate(property_class);
  H5Pset_elink_cb(access, refuse_external_link, NULL);
  return access;
}

bool store_path_exists(struct store *store, const char *path) {
  hid_t access = store_access(H5P_LINK_ACCESS);
  char *prefix = memory_copy_string(path, "path");
  bool exists = path[0] == '/' && path[1] != '\0';
  for (char *p = prefix + 1; exists; p++) {
    if (*p != '/' && *p != '\0')
      continue;
    const char kept = *p;
    *p = '\0';
    exists = p[-1] != '/' && H5Lexists(store->file, prefix, access) > 0;
    *p = kept;
    if (kept == '\0')
      break;
  }
  memory_release(prefix);
  H5Pclose(access);
  return exists;
}

/* Virtual and externally stored datasets read other files; both are refused. */
static bool is_stored_here(hid_t dataset) {
  hid_t properties = H5Dget_create_plist(dataset);
  const bool here =
      properties >= 0 && H5Pget_layout(properties) != H5D_VIRTUAL && H5Pget_external_count(properties) == 0;
  if (properties >= 0)
    H5Pclose(properties);
  return here;
}

char *store_find_path(struct store *store, const char *name) {
  char *path = store_path_of(name);
  if (!store_path_exists(store, path)) {
    memory_release(path);
    path = text_format("%s%s", name[0] == '/' ? "" : "/", name);
    if (!store_path_exists(store, path)) {
      memory_release(path);
      return NULL;
    }
  }
  return path;
}

hid_t store_open_dataset(struct store *store, const char *name) {
  char *path = store_find_path(store, name);
  hid_t dataset = -1;
  if (path == NULL) {
    store_refuse(store, name, "there is no such dataset in the file");
  } else {
    hid_t access = store_access(H5P_DATASET_ACCESS);
    dataset = H5Dopen2(store->file, path, access);
    if (dataset < 0)
      store_fail(store, "open", name);
    H5Pclose(access);
  }
  memory_release(path);
  if (dataset >= 0 && !is_stored_here(dataset)) {
    H5Dclose(dataset);
    store_refuse(store, name, "its data lie in another file");
    return -1;
  }
  return dataset;
}

hid_t store_create_dataset(struct store *store, const char *name, hid_t type, hid_t space) {
  char *path = store_path_of(name);
  hid_t links = H5Pcreate(H5P_LINK_CREATE), properties = H5Pcreate(H5P_DATASET_CREATE);
  H5Pset_create_intermediate_group(links, 1);
  H5Pset_layout(properties, H5D_CONTIGUOUS);
  H5Pset_fill_time(properties, H5D_FILL_TIME_NEVER);
  H5Pset_obj_track_times(properties, 0); /* the same content gives the same bytes */
  H5Pset_attr_creation_order(properties, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  hid_t dataset = H5Dcreate2(store->file, path, type, space, links, properties, H5P_DEFAULT);
  if (dataset < 0)
    store_fail(store, "create", name);
  H5Pclose(properties);
  H5Pclose(links);
  memory_release(path);
  return dataset;
}

static enum status put_checksum(struct store *store, const char *name, hid_t dataset, uint32_t checksum) {
  hid_t space = H5Screate(H5S_SCALAR);
  hid_t attribute = H5Acreate2(dataset, "crc32c", H5T_STD_U32LE, space, H5P_DEFAULT, H5P_DEFAULT);
  enum status status = STATUS_OK;
  if (attribute < 0 || H5Awrite(attribute, H5T_NATIVE_UINT32, &checksum) < 0)
    status = store_fail(store, "write the checksum of", name);
  if (attribute >= 0)
    H5Aclose(attribute);
  H5Sclose(space);
  return status;
}

/* Lets the disk begin while the next tensors are still copied: the final fsync then finds little left to do. */
static void start_write_back(struct store *store, size_t bytes) {
  store->unsynced_bytes += (int64_t)bytes;
  if (store->unsynced_bytes < WRITE_BACK_BYTES)
    return;
#ifdef __linux__
  sync_file_range(store->descriptor, 0, 0, SYNC_FILE_RANGE_WRITE);
#endif
  store->unsynced_bytes = 0;
}

enum status store_write_checked(struct store *store, const char *name, hid_t type, hid_t space, const void *data,
                                size_t bytes, hid_t *dataset) {
  *dataset = -1;
  if (store->failure != NULL)
    return error_set(STATUS_SYSTEM, "%s", store->failure);
  *dataset = store_create_dataset(store, name, type, space);
  if (*dataset < 0)
    return STATUS_SYSTEM;
  enum status status = STATUS_OK;
  if (bytes > 0 && H5Dwrite(*dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
    status = store_fail(store, "write", name);
  if (status == STATUS_OK)
    status = put_checksum(store, name, *dataset, checksum_crc32c(0, data, bytes));
  start_write_back(store, bytes);
  if (status != STATUS_OK) {
    H5Dclose(*dataset);
    *dataset = -1;
  }
  return status;
}

bool store_get_checksum(hid_t dataset, uint32_t *checksum) {
  if (H5Aexists(dataset, "crc32c") <= 0)
    return false;
  hid_t attribute = H5Aopen(dataset, "crc32c", H5P_DEFAULT), space = attribute < 0 ? -1 : H5Aget_space(attribute);
  const bool got =
      space >= 0 && H5Sget_simple_extent_npoints(space) == 1 && H5Aread(attribute, H5T_NATIVE_UINT32, checksum) >= 0;
  if (space >= 0)
    H5Sclose(space);
  if (attribute >= 0)
    H5Aclose(attribute);
  return got;
}

hid_t store_string_type(size_t length) {
  hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, length > 0 ? length : 1);
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  H5Tset_cset(type, H5T_CSET_UTF8);
  return type;
}

enum status store_put_string(struct store *store, hid_t object, const char *key, const char *value) {
  hid_t type = store_string_type(strlen(value)), space = H5Screate(H5S_SCALAR);
  if (H5Aexists(object, key) > 0)
    H5Adelete(object, key);
  hid_t attribute = H5Acreate2(object, key, type, space, H5P_DEFAULT, H5P_DEFAULT);
  enum status status = STATUS_OK;
  if (attribute < 0 || H5Awrite(attribute, type, value) < 0)
    status = store_fail(store, "write the attribute", key);
  if (attribute >= 0)
    H5Aclose(attribute);
  H5Sclose(space);
  H5Tclose(type);
  return status;
}

static bool read_attribute_string(hid_t attribute, hid_t type, char **value) {
  if (H5Tget_class(type) != H5T_STRING)
    return false;
  if (H5Tis_variable_str(type) > 0) {
    char *words = NULL;
    if (H5Aread(attribute, type, &words) < 0 || words == NULL)
      return false;
    *value = memory_copy_string(words, "attribute");
    H5free_memory(words);
    return true;
  }
  if (H5Tget_size(type) > ATTRIBUTE_BYTES_MAX)
    return false;
  *value = memory_allocate(H5Tget_size(type) + 1, "attribute");
  if (H5Aread(attribute, type, *value) >= 0)
    return true;
  memory_release(*value);
  return false;
}

bool store_get_string(hid_t object, const char *key, char **value) {
  *value = NULL;
  if (H5Aexists(object, key) <= 0)
    return false;
  hid_t attribute = H5Aopen(object, key, H5P_DEFAULT);
  if (attribute < 0)
    return false;
  hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
  const bool got = type >= 0 && space >= 0 && H5Sget_simple_extent_npoints(space) == 1 &&
                   read_attribute_string(attribute, type, value);
  H5Sclose(space);
  H5Tclose(type);
  H5Aclose(attribute);
  return got;
}

#define _GNU_SOURCE
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/store_private.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  GROUP_DEPTH_MAX = 64,      /* of a file made by others */
  METADATA_BLOCK = 32 << 10, /* object headers lie together, in few writes */
  ALIGN_FROM = 1 << 20,      /* bytes from which a dataset starts on a page */
  PAGE = 4096,
  ATTRIBUTE_MAX = 60000
};

static struct store *make_store(const char *path) {
  struct store *store = memory_allocate(sizeof *store, "store");
  store->path = memory_copy_string(path, "store path");
  store->file = -1;
  store->descriptor = -1;
  return store;
}

static void release_store(struct store *store) {
  if (store->descriptor >= 0)
    close(store->descriptor);
  memory_release(store->temporary);
  memory_release(store->path);
  memory_release(store->failure);
  memory_release(store);
}

/* Objects of the 1.8 and 1.10 formats: their headers carry checksums, and every HDF5 since 1.10 reads them. */
static hid_t file_access(void) {
  hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V110);
  H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
  H5Pset_meta_block_size(access, METADATA_BLOCK);
  H5Pset_alignment(access, ALIGN_FROM, PAGE);
  return access;
}

static enum status create(const char *path, struct store **out) {
  struct store *store = make_store(path);
  store->temporary = text_format("%s.tmp.%ld", path, (long)getpid());
  hid_t access = file_access(), creation = H5Pcreate(H5P_FILE_CREATE);
  H5Pset_link_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  H5Pset_attr_creation_order(creation, H5P_CRT_ORDER_TRACKED | H5P_CRT_ORDER_INDEXED);
  store->file = H5Fcreate(store->temporary, H5F_ACC_TRUNC, creation, access);
  enum status status = STATUS_OK;
  if (store->file < 0)
    status = store_fail(store, "create", store->temporary);
  H5Pclose(creation);
  H5Pclose(access);
  if (status == STATUS_OK && (store->descriptor = open(store->temporary, O_WRONLY | O_CLOEXEC)) < 0)
    status = error_set(STATUS_SYSTEM, "cannot open %s: %s", store->temporary, strerror(errno));
  if (status == STATUS_OK) {
    *out = store;
  } else {
    unlink(store->temporary);
    release_store(store);
  }
  return status;
}

/* HDF5 cannot close a file whose last data it cannot write: it fails half-way, and crashes later. So the file is
 * emptied, which makes room on a full disk, and what the library still holds is written into it once more; if that
 * fails too, the handle stays open and forgotten. */
static void give_up(struct store *store) {
  unlink(store->temporary);
  const bool emptied = ftruncate(store->descriptor, 0) == 0;
  if (emptied && H5Fflush(store->file, H5F_SCOPE_LOCAL) >= 0)
    H5Fclose(store->file);
  store->file = -1;
}

static enum status publish(struct store *store) {
  enum status status = STATUS_OK;
  if (store->failure != NULL)
    status = error_set(STATUS_SYSTEM, "%s", store->failure);
  else if (H5Fflush(store->file, H5F_SCOPE_LOCAL) < 0)
    status = store_fail(store, "write", NULL);
  if (status != STATUS_OK)
    give_up(store);
  else if (H5Fclose(store->file) < 0)
    status = store_fail(store, "close", NULL);
  store->file = -1;
  return status;
}

static void close_file(struct store *store) {
  if (store->temporary != NULL)
    give_up(store);
  else
    H5Fclose(store->file);
  store->file = -1;
}

/* A FIFO or device would hang the reader. */
static enum status look_at(struct store *store) {
  struct stat information;
  if (stat(store->path, &information) != 0)
    return error_set(STATUS_INPUT, "cannot open %s: %s", store->path, strerror(errno));
  if (!S_ISREG(information.st_mode))
    return error_set(STATUS_INPUT, "%s is not a regular file", store->path);
  store->size_bytes = information.st_size;
  store->descriptor = open(store->path, O_RDONLY | O_CLOEXEC);
  if (store->descriptor < 0)
    return error_set(STATUS_INPUT, "cannot open %s: %s", store->path, strerror(errno));
  return STATUS_OK;
}

static enum status open_for_reading(const char *path, struct store **out) {
  struct store *store = make_store(path);
  enum status status = look_at(store);
  if (status == STATUS_OK && H5Fis_hdf5(path) <= 0)
    status = error_set(STATUS_INPUT, "%s is not an HDF5 file, or its beginning is damaged", path);
  if (status == STATUS_OK) {
    hid_t access = file_access();
    store->file = H5Fopen(path, H5F_ACC_RDONLY, access);
    if (store->file < 0)
      status = store_fail(store, "open the file, which is damaged or cut short", NULL);
    H5Pclose(access);
  }
  if (status == STATUS_OK)
    *out = store;
  else
    release_store(store);
  return status;
}

static enum status link_names(struct store *store, const char *name, const char *alias) {
  hid_t dataset = store_open_dataset(store, name);
  if (dataset < 0)
    return STATUS_SYSTEM;
  char *from = store_path_of(name), *to = store_path_of(alias), *before = NULL, *after;
  hid_t links = H5Pcreate(H5P_LINK_CREATE);
  H5Pset_create_intermediate_group(links, 1);
  enum status status = STATUS_OK;
  if (H5Lcreate_hard(store->file, from, store->file, to, links, H5P_DEFAULT) < 0)
    status = store_fail(store, "link", alias);
  after =
      store_get_string(dataset, "shared_by", &before) ? text_format("%s, %s", before, alias) : text_format("%s", alias);
  if (status == STATUS_OK)
    status = store_put_string(store, dataset, "shared_by", after);
  H5Pclose(links);
  H5Dclose(dataset);
  memory_release(before);
  memory_release(after);
  memory_release(from);
  memory_release(to);
  return status;
}

static bool has_dataset(struct store *store, const char *name) {
  char *path = store_find_path(store, name);
  bool has = false;
  if (path != NULL) {
    hid_t access = store_access(H5P_LINK_ACCESS), object = H5Oopen(store->file, path, access);
    H5Pclose(access);
    has = object >= 0 && H5Iget_type(object) == H5I_DATASET;
    if (object >= 0)
      H5Oclose(object);
  }
  memory_release(path);
  return has;
}

struct listing {
  char **names;
  int64_t count, capacity;
};

static void add_name(struct listing *list, const char *path) {
  if (list->count == list->capacity) {
    list->capacity = 2 * list->capacity + 16;
    list->names = memory_resize(list->names, (size_t)list->capacity * sizeof *list->names, "dataset names");
  }
  list->names[list->count++] = memory_copy_string(path, "dataset name");
}

/* H5Lvisit comes to every hard link, into each group once: cycles end. */
static herr_t visit_link(hid_t group, const char *path, const H5L_info_t *link, void *data) {
  int depth = 0;
  for (const char *p = path; *p != '\0'; p++)
    depth += *p == '/';
  if (depth > GROUP_DEPTH_MAX)
    return -1;
  if (link->type != H5L_TYPE_HARD)
    return 0;
  hid_t object = H5Oopen(group, path, H5P_DEFAULT);
  if (object < 0)
    return -1;
  if (H5Iget_type(object) == H5I_DATASET)
    add_name(data, path);
  H5Oclose(object);
  return 0;
}

void store_release_names(char **names, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    memory_release(names[i]);
  memory_release(names);
}

/* Files of others may not track the creation order: then by name. */
static H5_index_t index_of(hid_t group) {
  H5G_info_t information;
  hid_t properties = H5Gget_create_plist(group);
  unsigned order = 0;
  if (properties >= 0 && H5Gget_info(group, &information) >= 0)
    H5Pget_link_creation_order(properties, &order);
  if (properties >= 0)
    H5Pclose(properties);
  return (order & H5P_CRT_ORDER_TRACKED) != 0 ? H5_INDEX_CRT_ORDER : H5_INDEX_NAME;
}

enum status store_list_paths(struct store *store, const char *path, char ***names, int64_t *count) {
  struct listing list = {0};
  enum status status = STATUS_OK;
  if (path[1] == '\0' || store_path_exists(store, path)) {
    hid_t access = store_access(H5P_GROUP_ACCESS), object = H5Gopen2(store->file, path, access);
    if (object < 0 || H5Lvisit(object, index_of(object), H5_ITER_INC, visit_link, &list) < 0)
      status = store_fail(store, "list the group", path);
    if (object >= 0)
      H5Gclose(object);
    H5Pclose(access);
  }
  if (status != STATUS_OK) {
    store_release_names(list.names, list.count);
    return status;
  }
  *names = list.names;
  *count = list.count;
  return STATUS_OK;
}

static enum status list_names(struct store *store, const char *group, char ***names, int64_t *count) {
  char *path = store_path_of(group);
  enum status status = store_list_paths(store, path, names, count);
  memory_release(path);
  for (int64_t i = 0; status == STATUS_OK && i < *count; i++)
    for (char *p = (*names)[i]; *p != '\0'; p++)
      if (*p == '/')
        *p = '.';
  return status;
}

static enum status write_attribute(struct store *store, const char *key, const char *value) {
  if (strlen(value) > ATTRIBUTE_MAX)
    return store_refuse(store, key, "%zu bytes are too long for an attribute, which may have %d: write it as a text",
                        strlen(value), ATTRIBUTE_MAX);
  return store_put_string(store, store->file, key, value);
}

static enum status read_attribute(struct store *store, const char *key, char **value) {
  hid_t root = H5Gopen2(store->file, "/", H5P_DEFAULT);
  const bool got = root >= 0 && store_get_string(root, key, value);
  if (root >= 0)
    H5Gclose(root);
  return got ? STATUS_OK : store_refuse(store, key, "there is no such text attribute in the file");
}

enum status store_create(const char *path, struct store **store) {
  STORE_LOCKED(create(path, store));
}

static enum status publish_locked(struct store *store) {
  STORE_LOCKED(publish(store));
}

enum status store_publish(struct store *store) {
  enum status status = publish_locked(store);
  if (status == STATUS_OK)
    status = file_publish(store->temporary, store->path); /* minutes on a slow disk: outside the lock */
  if (status != STATUS_OK)
    unlink(store->temporary);
  release_store(store);
  return status;
}

void store_close(struct store *store) {
  if (store == NULL)
    return;
  store_lock();
  close_file(store);
  store_unlock();
  release_store(store);
}

enum status store_open(const char *path, struct store **store) {
  STORE_LOCKED(open_for_reading(path, store));
}
enum status store_link(struct store *store, const char *name, const char *alias) {
  STORE_LOCKED(link_names(store, name, alias));
}
enum status store_list(struct store *store, const char *group, char ***names, int64_t *count) {
  STORE_LOCKED(list_names(store, group, names, count));
}
enum status store_write_attribute(struct store *store, const char *key, const char *value) {
  STORE_LOCKED(write_attribute(store, key, value));
}
enum status store_read_attribute(struct store *store, const char *key, char **value) {
  STORE_LOCKED(read_attribute(store, key, value));
}

bool store_has(struct store *store, const char *name) {
  store_lock();
  const bool has = has_dataset(store, name);
  store_unlock();
  return has;
}

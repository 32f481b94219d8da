/* What the files of the store share: the open file, HDF5 behind one lock, its errors in our words, names as paths. */
#ifndef MEMCLIP_IO_STORE_PRIVATE_H
#define MEMCLIP_IO_STORE_PRIVATE_H
#include "io/store.h"
#include <hdf5.h>

struct store {
  char *path;
  char *temporary; /* what is being written, or NULL when reading */
  hid_t file;
  int descriptor;         /* the same file, for raw reads and early write-back */
  int64_t size_bytes;     /* of a file being read */
  int64_t unsynced_bytes; /* written since the last write-back was started */
  char *failure;          /* the message of the first failed write, after which nothing will be published */
};

/* Serial HDF5 may be built without threads, so every public function holds this lock while it runs. It also silences
 * HDF5's own messages.
 */
void store_lock(void);
void store_unlock(void);
#define STORE_LOCKED(call)                                                                                             \
  do {                                                                                                                 \
    store_lock();                                                                                                      \
    enum status locked_status_ = (call);                                                                               \
    store_unlock();                                                                                                    \
    return locked_status_;                                                                                             \
  } while (0)

/* "PATH: cannot ACTION NAME: HDF5's innermost words". Called before any other HDF5 call, each of which clears the
 * words. STATUS_SYSTEM for a file being written (which will not be published), else STATUS_INPUT. `name` may be NULL.
 */
enum status store_fail(struct store *store, const char *action, const char *name);
/* The same with the cause given. */
enum status store_refuse(struct store *store, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "model/visual.proj" -> "/model/visual/proj"; memory_release. */
char *store_path_of(const char *name);
/* That path if it exists, else the name as it is if that exists (a file of others may have dots in its names), else
 * NULL; memory_release.
 */
char *store_find_path(struct store *store, const char *name);
/* Access properties of a class of links (H5P_LINK_ACCESS, ...) that follow none into another file; H5Pclose. */
hid_t store_access(hid_t property_class);
/* Every link of the path exists and is none to another file. */
bool store_path_exists(struct store *store, const char *path);
/* Opens a dataset that lies in this file as plain numbers or strings; negative after store_fail or store_refuse. */
hid_t store_open_dataset(struct store *store, const char *name);
/* Elements, axes and lengths of a dataset, refused when its data are not all there. Strings count like elements. */
enum status store_get_shape(struct store *store, const char *name, hid_t dataset, int *axes,
                            int64_t shape[TENSOR_AXES_MAX], int64_t *elements);
/* Paths without the leading '/' of the datasets below a group, as store_list orders them. */
enum status store_list_paths(struct store *store, const char *group_path, char ***paths, int64_t *count);
void store_release_names(char **names, int64_t count);
/* A fixed-length UTF-8 type that holds `length` bytes. */
hid_t store_string_type(size_t length);
/* A new dataset with its groups; negative after store_fail. Contiguous. */
hid_t store_create_dataset(struct store *store, const char *name, hid_t type, hid_t space);
/* Creates the dataset and writes data of that type, with the CRC32C of its bytes as attribute. */
enum status store_write_checked(struct store *store, const char *name, hid_t type, hid_t space, const void *data,
                                size_t bytes, hid_t *dataset);
bool store_get_checksum(hid_t dataset, uint32_t *checksum);
/* A short string attribute of an object. Reading: false when there is none. */
enum status store_put_string(struct store *store, hid_t object, const char *key, const char *value);
bool store_get_string(hid_t object, const char *key, char **value);
#endif

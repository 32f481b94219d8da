/* Named tensors and texts in an HDF5 file (interface.md "HDF5 files"): little-endian IEEE, contiguous, the CRC32C of
 * its bytes as attribute `crc32c` of every dataset, creation order tracked, 1.10 format; dots of a
 * tensor's name become groups below a prefix. Not collective: one rank calls; its threads may. A file being written is
 * a temporary beside the final name until store_publish. Reading: STATUS_INPUT for what is missing, damaged or
 * misshapen; files of others may lack attributes and checksums, be compressed, and have any integer width; links into
 * other files are refused. Writing: STATUS_SYSTEM; after one failure all later calls fail with its message. */
#ifndef MEMCLIP_IO_STORE_H
#define MEMCLIP_IO_STORE_H
#include "base/dtype.h"
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

enum { TENSOR_AXES_MAX = 8 };
struct store;

const char *store_library(void); /* "HDF5 1.10.8" */
enum status store_create(const char *path, struct store **store);
/* fsync, rename to the path given to store_create, fsync the directory, close. On failure the temporary is removed. */
enum status store_publish(struct store *store);
/* Closes (NULL is allowed); of a file that was being written, removes the temporary. */
void store_close(struct store *store);
enum status store_open(const char *path, struct store **store);

/* name: "model/visual.conv1.weight": what is before the first '/' is the top group, dots of the rest become groups.
 * dtype BF16 is stored widened to fp32 with attribute stored_as = "bf16". */
enum status store_write(struct store *store, const char *name, enum dtype dtype, int axes, const int64_t *shape,
                        const void *data);
/* The same dataset of fp32 data whose numbers are bf16: they are wide already. */
enum status store_write_bf16_numbers(struct store *store, const char *name, int axes, const int64_t *shape,
                                     const float *data);
/* A hard link `alias` to the dataset `name`; the alias is recorded in the dataset's attribute "shared_by". */
enum status store_link(struct store *store, const char *name, const char *alias);
enum status store_write_text(struct store *store, const char *name, const char *text);
/* A list of UTF-8 strings as one dataset; each takes the room of the longest. */
enum status store_write_strings(struct store *store, const char *name, const char *const *strings, int64_t count);
enum status store_write_number(struct store *store, const char *name, double value); /* scalar attribute-like dataset */
enum status store_write_attribute(struct store *store, const char *key,
                                  const char *value); /* on the root, below 60 kB */

bool store_has(struct store *store, const char *name);
/* The datasets below `group` ("model", "optimizer/exp_avg", "" for all), each group in creation order, aliases too.
 * Names are relative to the group, with dots ("visual.proj"). No such group: none. */
enum status store_list(struct store *store, const char *group, char ***names,
                       int64_t *count); /* names: memory_release each and the array */
/* A tensor stored widened has dtype BF16; integers have the narrowest of ours that holds them. */
enum status store_shape(struct store *store, const char *name, enum dtype *dtype, int *axes,
                        int64_t shape[TENSOR_AXES_MAX]);
/* Reads and converts to `dtype` (floats among floats, integers among integers, which must fit); the element count must
 * be `elements`; the checksum is verified where there is one. */
enum status store_read(struct store *store, const char *name, enum dtype dtype, int64_t elements, void *data);
enum status store_read_text(struct store *store, const char *name, char **text); /* memory_release */
enum status store_read_strings(struct store *store, const char *name, char ***strings,
                               int64_t *count); /* fixed or variable length */
enum status store_read_number(struct store *store, const char *name, double *value);
enum status store_read_attribute(struct store *store, const char *key, char **value);
/* Reads every dataset and compares its checksum. */
enum status store_verify(struct store *store);
#endif

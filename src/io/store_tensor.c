#include "base/checksum.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/host_tensor.h"
#include "io/store_private.h"
#include <string.h>
#include <unistd.h>

enum {
  COMPRESSION_MAX = 2000, /* no filter packs numbers better; more is a forged shape */
  VERIFY_BYTES = 4 << 20  /* read at a time */
};

/* A float type of 16 bits: sign, exponent, fraction from the top. */
static hid_t short_float(size_t exponent_bits, size_t fraction_bits) {
  hid_t type = H5Tcopy(H5T_IEEE_F32LE);
  H5Tset_fields(type, 15, fraction_bits, exponent_bits, 0, fraction_bits);
  H5Tset_ebias(type, ((size_t)1 << (exponent_bits - 1)) - 1);
  H5Tset_precision(type, 16);
  H5Tset_size(type, 2);
  return type;
}

/* The type in the file, which on the little-endian machines we run on is the type in memory too. */
static hid_t file_type(enum dtype dtype) {
  switch (dtype) {
  case DTYPE_F32:
    return H5Tcopy(H5T_IEEE_F32LE);
  case DTYPE_F64:
    return H5Tcopy(H5T_IEEE_F64LE);
  case DTYPE_F16:
    return short_float(5, 10);
  case DTYPE_BF16:
    return short_float(8, 7);
  case DTYPE_U8:
    return H5Tcopy(H5T_STD_U8LE);
  case DTYPE_I32:
    return H5Tcopy(H5T_STD_I32LE);
  default:
    return H5Tcopy(H5T_STD_I64LE);
  }
}

static enum status write_typed(struct store *store, const char *name, enum dtype dtype, hid_t space, const void *data,
                               size_t bytes, bool widened) {
  hid_t type = file_type(dtype), dataset;
  enum status status = store_write_checked(store, name, type, space, data, bytes, &dataset);
  if (status == STATUS_OK && widened)
    status = store_put_string(store, dataset, "stored_as", "bf16");
  if (dataset >= 0)
    H5Dclose(dataset);
  H5Tclose(type);
  return status;
}

/* `bf16_numbers`: fp32 data that are known to be such. */
static enum status write_tensor(struct store *store, const char *name, enum dtype dtype, int axes, const int64_t *shape,
                                const void *data, bool bf16_numbers) {
  hsize_t lengths[TENSOR_AXES_MAX];
  int64_t elements = 1;
  if (axes < 0 || axes > TENSOR_AXES_MAX)
    return store_refuse(store, name, "%d axes; a tensor has at most %d", axes, TENSOR_AXES_MAX);
  for (int a = 0; a < axes; a++) {
    lengths[a] = (hsize_t)shape[a];
    elements *= shape[a];
  }
  hid_t space = axes == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(axes, lengths, NULL);
  enum status status;
  if (dtype == DTYPE_BF16) {
    float *wide = memory_allocate((size_t)elements * sizeof *wide, "widened tensor");
    status = host_tensor_convert(wide, DTYPE_F32, data, DTYPE_BF16, elements);
    if (status == STATUS_OK)
      status = write_typed(store, name, DTYPE_F32, space, wide, (size_t)elements * sizeof *wide, true);
    memory_release(wide);
  } else {
    status = write_typed(store, name, dtype, space, data, (size_t)elements * dtype_size(dtype), bf16_numbers);
  }
  H5Sclose(space);
  return status;
}

/* Which of our types holds every value of the file's; false for strings, compounds and the like. */
static bool dtype_of(hid_t type, enum dtype *dtype) {
  const size_t size = H5Tget_size(type);
  size_t sign, exponent, exponent_bits = 0, fraction, fraction_bits;
  switch (H5Tget_class(type)) {
  case H5T_FLOAT:
    H5Tget_fields(type, &sign, &exponent, &exponent_bits, &fraction, &fraction_bits);
    *dtype = size == 8 ? DTYPE_F64 : size == 4 ? DTYPE_F32 : exponent_bits == 8 ? DTYPE_BF16 : DTYPE_F16;
    return size == 8 || size == 4 || size == 2;
  case H5T_INTEGER:
    *dtype = size == 1 && H5Tget_sign(type) == H5T_SGN_NONE ? DTYPE_U8 : DTYPE_I64;
    if (size < 4 + (H5Tget_sign(type) != H5T_SGN_NONE) && *dtype != DTYPE_U8)
      *dtype = DTYPE_I32;
    return size <= 8;
  default:
    return false;
  }
}

static bool is_float(enum dtype dtype) {
  return dtype == DTYPE_F32 || dtype == DTYPE_F64 || dtype == DTYPE_F16 || dtype == DTYPE_BF16;
}

/* Contiguous data must be there to the last byte; compressed data may be smaller than what they hold, within reason. */
static bool data_are_there(struct store *store, hid_t dataset, int64_t elements) {
  hid_t type = H5Dget_type(dataset), properties = H5Dget_create_plist(dataset);
  const hsize_t stored = H5Dget_storage_size(dataset);
  const bool packed = H5Pget_layout(properties) == H5D_CHUNKED;
  hsize_t needed;
  const bool counted = !__builtin_mul_overflow((hsize_t)elements, H5Tget_size(type), &needed);
  H5Pclose(properties);
  H5Tclose(type);
  return counted && stored <= (hsize_t)store->size_bytes && (packed ? needed / COMPRESSION_MAX : needed) <= stored;
}

enum status store_get_shape(struct store *store, const char *name, hid_t dataset, int *axes,
                            int64_t shape[TENSOR_AXES_MAX], int64_t *elements) {
  hsize_t lengths[H5S_MAX_RANK];
  hid_t space = H5Dget_space(dataset);
  if (space < 0)
    return store_fail(store, "read the shape of", name);
  *axes = H5Sget_simple_extent_dims(space, lengths, NULL);
  const bool null_space = H5Sget_simple_extent_type(space) == H5S_NULL;
  H5Sclose(space);
  if (*axes < 0 || *axes > TENSOR_AXES_MAX || null_space)
    return store_refuse(store, name, "not an array of at most %d axes", TENSOR_AXES_MAX);
  *elements = 1;
  for (int a = 0; a < *axes; a++) {
    shape[a] = (int64_t)lengths[a];
    if (shape[a] < 0 || __builtin_mul_overflow(*elements, shape[a], elements) || *elements > INT64_MAX / 64)
      return store_refuse(store, name, "the shape is impossible");
  }
  if (store->temporary == NULL && *elements > 0 && !data_are_there(store, dataset, *elements))
    return store_refuse(store, name, "the file does not hold the data that the shape promises");
  return STATUS_OK;
}

static enum status numeric_dtype(struct store *store, const char *name, hid_t dataset, enum dtype *dtype) {
  hid_t type = H5Dget_type(dataset);
  const bool numbers = type >= 0 && dtype_of(type, dtype);
  if (type >= 0)
    H5Tclose(type);
  return numbers ? STATUS_OK : store_refuse(store, name, "its elements are not numbers that this program reads");
}

static enum status read_shape(struct store *store, const char *name, enum dtype *dtype, int *axes,
                              int64_t shape[TENSOR_AXES_MAX]) {
  hid_t dataset = store_open_dataset(store, name);
  if (dataset < 0)
    return STATUS_INPUT;
  int64_t elements;
  char *stored_as = NULL;
  enum status status = numeric_dtype(store, name, dataset, dtype);
  if (status == STATUS_OK)
    status = store_get_shape(store, name, dataset, axes, shape, &elements);
  if (store_get_string(dataset, "stored_as", &stored_as) && strcmp(stored_as, "bf16") == 0 && *dtype == DTYPE_F32)
    *dtype = DTYPE_BF16;
  memory_release(stored_as);
  H5Dclose(dataset);
  return status;
}

/* Reads in the file's own type (a byte order aside) and compares the checksum, which is that of little-endian bytes. */
static enum status read_as_stored(struct store *store, const char *name, hid_t dataset, enum dtype stored,
                                  int64_t elements, void *data) {
  hid_t type = file_type(stored);
  uint32_t expected;
  enum status status = STATUS_OK;
  if (elements > 0 && H5Dread(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
    status = store_fail(store, "read", name);
  H5Tclose(type);
  if (status == STATUS_OK && store_get_checksum(dataset, &expected) &&
      checksum_crc32c(0, data, (size_t)elements * dtype_size(stored)) != expected)
    status = store_refuse(store, name, "the data are damaged: they do not match their checksum");
  return status;
}

/* A value that does not fit is an error, not the nearest that fits. */
static H5T_conv_ret_t refuse_out_of_range(H5T_conv_except_t kind, hid_t from_type, hid_t to_type, void *from, void *to,
                                          void *unused) {
  (void)from_type, (void)to_type, (void)from, (void)to, (void)unused;
  return kind == H5T_CONV_EXCEPT_RANGE_HI || kind == H5T_CONV_EXCEPT_RANGE_LOW ? H5T_CONV_ABORT : H5T_CONV_UNHANDLED;
}

static enum status read_integers(struct store *store, const char *name, hid_t dataset, enum dtype dtype, void *data) {
  hid_t type = file_type(dtype), transfer = H5Pcreate(H5P_DATASET_XFER);
  H5Pset_type_conv_cb(transfer, refuse_out_of_range, NULL);
  enum status status = STATUS_OK;
  if (H5Dread(dataset, type, H5S_ALL, H5S_ALL, transfer, data) < 0)
    status = store_refuse(store, name, "cannot be read, or holds integers that do not fit into %s", dtype_name(dtype));
  H5Pclose(transfer);
  H5Tclose(type);
  return status;
}

static enum status read_converted(struct store *store, const char *name, hid_t dataset, enum dtype stored,
                                  enum dtype dtype, int64_t elements, void *data) {
  if (stored == dtype)
    return read_as_stored(store, name, dataset, stored, elements, data);
  if (is_float(stored) != is_float(dtype))
    return store_refuse(store, name, "its elements are %s, wanted are %s", dtype_name(stored), dtype_name(dtype));
  if (elements > 0 && !is_float(stored))
    return read_integers(store, name, dataset, dtype, data);
  void *raw = memory_allocate((size_t)elements * dtype_size(stored), "tensor as stored");
  enum status status = read_as_stored(store, name, dataset, stored, elements, raw);
  if (status == STATUS_OK)
    status = host_tensor_convert(data, dtype, raw, stored, elements);
  memory_release(raw);
  return status;
}

static enum status read_open(struct store *store, const char *name, hid_t dataset, enum dtype dtype, int64_t elements,
                             void *data) {
  enum dtype stored;
  int axes;
  int64_t shape[TENSOR_AXES_MAX], held;
  TRY(numeric_dtype(store, name, dataset, &stored));
  TRY(store_get_shape(store, name, dataset, &axes, shape, &held));
  if (held != elements)
    return store_refuse(store, name, "holds %lld elements, wanted are %lld", (long long)held, (long long)elements);
  return read_converted(store, name, dataset, stored, dtype, elements, data);
}

static enum status read_tensor(struct store *store, const char *name, enum dtype dtype, int64_t elements, void *data) {
  hid_t dataset = store_open_dataset(store, name);
  if (dataset < 0)
    return STATUS_INPUT;
  const enum status status = read_open(store, name, dataset, dtype, elements, data);
  H5Dclose(dataset);
  return status;
}

static enum status read_number(struct store *store, const char *name, double *value) {
  enum dtype dtype;
  int axes;
  int64_t shape[TENSOR_AXES_MAX], integer;
  TRY(read_shape(store, name, &dtype, &axes, shape));
  if (is_float(dtype))
    return read_tensor(store, name, DTYPE_F64, 1, value);
  TRY(read_tensor(store, name, DTYPE_I64, 1, &integer));
  *value = (double)integer;
  return STATUS_OK;
}

/* The bytes of a contiguous dataset straight from the file, a piece at a time: a table of any size verifies in little
 * memory. */
static enum status verify_bytes(struct store *store, const char *name, haddr_t offset, hsize_t bytes,
                                uint32_t expected) {
  char *piece = memory_allocate(VERIFY_BYTES, "verify");
  uint32_t checksum = 0;
  for (hsize_t done = 0; done < bytes;) {
    const size_t wanted = bytes - done < VERIFY_BYTES ? (size_t)(bytes - done) : VERIFY_BYTES;
    const ssize_t got = pread(store->descriptor, piece, wanted, (off_t)(offset + done));
    if (got <= 0)
      break;
    checksum = checksum_crc32c(checksum, piece, (size_t)got);
    done += (hsize_t)got;
  }
  memory_release(piece);
  return checksum == expected ? STATUS_OK
                              : store_refuse(store, name, "the data are damaged: they do not match their checksum");
}

/* Packed by another program: the library unpacks, then the values are compared. */
static enum status verify_values(struct store *store, const char *name, hid_t dataset, int64_t elements) {
  enum dtype dtype;
  if (numeric_dtype(store, name, dataset, &dtype) != STATUS_OK)
    return STATUS_OK; /* a packed text: its checksum was of other bytes */
  void *values = memory_allocate((size_t)elements * dtype_size(dtype), "verify");
  const enum status status = read_as_stored(store, name, dataset, dtype, elements, values);
  memory_release(values);
  return status;
}

static enum status verify_open(struct store *store, const char *name, hid_t dataset) {
  int axes;
  int64_t shape[TENSOR_AXES_MAX], elements;
  uint32_t expected;
  TRY(store_get_shape(store, name, dataset, &axes, shape, &elements));
  const haddr_t offset = H5Dget_offset(dataset);
  if (elements == 0 || !store_get_checksum(dataset, &expected))
    return STATUS_OK;
  if (offset == HADDR_UNDEF)
    return verify_values(store, name, dataset, elements);
  return verify_bytes(store, name, offset, H5Dget_storage_size(dataset), expected);
}

static enum status verify_paths(struct store *store, char **paths, int64_t count) {
  haddr_t *seen = memory_allocate((size_t)count * sizeof *seen, "verified offsets");
  enum status status = STATUS_OK;
  for (int64_t i = 0; i < count && status == STATUS_OK; i++) {
    hid_t dataset = store_open_dataset(store, paths[i]);
    if (dataset < 0) {
      status = STATUS_INPUT;
      break;
    }
    seen[i] = H5Dget_offset(dataset);
    bool again = false; /* a hard link to what was verified */
    for (int64_t j = 0; j < i && seen[i] != HADDR_UNDEF && !again; j++)
      again = seen[j] == seen[i];
    if (!again)
      status = verify_open(store, paths[i], dataset);
    H5Dclose(dataset);
  }
  memory_release(seen);
  return status;
}

static enum status verify(struct store *store) {
  char **paths;
  int64_t count;
  TRY(store_list_paths(store, "/", &paths, &count));
  const enum status status = verify_paths(store, paths, count);
  store_release_names(paths, count);
  return status;
}

enum status store_write(struct store *store, const char *name, enum dtype dtype, int axes, const int64_t *shape,
                        const void *data) {
  STORE_LOCKED(write_tensor(store, name, dtype, axes, shape, data, false));
}
enum status store_write_bf16_numbers(struct store *store, const char *name, int axes, const int64_t *shape,
                                     const float *data) {
  STORE_LOCKED(write_tensor(store, name, DTYPE_F32, axes, shape, data, true));
}
enum status store_write_number(struct store *store, const char *name, double value) {
  STORE_LOCKED(write_tensor(store, name, DTYPE_F64, 0, NULL, &value, false));
}
enum status store_shape(struct store *store, const char *name, enum dtype *dtype, int *axes,
                        int64_t shape[TENSOR_AXES_MAX]) {
  STORE_LOCKED(read_shape(store, name, dtype, axes, shape));
}
enum status store_read(struct store *store, const char *name, enum dtype dtype, int64_t elements, void *data) {
  STORE_LOCKED(read_tensor(store, name, dtype, elements, data));
}
enum status store_read_number(struct store *store, const char *name, double *value) {
  STORE_LOCKED(read_number(store, name, value));
}
enum status store_verify(struct store *store) {
  STORE_LOCKED(verify(store));
}

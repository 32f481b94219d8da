#include "io/safetensors.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/host_tensor.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file: 8 bytes with the header's length (little-endian), the header (JSON, padded with spaces), the data. */
enum { LENGTH_BYTES = 8, HEADER_BYTES_MAX = 100 * 1000 * 1000, DATA_ALIGNMENT = 8 };
/* A parsed header takes up to 16 times its bytes: a long one must be a small part of its file. The longest of CLIP's
 * have 100 kB. */
enum { HEADER_BYTES_FREE = 1 << 20, HEADER_SHARE = 16 };

static const struct {
  const char *name;
  enum dtype dtype;
} dtype_names[] = {{"F32", DTYPE_F32}, {"F16", DTYPE_F16}, {"BF16", DTYPE_BF16}, {"F64", DTYPE_F64},
                   {"I64", DTYPE_I64}, {"I32", DTYPE_I32}, {"U8", DTYPE_U8},     {"BOOL", DTYPE_U8}};
enum { DTYPE_NAMES = sizeof dtype_names / sizeof *dtype_names };

/* Where the header ends and the data begin. */
static enum status find_header(const struct file_map *map, size_t *header_bytes) {
  uint64_t length = 0;
  if (map->size < LENGTH_BYTES)
    return error_set(STATUS_INPUT, "%zu bytes are too few for a safetensors file", map->size);
  for (int i = 0; i < LENGTH_BYTES; i++)
    length |= (uint64_t)map->data[i] << (8 * i);
  if (length > HEADER_BYTES_MAX)
    return error_set(STATUS_INPUT, "a header of %llu bytes exceeds the limit of %d: not a safetensors file",
                     (unsigned long long)length, HEADER_BYTES_MAX);
  if (length > map->size - LENGTH_BYTES)
    return error_set(STATUS_INPUT, "the file ends within its header: cut short, or not a safetensors file");
  if (length > HEADER_BYTES_FREE && length > map->size / HEADER_SHARE)
    return error_set(STATUS_INPUT, "a header of %llu of the file's %zu bytes: more names than weights, not a model",
                     (unsigned long long)length, map->size);
  if (length == 0 || map->data[LENGTH_BYTES] != '{')
    return error_set(STATUS_INPUT, "the header does not begin with '{': not a safetensors file");
  *header_bytes = (size_t)length;
  return STATUS_OK;
}

static enum status parse_dtype(const json_t *json, enum dtype *dtype) {
  const char *name = json_string_value(json);
  if (name == NULL)
    return error_set(STATUS_INPUT, "\"dtype\" is missing or no string");
  for (size_t i = 0; i < DTYPE_NAMES; i++) {
    if (strcmp(name, dtype_names[i].name) == 0) {
      *dtype = dtype_names[i].dtype;
      return STATUS_OK;
    }
  }
  return error_set(STATUS_INPUT, "the dtype %.20s is not one of F32, F16, BF16, F64, I64, I32, U8, BOOL", name);
}

static enum status parse_shape(const json_t *json, struct tensor_entry *entry) {
  if (!json_is_array(json) || json_array_size(json) > TENSOR_AXES_MAX)
    return error_set(STATUS_INPUT, "\"shape\" is missing or no list of at most %d lengths", TENSOR_AXES_MAX);
  entry->axes = (int)json_array_size(json);
  entry->elements = 1;
  for (int a = 0; a < entry->axes; a++) {
    const json_t *length = json_array_get(json, (size_t)a);
    entry->shape[a] = json_integer_value(length);
    if (!json_is_integer(length) || entry->shape[a] < 0 ||
        __builtin_mul_overflow(entry->elements, entry->shape[a], &entry->elements))
      return error_set(STATUS_INPUT, "\"shape\" has an impossible length");
  }
  return STATUS_OK;
}

/* `data` begins after the header and has `data_bytes`. */
static enum status parse_range(const json_t *json, struct tensor_entry *entry, const uint8_t *data, size_t data_bytes) {
  const json_t *first = json_array_get(json, 0), *last = json_array_get(json, 1);
  if (json_array_size(json) != 2 || !json_is_integer(first) || !json_is_integer(last))
    return error_set(STATUS_INPUT, "\"data_offsets\" is missing or no pair of integers");
  const int64_t begin = json_integer_value(first), end = json_integer_value(last);
  if (begin < 0 || end < begin || (uint64_t)end > data_bytes)
    return error_set(
        STATUS_INPUT,
        "\"data_offsets\" [%lld, %lld) do not lie within the %zu bytes of data: the file is damaged or cut short",
        (long long)begin, (long long)end, data_bytes);
  int64_t needed;
  if (__builtin_mul_overflow(entry->elements, (int64_t)dtype_size(entry->dtype), &needed) || needed != end - begin)
    return error_set(STATUS_INPUT, "\"data_offsets\" give %lld bytes, which the shape and dtype do not need",
                     (long long)(end - begin));
  entry->data = data + begin;
  return STATUS_OK;
}

static enum status parse_entry(const char *name, const json_t *json, struct tensor_entry *entry, const uint8_t *data,
                               size_t data_bytes) {
  TRY(parse_dtype(json_object_get(json, "dtype"), &entry->dtype));
  TRY(parse_shape(json_object_get(json, "shape"), entry));
  TRY(parse_range(json_object_get(json, "data_offsets"), entry, data, data_bytes));
  entry->name = memory_copy_string(name, "tensor name");
  return STATUS_OK;
}

static enum status take_metadata(const json_t *json, char **metadata) {
  const char *key;
  json_t *value;
  if (!json_is_object(json))
    return error_set(STATUS_INPUT, "__metadata__ is no object");
  json_object_foreach((json_t *)json, key, value) {
    if (!json_is_string(value))
      return error_set(STATUS_INPUT, "__metadata__ holds more than strings");
  }
  char *dumped = json_dumps(json, JSON_COMPACT);
  if (dumped == NULL)
    return error_set(STATUS_INPUT, "__metadata__ cannot be read");
  *metadata = memory_copy_string(dumped, "safetensors metadata");
  free(dumped);
  return STATUS_OK;
}

static size_t entry_bytes(const struct tensor_entry *entry) {
  return (size_t)entry->elements * dtype_size(entry->dtype);
}

static int compare_places(const void *a, const void *b) {
  const struct tensor_entry *x = *(const struct tensor_entry *const *)a, *y = *(const struct tensor_entry *const *)b;
  if (x->data != y->data)
    return (const char *)x->data < (const char *)y->data ? -1 : 1;
  return entry_bytes(x) < entry_bytes(y) ? -1 : entry_bytes(x) > entry_bytes(y);
}

/* The ranges must tile the data: an overlap would alias tensors, a hole could hide anything. */
static enum status check_tiling(const struct safetensors *file, const uint8_t *data, size_t data_bytes) {
  const struct tensor_entry **order = memory_allocate((size_t)file->count * sizeof *order, "tensor order");
  const uint8_t *expected = data;
  enum status status = STATUS_OK;
  for (int64_t i = 0; i < file->count; i++)
    order[i] = &file->entries[i];
  qsort(order, (size_t)file->count, sizeof *order, compare_places);
  for (int64_t i = 0; i < file->count && status == STATUS_OK; i++) {
    if (order[i]->data != expected)
      status = error_set(STATUS_INPUT, "%s: its data %s the tensor before: the file is damaged", order[i]->name,
                         (const uint8_t *)order[i]->data < expected ? "overlap" : "do not follow");
    expected = (const uint8_t *)order[i]->data + entry_bytes(order[i]);
  }
  if (status == STATUS_OK && expected != data + data_bytes)
    status = error_set(STATUS_INPUT, "%zu bytes at the end belong to no tensor: the file is damaged",
                       (size_t)(data + data_bytes - expected));
  memory_release(order);
  return status;
}

static enum status parse_header(const json_t *header, struct safetensors *file, const uint8_t *data,
                                size_t data_bytes) {
  const char *name;
  json_t *json;
  file->entries = memory_allocate((json_object_size(header) + 1) * sizeof *file->entries, "safetensors entries");
  json_object_foreach((json_t *)header, name, json) {
    if (strcmp(name, "__metadata__") == 0) {
      TRY(take_metadata(json, &file->metadata));
      continue;
    }
    const enum status status = parse_entry(name, json, &file->entries[file->count], data, data_bytes);
    if (status != STATUS_OK)
      return error_context(status, "%.200s", name);
    file->count++;
  }
  return check_tiling(file, data, data_bytes);
}

static enum status read_map(const struct file_map *map, struct safetensors *file) {
  size_t header_bytes = 0;
  json_error_t error;
  TRY(find_header(map, &header_bytes));
  json_t *header = json_loadb((const char *)map->data + LENGTH_BYTES, header_bytes, JSON_REJECT_DUPLICATES, &error);
  if (header == NULL)
    return error_set(STATUS_INPUT, "the header is not valid JSON: %s (byte %d)", error.text, error.position);
  const size_t begin = LENGTH_BYTES + header_bytes;
  const enum status status = parse_header(header, file, map->data + begin, map->size - begin);
  json_decref(header);
  return status;
}

enum status safetensors_open(const char *path, struct safetensors *file) {
  *file = (struct safetensors){0};
  struct file_map *map = memory_allocate(sizeof *map, "safetensors map");
  file->map = map;
  enum status status = file_map(path, map);
  if (status == STATUS_OK) {
    status = read_map(map, file);
    if (status != STATUS_OK)
      error_context(status, "%s", path);
  }
  if (status != STATUS_OK)
    safetensors_close(file);
  return status;
}

void safetensors_close(struct safetensors *file) {
  for (int64_t i = 0; i < file->count; i++)
    memory_release(file->entries[i].name);
  memory_release(file->entries);
  memory_release(file->metadata);
  if (file->map != NULL)
    file_unmap(file->map);
  memory_release(file->map);
  *file = (struct safetensors){0};
}

const struct tensor_entry *safetensors_find(const struct safetensors *file, const char *name) {
  for (int64_t i = 0; i < file->count; i++)
    if (strcmp(file->entries[i].name, name) == 0)
      return &file->entries[i];
  return NULL;
}

enum status tensor_entry_read(const struct tensor_entry *entry, enum dtype dtype, int64_t elements, void *data) {
  if (entry->elements != elements)
    return error_set(STATUS_INPUT, "%s holds %lld elements, wanted are %lld", entry->name, (long long)entry->elements,
                     (long long)elements);
  const enum status status = host_tensor_convert(data, dtype, entry->data, entry->dtype, elements);
  return status == STATUS_OK ? status : error_context(status, "%s", entry->name);
}

static const char *name_of(enum dtype dtype) {
  for (size_t i = 0; i < DTYPE_NAMES; i++)
    if (dtype_names[i].dtype == dtype)
      return dtype_names[i].name;
  return NULL;
}

static int compare_sizes(const void *a, const void *b) {
  const struct tensor_entry *x = *(const struct tensor_entry *const *)a, *y = *(const struct tensor_entry *const *)b;
  const size_t x_size = dtype_size(x->dtype), y_size = dtype_size(y->dtype);
  if (x_size != y_size)
    return x_size > y_size ? -1 : 1;
  return x < y ? -1 : x > y;
}

/* The header's JSON for tensors that follow one another in this order. */
static enum status make_header(const struct tensor_entry **order, int64_t count, struct text *text) {
  json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
  enum status status = STATUS_OK;
  json_int_t offset = 0;
  for (int64_t i = 0; i < count && status == STATUS_OK; i++) {
    const struct tensor_entry *entry = order[i];
    json_t *shape = json_array();
    for (int a = 0; a < entry->axes; a++)
      json_array_append_new(shape, json_integer(entry->shape[a]));
    const json_int_t end = offset + (json_int_t)entry_bytes(entry);
    if (json_object_get(header, entry->name) != NULL)
      status = error_set(STATUS_INPUT, "two tensors are named %s", entry->name);
    json_t *json =
        json_pack("{s:s, s:o, s:[I, I]}", "dtype", name_of(entry->dtype), "shape", shape, "data_offsets", offset, end);
    if (json_object_set_new(header, entry->name, json) != 0 && status == STATUS_OK)
      status = error_set(STATUS_INPUT, "a tensor's name is not valid UTF-8");
    offset = end;
  }
  char *dumped = status == STATUS_OK ? json_dumps(header, JSON_COMPACT) : NULL;
  if (dumped != NULL)
    text_append_string(text, dumped);
  free(dumped);
  json_decref(header);
  while (status == STATUS_OK && text->length % DATA_ALIGNMENT != 0)
    text_append(text, " ", 1);
  return status;
}

static enum status write_bytes(FILE *out, const void *data, size_t size) {
  return fwrite(data, 1, size, out) == size ? STATUS_OK : error_set(STATUS_SYSTEM, "cannot write: %s", strerror(errno));
}

static enum status write_entry(FILE *out, const struct tensor_entry *entry, const struct tensor_reader *reader) {
  const size_t size = entry_bytes(entry);
  if (entry->data || size == 0)
    return write_bytes(out, entry->data, size);
  void *data = memory_allocate(size, "tensor being written");
  enum status status = reader->read(reader->context, entry, data);
  if (status == STATUS_OK)
    status = write_bytes(out, data, size);
  memory_release(data);
  return status;
}

static enum status write_parts(FILE *out, const struct text *header, const struct tensor_entry **order, int64_t count,
                               const struct tensor_reader *reader) {
  unsigned char length[LENGTH_BYTES];
  for (int i = 0; i < LENGTH_BYTES; i++)
    length[i] = (unsigned char)((uint64_t)header->length >> (8 * i));
  TRY(write_bytes(out, length, sizeof length));
  TRY(write_bytes(out, header->data, header->length));
  for (int64_t i = 0; i < count; i++)
    TRY(write_entry(out, order[i], reader));
  return STATUS_OK;
}

static enum status write_file(const char *path, const struct text *header, const struct tensor_entry **order,
                              int64_t count, const struct tensor_reader *reader) {
  char *temporary = text_format("%s.tmp.%ld", path, (long)getpid());
  FILE *out = fopen(temporary, "we");
  enum status status = out ? write_parts(out, header, order, count, reader)
                           : error_set(STATUS_SYSTEM, "cannot create %s: %s", temporary, strerror(errno));
  if (out && fclose(out) != 0 && status == STATUS_OK)
    status = error_set(STATUS_SYSTEM, "cannot write: %s", strerror(errno));
  if (status == STATUS_OK)
    status = file_publish(temporary, path);
  else if (out)
    error_context(status, "%s", path);
  if (status != STATUS_OK && out)
    unlink(temporary);
  memory_release(temporary);
  return status;
}

/* Wide elements first, so that each tensor is aligned to its elements. */
enum status safetensors_write(const char *path, const struct tensor_entry *entries, int64_t count,
                              const struct tensor_reader *reader) {
  const struct tensor_entry **order = memory_allocate((size_t)count * sizeof *order, "tensor order");
  struct text header = {0};
  for (int64_t i = 0; i < count; i++)
    order[i] = &entries[i];
  qsort(order, (size_t)count, sizeof *order, compare_sizes);
  enum status status = make_header(order, count, &header);
  if (status == STATUS_OK)
    status = write_file(path, &header, order, count, reader);
  else
    error_context(status, "%s", path);
  text_release(&header);
  memory_release(order);
  return status;
}

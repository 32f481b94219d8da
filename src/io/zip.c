#include "io/zip.h"
#include "base/memory.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* An archive: records (header, name, extra field, data), the central directory (an entry for each), its end. The fields
 * of 32 bits that are all ones stand in a zip64 field of the entry. Local sizes may be zero (torch streams): only the
 * central ones count. */
enum {
  LOCAL_BYTES = 30,
  ENTRY_BYTES = 46,
  END_BYTES = 22,
  LOCATOR_BYTES = 20,
  END64_BYTES = 56,
  COMMENT_MAX = 65535,
  ZIP64_FIELD = 1,
  METHOD_STORED = 0,
  FLAG_ENCRYPTED = 1
};
static const uint32_t LOCAL_MAGIC = 0x04034b50, ENTRY_MAGIC = 0x02014b50, END_MAGIC = 0x06054b50,
                      LOCATOR_MAGIC = 0x07064b50, END64_MAGIC = 0x06064b50, LONG = 0xffffffff;

static uint64_t load(const uint8_t *at, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; i++)
    value |= (uint64_t)at[i] << (8 * i);
  return value;
}

struct directory {
  uint64_t begin, bytes, count;
};
struct entry { /* of the central directory, while it is read */
  uint64_t packed_bytes, bytes, local;
  const uint8_t *name, *extra;
  size_t name_length, extra_length;
  unsigned flags, method;
  uint32_t crc32;
};

bool zip_is_archive(const uint8_t *data, size_t size) {
  return size >= 4 && (load(data, 4) == LOCAL_MAGIC || load(data, 4) == END_MAGIC);
}

/* The end record is the last thing but for a comment, whose length it tells. */
static enum status find_end(const struct file_map *map, uint64_t *end) {
  const uint64_t lowest = map->size > END_BYTES + COMMENT_MAX ? map->size - END_BYTES - COMMENT_MAX : 0;
  if (map->size < END_BYTES)
    return error_set(STATUS_INPUT, "%zu bytes are too few for a zip archive", map->size);
  for (uint64_t at = map->size - END_BYTES + 1; at-- > lowest;) {
    if (load(map->data + at, 4) == END_MAGIC && load(map->data + at + 20, 2) == map->size - END_BYTES - at) {
      *end = at;
      return STATUS_OK;
    }
  }
  return error_set(STATUS_INPUT, "the zip archive has no end: the file is cut short");
}

static enum status find_directory(const struct file_map *map, struct directory *directory) {
  uint64_t end = 0;
  TRY(find_end(map, &end));
  const uint8_t *at = map->data + end;
  if (load(at + 4, 2) != load(at + 6, 2))
    return error_set(STATUS_INPUT, "the zip archive is one part of several");
  *directory = (struct directory){.begin = load(at + 16, 4), .bytes = load(at + 12, 4), .count = load(at + 10, 2)};
  if (end >= LOCATOR_BYTES && load(at - LOCATOR_BYTES, 4) == LOCATOR_MAGIC) {
    const uint64_t end64 = load(at - LOCATOR_BYTES + 8, 8);
    if (end < LOCATOR_BYTES + END64_BYTES || end64 > end - LOCATOR_BYTES - END64_BYTES ||
        load(map->data + end64, 4) != END64_MAGIC)
      return error_set(STATUS_INPUT, "the zip64 end record does not lie where the archive says: the file is damaged");
    at = map->data + end64;
    *directory = (struct directory){.begin = load(at + 48, 8), .bytes = load(at + 40, 8), .count = load(at + 32, 8)};
    end = end64;
  }
  if (directory->begin > end || directory->bytes > end - directory->begin ||
      directory->count > directory->bytes / ENTRY_BYTES)
    return error_set(STATUS_INPUT, "the zip directory does not lie within the file: the file is damaged");
  return STATUS_OK;
}

/* Of the long forms only those are present whose short forms are all ones, in this order. */
static enum status read_zip64(struct entry *entry) {
  uint64_t *wanted[] = {&entry->bytes, &entry->packed_bytes, &entry->local};
  const uint8_t *at = entry->extra, *end = at + entry->extra_length;
  while (end - at >= 4 && load(at, 2) != ZIP64_FIELD)
    at += 4 + (load(at + 2, 2) <= (uint64_t)(end - at - 4) ? load(at + 2, 2) : (uint64_t)(end - at - 4));
  const uint8_t *field_end = end - at >= 4 ? at + 4 + load(at + 2, 2) : end;
  if (field_end > end)
    field_end = end;
  at = end - at >= 4 ? at + 4 : end;
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    if (*wanted[i] != LONG)
      continue;
    if (field_end - at < 8)
      return error_set(STATUS_INPUT, "a long size is missing: the file is damaged");
    *wanted[i] = load(at, 8);
    at += 8;
  }
  return STATUS_OK;
}

static enum status read_entry(const uint8_t *at, uint64_t room, struct entry *entry, uint64_t *length) {
  if (room < ENTRY_BYTES || load(at, 4) != ENTRY_MAGIC)
    return error_set(STATUS_INPUT, "the zip directory is damaged");
  *entry = (struct entry){.flags = (unsigned)load(at + 8, 2),
                          .method = (unsigned)load(at + 10, 2),
                          .crc32 = (uint32_t)load(at + 16, 4),
                          .packed_bytes = load(at + 20, 4),
                          .bytes = load(at + 24, 4),
                          .name_length = load(at + 28, 2),
                          .extra_length = load(at + 30, 2),
                          .local = load(at + 42, 4),
                          .name = at + ENTRY_BYTES};
  *length = ENTRY_BYTES + entry->name_length + entry->extra_length + load(at + 32, 2);
  if (*length > room)
    return error_set(STATUS_INPUT, "the zip directory is damaged");
  entry->extra = entry->name + entry->name_length;
  return read_zip64(entry);
}

/* Finds the data behind the record's own header, which must carry the same name; `limit`: where the directory begins.
 */
static enum status locate(const struct file_map *map, uint64_t limit, const struct entry *entry,
                          struct zip_record *record) {
  const bool inside = limit >= LOCAL_BYTES && entry->local <= limit - LOCAL_BYTES;
  const uint8_t *local = map->data + (inside ? entry->local : 0);
  if (!inside || load(local, 4) != LOCAL_MAGIC)
    return error_set(STATUS_INPUT, "it does not lie where the directory says: the file is damaged");
  const uint64_t room = limit - entry->local - LOCAL_BYTES, skip = load(local + 26, 2) + load(local + 28, 2);
  if (skip > room || entry->packed_bytes > room - skip)
    return error_set(STATUS_INPUT, "its data do not lie within the file: the file is damaged or cut short");
  if (load(local + 26, 2) != entry->name_length || memcmp(local + LOCAL_BYTES, entry->name, entry->name_length) != 0)
    return error_set(STATUS_INPUT, "the record and the directory give different names: the file is damaged");
  if (entry->flags & FLAG_ENCRYPTED)
    return error_set(STATUS_INPUT, "it is encrypted");
  if (entry->method == METHOD_STORED && entry->bytes != entry->packed_bytes)
    return error_set(STATUS_INPUT, "it is stored, yet its two sizes differ: the file is damaged");
  if (memchr(entry->name, '\0', entry->name_length) || !text_is_utf8((const char *)entry->name, entry->name_length))
    return error_set(STATUS_INPUT, "its name is not valid UTF-8");
  *record = (struct zip_record){.name = (const char *)entry->name,
                                .name_length = (uint16_t)entry->name_length,
                                .data = local + LOCAL_BYTES + skip,
                                .size = entry->packed_bytes,
                                .crc32 = entry->crc32,
                                .stored = entry->method == METHOD_STORED};
  return STATUS_OK;
}

static enum status read_records(struct zip *zip, const struct directory *directory) {
  const uint8_t *at = zip->map.data + directory->begin;
  uint64_t left = directory->bytes, length = 0;
  zip->records = memory_allocate((size_t)(directory->count + 1) * sizeof *zip->records, "zip records");
  for (uint64_t i = 0; i < directory->count; i++, at += length, left -= length) {
    struct entry entry;
    TRY(read_entry(at, left, &entry, &length));
    const enum status status = locate(&zip->map, directory->begin, &entry, &zip->records[i]);
    if (status != STATUS_OK)
      return error_context(status, "record %.*s", entry.name_length < 200 ? (int)entry.name_length : 200,
                           (const char *)entry.name);
    zip->count++;
  }
  return left == 0 ? STATUS_OK : error_set(STATUS_INPUT, "the zip directory has bytes that belong to no record");
}

static int compare_places(const void *a, const void *b) {
  const struct zip_record *x = a, *y = b;
  return x->data < y->data ? -1 : x->data > y->data;
}

static int compare_names(const void *a, const void *b) {
  const struct zip_record *x = a, *y = b;
  const size_t shared = x->name_length < y->name_length ? x->name_length : y->name_length;
  const int order = memcmp(x->name, y->name, shared);
  return order != 0 ? order : (int)x->name_length - (int)y->name_length;
}

/* Two records over the same bytes are how a small archive pretends to hold much. */
static enum status check_records(struct zip *zip) {
  qsort(zip->records, (size_t)zip->count, sizeof *zip->records, compare_places);
  for (int64_t i = 1; i < zip->count; i++) {
    const struct zip_record *before = &zip->records[i - 1], *record = &zip->records[i];
    if (record->data < before->data + before->size + LOCAL_BYTES + record->name_length)
      return error_set(STATUS_INPUT, "the records %.*s and %.*s overlap: the file is damaged", before->name_length,
                       before->name, record->name_length, record->name);
  }
  qsort(zip->records, (size_t)zip->count, sizeof *zip->records, compare_names);
  for (int64_t i = 1; i < zip->count; i++)
    if (compare_names(&zip->records[i - 1], &zip->records[i]) == 0)
      return error_set(STATUS_INPUT, "two records are named %.*s: the file is damaged", zip->records[i].name_length,
                       zip->records[i].name);
  return STATUS_OK;
}

static enum status read_archive(struct zip *zip) {
  struct directory directory = {0};
  TRY(find_directory(&zip->map, &directory));
  TRY(read_records(zip, &directory));
  return check_records(zip);
}

enum status zip_open(const char *path, struct zip *zip) {
  *zip = (struct zip){0};
  TRY(file_map(path, &zip->map));
  const enum status status = read_archive(zip);
  if (status != STATUS_OK) {
    error_context(status, "%s", path);
    zip_close(zip);
  }
  return status;
}

void zip_close(struct zip *zip) {
  memory_release(zip->records);
  file_unmap(&zip->map);
  *zip = (struct zip){0};
}

struct zip_record *zip_find(const struct zip *zip, const char *name) {
  const size_t length = strlen(name);
  const struct zip_record wanted = {.name = name, .name_length = (uint16_t)length};
  if (length > UINT16_MAX || zip->count == 0)
    return NULL;
  return bsearch(&wanted, zip->records, (size_t)zip->count, sizeof *zip->records, compare_names);
}

enum status zip_check(struct zip_record *record) {
  if (record->checked)
    return STATUS_OK;
  if (!record->stored)
    return error_set(STATUS_INPUT, "record %.*s is compressed, which torch never does", record->name_length,
                     record->name);
  if (crc32_z(0, record->data, record->size) != record->crc32)
    return error_set(STATUS_INPUT, "record %.*s: the data are damaged: they do not match their checksum",
                     record->name_length, record->name);
  record->checked = true;
  return STATUS_OK;
}

/* Reading zip archives by mapping them, as torch writes them: the central directory (zip64 too) is checked whole before
 * anything is given out: every record lies within the file, none overlaps another, names are UTF-8 and occur once. The
 * data of a stored record are used where they lie; a compressed one is listed and cannot be read. */
#ifndef MEMCLIP_IO_ZIP_H
#define MEMCLIP_IO_ZIP_H
#include "base/error.h"
#include "base/file.h"

struct zip_record {
  const char *name; /* in the map, not NUL-terminated */
  const uint8_t *data;
  uint64_t size;
  uint32_t crc32;
  uint16_t name_length;
  bool stored;  /* not compressed */
  bool checked; /* zip_check has compared the checksum */
};
struct zip {
  struct file_map map;
  struct zip_record *records; /* in the order of their names */
  int64_t count;
};
bool zip_is_archive(const uint8_t *data, size_t size); /* by its first bytes */
enum status zip_open(const char *path, struct zip *zip);
void zip_close(struct zip *zip);
struct zip_record *zip_find(const struct zip *zip, const char *name);
/* The record is stored and its CRC-32 is right; once per record. */
enum status zip_check(struct zip_record *record);
#endif

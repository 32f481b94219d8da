#include "make_zip.h"
#include "base/memory.h"
#include <string.h>
#include <zlib.h>

static void number(struct text *out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++)
    text_append(out, &(char){(char)(i < 8 ? value >> (8 * i) : 0)}, 1);
}

static void local_header(struct text *out, const struct zip_part *part, uint32_t crc, bool streamed) {
  number(out, 0x04034b50, 4);
  number(out, 0, 2);
  number(out, streamed ? 8 : 0, 2);
  number(out, 0, 6);
  number(out, streamed ? 0 : crc, 4);
  number(out, streamed ? 0 : part->size, 4);
  number(out, streamed ? 0 : part->size, 4);
  number(out, strlen(part->name), 2);
  number(out, 0, 2);
  text_append_string(out, part->name);
}

static void directory_entry(struct text *out, const struct zip_part *part, uint32_t crc, uint64_t offset, bool zip64) {
  const uint64_t all = 0xffffffff;
  number(out, 0x02014b50, 4);
  number(out, 0, 4);
  number(out, 8, 2);
  number(out, 0, 6);
  number(out, crc, 4);
  number(out, zip64 ? all : part->size, 4);
  number(out, zip64 ? all : part->size, 4);
  number(out, strlen(part->name), 2);
  number(out, zip64 ? 28 : 0, 2);
  number(out, 0, 10);
  number(out, zip64 ? all : offset, 4);
  text_append_string(out, part->name);
  if (zip64) {
    number(out, 1, 2);
    number(out, 24, 2);
    number(out, part->size, 8);
    number(out, part->size, 8);
    number(out, offset, 8);
  }
}

static void end_records(struct text *out, int count, uint64_t begin, bool zip64) {
  const uint64_t at = out->length, bytes = at - begin;
  if (zip64) {
    number(out, 0x06064b50, 4);
    number(out, 44, 8);
    number(out, 0, 12);
    number(out, (uint64_t)count, 8);
    number(out, (uint64_t)count, 8);
    number(out, bytes, 8);
    number(out, begin, 8);
    number(out, 0x07064b50, 4);
    number(out, 0, 4);
    number(out, at, 8);
    number(out, 1, 4);
  }
  number(out, 0x06054b50, 4);
  number(out, 0, 4);
  number(out, zip64 ? 0xffff : (uint64_t)count, 2);
  number(out, zip64 ? 0xffff : (uint64_t)count, 2);
  number(out, zip64 ? 0xffffffff : bytes, 4);
  number(out, zip64 ? 0xffffffff : begin, 4);
  number(out, 0, 2);
}

void make_zip(const struct zip_part *parts, int count, bool streamed, bool zip64, struct text *out) {
  uint64_t *offsets = memory_allocate((size_t)(count + 1) * sizeof *offsets, "zip offsets");
  for (int i = 0; i < count; i++) {
    offsets[i] = out->length;
    local_header(out, &parts[i], (uint32_t)crc32_z(0, parts[i].data, parts[i].size), streamed);
    if (parts[i].size > 0)
      text_append(out, parts[i].data, parts[i].size);
  }
  const uint64_t begin = out->length;
  for (int i = 0; i < count; i++)
    directory_entry(out, &parts[i], (uint32_t)crc32_z(0, parts[i].data, parts[i].size), offsets[i], zip64);
  end_records(out, count, begin, zip64);
  memory_release(offsets);
}

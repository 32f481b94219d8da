/* PNG files that end early. Pillow takes one whose rows are all there, whatever is missing behind them, but for a chunk
 * between the image data and the end that lacks some of its data; libpng wants the rest of the image data. Such a file
 * is put together anew: the chunks before the image data, the rows, an end. */
#include "base/memory.h"
#include "data/image_private.h"
#include <ctype.h>
#include <png.h>
#include <string.h>
#include <zlib.h>

enum { SIGNATURE_BYTES = 8, HEADER_BYTES = 8, CHECKSUM_BYTES = 4, IHDR_BYTES = 13 };

struct chunk {
  size_t at, length; /* where it begins, what it says of its data */
  bool named, whole; /* its name is one; its data are there */
};

static struct chunk chunk_at(const uint8_t *bytes, size_t size, size_t at) {
  struct chunk chunk = {.at = at};
  if (at > size || size - at < HEADER_BYTES)
    return chunk;
  chunk.length = png_get_uint_32(bytes + at);
  chunk.named = true;
  for (int i = 0; i < 4; i++)
    chunk.named &= isalnum(bytes[at + 4 + i]) || bytes[at + 4 + i] == '_';
  chunk.whole = chunk.length <= size - at - HEADER_BYTES;
  return chunk;
}

static bool is_called(const uint8_t *bytes, const struct chunk *chunk, const char *name) {
  return memcmp(bytes + chunk->at + 4, name, 4) == 0;
}

static size_t behind(const struct chunk *chunk) {
  return chunk->at + HEADER_BYTES + chunk->length + CHECKSUM_BYTES;
}

/* Chunks follow one another to the end, or to one whose name is damaged, which is libpng's to judge. */
static bool is_complete(const uint8_t *bytes, size_t size) {
  struct chunk chunk = chunk_at(bytes, size, SIGNATURE_BYTES);
  while (chunk.named && chunk.whole && !is_called(bytes, &chunk, "IEND"))
    chunk = chunk_at(bytes, size, behind(&chunk));
  return chunk.whole || (!chunk.named && chunk.at <= size && size - chunk.at >= HEADER_BYTES);
}

/* Bytes of all rows with their filter bytes; 0 when the header says nothing sensible. */
static size_t rows_bytes(const uint8_t *header) {
  static const uint8_t channels[] = {1, 0, 3, 1, 2, 0, 4};
  static const struct {
    uint32_t x, y, dx, dy;
  } passes[] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
  const uint32_t width = png_get_uint_32(header), height = png_get_uint_32(header + 4);
  const size_t bits = header[9] < sizeof channels ? (size_t)header[8] * channels[header[9]] : 0;
  size_t total = 0;
  if (header[12] == 0)
    return bits ? (1 + ((size_t)width * bits + 7) / 8) * height : 0;
  for (size_t p = 0; p < sizeof passes / sizeof *passes; p++)
    if (width > passes[p].x && height > passes[p].y)
      total += (1 + ((size_t)((width - passes[p].x - 1) / passes[p].dx + 1) * bits + 7) / 8) *
               ((height - passes[p].y - 1) / passes[p].dy + 1);
  return bits ? total : 0;
}

/* Unpacks the rows; *last becomes the chunk that completes them. */
static bool read_rows(const uint8_t *bytes, size_t size, size_t first, uint8_t *rows, size_t wanted,
                      struct chunk *last) {
  z_stream stream = {.next_out = rows, .avail_out = (uInt)wanted};
  int code = inflateInit(&stream);
  for (size_t at = first; code == Z_OK && stream.avail_out > 0; at = behind(last)) {
    *last = chunk_at(bytes, size, at);
    if (!last->named || !is_called(bytes, last, "IDAT"))
      break;
    stream.next_in = (Bytef *)bytes + at + HEADER_BYTES;
    stream.avail_in = (uInt)(last->whole ? last->length : size - at - HEADER_BYTES);
    if (stream.avail_in > 0)
      code = inflate(&stream, Z_SYNC_FLUSH);
    if (code == Z_BUF_ERROR)
      code = Z_OK;
    if (!last->whole)
      break;
  }
  inflateEnd(&stream);
  return stream.avail_out == 0;
}

/* What Pillow passes over must be there; a checksum may be missing, and a header may be cut or damaged. */
static bool rest_is_there(const uint8_t *bytes, size_t size, const struct chunk *last) {
  struct chunk chunk = *last;
  if (!chunk.whole)
    return true;
  for (;;) {
    chunk = chunk_at(bytes, size, behind(&chunk));
    if (!chunk.named || is_called(bytes, &chunk, "IEND"))
      return true;
    if (!chunk.whole)
      return false;
  }
}

static void append_chunk(struct text *out, const char *name, const uint8_t *data, size_t length) {
  uint8_t word[4];
  png_save_uint_32(word, (png_uint_32)length);
  text_append(out, (const char *)word, sizeof word);
  const size_t at = out->length;
  text_append(out, name, 4);
  text_append(out, (const char *)data, length);
  png_save_uint_32(word, (png_uint_32)crc32_z(0, (const Bytef *)out->data + at, length + 4));
  text_append(out, (const char *)word, sizeof word);
}

static void put_together(const uint8_t *bytes, size_t first, const uint8_t *rows, size_t rows_size, struct text *out) {
  uLongf packed_size = compressBound((uLong)rows_size);
  uint8_t *packed = memory_allocate(packed_size, "png");
  compress2(packed, &packed_size, rows, (uLong)rows_size, Z_NO_COMPRESSION);
  text_append(out, (const char *)bytes, first);
  append_chunk(out, "IDAT", packed, packed_size);
  append_chunk(out, "IEND", (const uint8_t *)"", 0);
  memory_release(packed);
}

enum status image_png_repair(const uint8_t *bytes, size_t size, const struct image_limits *limits, struct image *image,
                             struct text *repaired) {
  struct chunk first = chunk_at(bytes, size, SIGNATURE_BYTES), last = {0};
  const uint8_t *header = bytes + SIGNATURE_BYTES + HEADER_BYTES;
  if (is_complete(bytes, size) || !first.whole || first.length != IHDR_BYTES || !is_called(bytes, &first, "IHDR"))
    return STATUS_OK;
  const size_t wanted = rows_bytes(header);
  while (first.named && first.whole && !is_called(bytes, &first, "IDAT"))
    first = chunk_at(bytes, size, behind(&first));
  if (!first.named || !is_called(bytes, &first, "IDAT") || wanted == 0 || wanted > UINT32_MAX ||
      image_prepare(limits, png_get_uint_32(header), png_get_uint_32(header + 4), image) != STATUS_OK)
    return STATUS_OK;
  uint8_t *rows = memory_allocate(wanted, "png");
  enum status status = STATUS_OK;
  if (read_rows(bytes, size, first.at, rows, wanted, &last)) {
    if (rest_is_there(bytes, size, &last))
      put_together(bytes, first.at, rows, wanted, repaired);
    else
      status = error_set(STATUS_INPUT, "PNG: the file is truncated in a chunk behind the image data");
  }
  memory_release(rows);
  return status;
}

/* PNG through libpng from a block of memory, every mode as Pillow's convert("RGB") gives it: alpha and transparency are
 * dropped, 16-bit colours keep their high byte, 16-bit gray saturates, indices beyond the palette are black. As there,
 * checksums count up to the image data, not in them and behind them. */
#include "base/memory.h"
#include "data/image_private.h"
#include <png.h>
#include <setjmp.h>
#include <string.h>
#include <zlib.h>

enum { SIGNATURE_BYTES = 8, CHUNK_FRAME_BYTES = 12 };

struct png_reader {
  png_structp codec;
  png_infop info;
  const uint8_t *bytes;
  size_t left;
  png_bytep *rows;  /* [height] */
  uint8_t *samples; /* as libpng gives them, [height, row_bytes] */
  size_t row_bytes;
};

static void raise_error(png_structp codec, png_const_charp message) {
  error_set(STATUS_INPUT, "PNG: %s", message);
  png_longjmp(codec, 1);
}

static void ignore_warning(png_structp codec, png_const_charp message) {
  (void)codec;
  (void)message;
}

static void read_bytes(png_structp codec, png_bytep to, size_t count) {
  struct png_reader *reader = png_get_io_ptr(codec);
  if (count > reader->left)
    png_error(codec, "the file is truncated");
  memcpy(to, reader->bytes, count);
  reader->bytes += count;
  reader->left -= count;
}

static enum status check_chunks(const uint8_t *bytes, size_t size) {
  for (size_t at = SIGNATURE_BYTES; at + CHUNK_FRAME_BYTES <= size;) {
    const size_t length = png_get_uint_32(bytes + at);
    if (memcmp(bytes + at + 4, "IDAT", 4) == 0 || length > size - at - CHUNK_FRAME_BYTES)
      return STATUS_OK; /* where more ought to follow, the reader runs out of bytes */
    const uint8_t *checksum = bytes + at + CHUNK_FRAME_BYTES - 4 + length;
    if (crc32(crc32(0, NULL, 0), bytes + at + 4, (uInt)length + 4) != png_get_uint_32(checksum))
      return error_set(STATUS_INPUT, "PNG: the checksum of a chunk before the image data is wrong");
    at += CHUNK_FRAME_BYTES + length;
  }
  return STATUS_OK;
}

static void convert_row(const struct png_reader *reader, const uint8_t *from, int width, uint8_t *to) {
  const int channels = png_get_channels(reader->codec, reader->info);
  const bool palette = png_get_color_type(reader->codec, reader->info) == PNG_COLOR_TYPE_PALETTE;
  const bool wide = png_get_bit_depth(reader->codec, reader->info) == 16;
  if (palette) {
    png_colorp colors;
    int count = 0;
    png_get_PLTE(reader->codec, reader->info, &colors, &count);
    for (int x = 0; x < width; x++, to += 3) {
      const png_color color = from[x] < count ? colors[from[x]] : (png_color){0, 0, 0};
      to[0] = color.red, to[1] = color.green, to[2] = color.blue;
    }
  } else if (channels == 1 && wide) {
    for (int x = 0; x < width; x++, to += 3)
      memset(to, from[2 * x] ? 255 : from[2 * x + 1], 3);
  } else {
    const int step = wide ? 2 : 1;
    for (int x = 0; x < width; x++, from += channels * step, to += 3)
      for (int c = 0; c < 3; c++)
        to[c] = from[channels < 3 ? 0 : c * step];
  }
}

static int find_orientation(struct png_reader *reader) {
  png_bytep exif = NULL;
  png_uint_32 size = 0;
  if (png_get_eXIf_1(reader->codec, reader->info, &size, &exif) == 0)
    return 1;
  return image_exif_orientation(exif, size);
}

static enum status decode(struct png_reader *reader, const struct image_limits *limits, struct image *image) {
  png_structp codec = reader->codec;
  if (setjmp(png_jmpbuf(codec)))
    return STATUS_INPUT;
  png_set_read_fn(codec, reader, read_bytes);
  png_set_crc_action(codec, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
  png_set_user_limits(codec, INT32_MAX, INT32_MAX);
  png_read_info(codec, reader->info);
  const int width = (int)png_get_image_width(codec, reader->info),
            height = (int)png_get_image_height(codec, reader->info);
  TRY(image_prepare(limits, width, height, image));
  const int type = png_get_color_type(codec, reader->info);
  if (type == PNG_COLOR_TYPE_PALETTE)
    png_set_packing(codec);
  else if (type == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(codec, reader->info) < 8)
    png_set_expand_gray_1_2_4_to_8(codec);
  png_set_interlace_handling(codec);
  png_read_update_info(codec, reader->info);
  reader->row_bytes = png_get_rowbytes(codec, reader->info);
  reader->samples = memory_allocate(reader->row_bytes * (size_t)height, "png");
  reader->rows = memory_allocate(sizeof *reader->rows * (size_t)height, "png");
  for (int y = 0; y < height; y++)
    reader->rows[y] = reader->samples + (size_t)y * reader->row_bytes;
  png_read_image(codec, reader->rows);
  for (int y = 0; y < height; y++)
    convert_row(reader, reader->rows[y], width, image->pixels + (size_t)y * width * 3);
  if (limits && limits->exif_orientation)
    image_orient(image, find_orientation(reader));
  return STATUS_OK;
}

static enum status decode_complete(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                                   struct image *image) {
  struct png_reader reader = {.bytes = bytes, .left = size};
  TRY(check_chunks(bytes, size));
  reader.codec = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, raise_error, ignore_warning);
  if (!reader.codec)
    return error_set(STATUS_SYSTEM, "libpng does not start: its headers and its library are of different versions");
  reader.info = png_create_info_struct(reader.codec);
  const enum status status = decode(&reader, limits, image);
  png_destroy_read_struct(&reader.codec, &reader.info, NULL);
  memory_release(reader.samples);
  memory_release(reader.rows);
  return status;
}

enum status image_decode_png(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                             struct image *image) {
  struct text repaired = {0};
  TRY(image_png_repair(bytes, size, limits, image, &repaired));
  const enum status status = repaired.length
                                 ? decode_complete((const uint8_t *)repaired.data, repaired.length, limits, image)
                                 : decode_complete(bytes, size, limits, image);
  text_release(&repaired);
  return status;
}

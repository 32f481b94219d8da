/* JPEG through libjpeg-turbo from a block of memory. Data that end early suspend the decoder, which is an error here;
 * warnings about damaged entropy codes are passed over: Pillow does both, and the same samples have to be used. */
#include "base/memory.h"
#include "data/image_private.h"
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <jpeglib.h>
#include <jerror.h>

struct jpeg_reader {
  struct jpeg_decompress_struct codec;
  struct jpeg_error_mgr errors;
  struct jpeg_source_mgr source;
  jmp_buf failed;
};

static void raise_error(j_common_ptr codec) {
  struct jpeg_reader *reader = codec->client_data;
  char message[JMSG_LENGTH_MAX];
  codec->err->format_message(codec, message);
  error_set(STATUS_INPUT, "JPEG: %s", message);
  longjmp(reader->failed, 1);
}

static void ignore_message(j_common_ptr codec) {
  (void)codec;
}

static void do_nothing(j_decompress_ptr codec) {
  (void)codec;
}

static boolean suspend(j_decompress_ptr codec) {
  (void)codec;
  return FALSE;
}

static void skip_bytes(j_decompress_ptr codec, long count) {
  if (count <= 0)
    return;
  const size_t skipped = (size_t)count < codec->src->bytes_in_buffer ? (size_t)count : codec->src->bytes_in_buffer;
  codec->src->next_input_byte += skipped;
  codec->src->bytes_in_buffer -= skipped;
}

static void truncated(void) {
  error_set(STATUS_INPUT, "JPEG: the file is truncated");
}

static void start_reader(struct jpeg_reader *reader, const uint8_t *bytes, size_t size) {
  reader->codec.err = jpeg_std_error(&reader->errors);
  reader->codec.client_data = reader;
  reader->errors.error_exit = raise_error;
  reader->errors.output_message = ignore_message;
  reader->source = (struct jpeg_source_mgr){.next_input_byte = bytes,
                                            .bytes_in_buffer = size,
                                            .init_source = do_nothing,
                                            .fill_input_buffer = suspend,
                                            .skip_input_data = skip_bytes,
                                            .resync_to_restart = jpeg_resync_to_restart,
                                            .term_source = do_nothing};
}

/* 8 bits per sample in 1, 3 or 4 components, as Pillow accepts. */
static bool read_header(struct jpeg_reader *reader) {
  if (jpeg_read_header(&reader->codec, TRUE) != JPEG_HEADER_OK) {
    truncated();
    return false;
  }
  const int components = reader->codec.num_components;
  if (reader->codec.data_precision == 8 && (components == 1 || components == 3 || components == 4))
    return true;
  error_set(STATUS_INPUT, "JPEG: %d components of %d bits are not supported", components, reader->codec.data_precision);
  return false;
}

/* a * b / 255, rounded as Pillow does. */
static unsigned multiply_255(unsigned a, unsigned b) {
  const unsigned product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

/* Four components are always taken as stored inverted (Adobe's way), C = 255 - c; then R = (255 - K) - C (255 - K) /
 * 255. */
static void convert_cmyk(const uint8_t *from, int width, uint8_t *to) {
  for (int x = 0; x < width; x++, from += 4, to += 3) {
    const unsigned light = from[3];
    for (int c = 0; c < 3; c++)
      to[c] = (uint8_t)(light - multiply_255(255u - from[c], light));
  }
}

static bool read_rows(struct jpeg_reader *reader, struct image *image, uint8_t *cmyk) {
  const size_t row_bytes = (size_t)image->width * 3;
  while (reader->codec.output_scanline < reader->codec.output_height) {
    uint8_t *row = image->pixels + reader->codec.output_scanline * row_bytes;
    JSAMPROW into = cmyk ? cmyk : row;
    if (jpeg_read_scanlines(&reader->codec, &into, 1) != 1)
      return false;
    if (cmyk)
      convert_cmyk(cmyk, image->width, row);
  }
  return true;
}

static int find_orientation(const struct jpeg_reader *reader) {
  static const char prefix[6] = "Exif\0";
  for (jpeg_saved_marker_ptr marker = reader->codec.marker_list; marker; marker = marker->next)
    if (marker->marker == JPEG_APP0 + 1 && marker->data_length > sizeof prefix &&
        memcmp(marker->data, prefix, sizeof prefix) == 0)
      return image_exif_orientation(marker->data + sizeof prefix, marker->data_length - sizeof prefix);
  return 1;
}

static enum status decode(struct jpeg_reader *reader, const struct image_limits *limits, struct image *image) {
  struct jpeg_decompress_struct *codec = &reader->codec;
  if (setjmp(reader->failed))
    return STATUS_INPUT;
  jpeg_create_decompress(codec);
  codec->src = &reader->source;
  const bool orient = limits && limits->exif_orientation;
  if (orient)
    jpeg_save_markers(codec, JPEG_APP0 + 1, 0xffff);
  if (!read_header(reader))
    return STATUS_INPUT;
  TRY(image_prepare(limits, codec->image_width, codec->image_height, image));
  codec->out_color_space = codec->num_components == 4 ? JCS_CMYK : JCS_RGB;
  codec->dct_method = JDCT_ISLOW;
  if (!jpeg_start_decompress(codec)) {
    truncated();
    return STATUS_INPUT;
  }
  uint8_t *cmyk = NULL;
  if (codec->num_components == 4) /* from the codec's own pool, so that an error releases it */
    cmyk = codec->mem->alloc_large((j_common_ptr)codec, JPOOL_IMAGE, codec->output_width * (size_t)4);
  if (!read_rows(reader, image, cmyk)) {
    truncated();
    return STATUS_INPUT;
  }
  const int orientation = orient ? find_orientation(reader) : 1;
  jpeg_finish_decompress(codec); /* what is missing behind the last row is no matter */
  image_orient(image, orientation);
  return STATUS_OK;
}

enum status image_decode_jpeg(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                              struct image *image) {
  struct jpeg_reader reader = {0};
  start_reader(&reader, bytes, size);
  const enum status status = decode(&reader, limits, image);
  jpeg_destroy_decompress(&reader.codec);
  return status;
}

static enum status peek(struct jpeg_reader *reader, int *width, int *height) {
  if (setjmp(reader->failed))
    return STATUS_INPUT;
  jpeg_create_decompress(&reader->codec);
  reader->codec.src = &reader->source;
  if (!read_header(reader))
    return STATUS_INPUT;
  *width = (int)reader->codec.image_width;
  *height = (int)reader->codec.image_height;
  return STATUS_OK;
}

enum status image_peek_jpeg(const uint8_t *bytes, size_t size, int *width, int *height) {
  struct jpeg_reader reader = {0};
  start_reader(&reader, bytes, size);
  const enum status status = peek(&reader, width, height);
  jpeg_destroy_decompress(&reader.codec);
  return status;
}

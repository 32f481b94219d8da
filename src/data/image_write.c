/* Pictures out: JPEG to memory or a file, PNG to a file. */
#include "base/file.h"
#include "base/memory.h"
#include "data/image.h"
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jpeglib.h>

static void fail_encoder(j_common_ptr codec) {
  char message[JMSG_LENGTH_MAX];
  codec->err->format_message(codec, message);
  fatal("writing a JPEG: %s", message);
}

enum status image_encode_jpeg(const struct image *image, int quality, void **bytes, size_t *size) {
  if (image->width < 1 || image->height < 1 || image->width > JPEG_MAX_DIMENSION || image->height > JPEG_MAX_DIMENSION)
    return error_set(STATUS_INPUT, "an image of %d x %d pixels does not fit a JPEG (1 to %ld)", image->width,
                     image->height, (long)JPEG_MAX_DIMENSION);
  struct jpeg_error_mgr errors;
  struct jpeg_compress_struct codec = {.err = jpeg_std_error(&errors)};
  errors.error_exit = fail_encoder;
  jpeg_create_compress(&codec);
  unsigned char *encoded = NULL;
  unsigned long encoded_bytes = 0;
  jpeg_mem_dest(&codec, &encoded, &encoded_bytes);
  codec.image_width = (JDIMENSION)image->width;
  codec.image_height = (JDIMENSION)image->height;
  codec.input_components = 3;
  codec.in_color_space = JCS_RGB;
  jpeg_set_defaults(&codec);
  jpeg_set_quality(&codec, quality, TRUE);
  jpeg_start_compress(&codec, TRUE);
  while (codec.next_scanline < codec.image_height) {
    JSAMPROW row = image->pixels + (size_t)codec.next_scanline * image->width * 3;
    jpeg_write_scanlines(&codec, &row, 1);
  }
  jpeg_finish_compress(&codec);
  jpeg_destroy_compress(&codec);
  *size = encoded_bytes;
  *bytes = memory_allocate(encoded_bytes, "jpeg");
  memcpy(*bytes, encoded, encoded_bytes);
  free(encoded);
  return STATUS_OK;
}

enum status image_write_jpeg(const char *path, const struct image *image, int quality) {
  void *bytes;
  size_t size;
  TRY(image_encode_jpeg(image, quality, &bytes, &size));
  const enum status status = file_write_atomic(path, bytes, size);
  memory_release(bytes);
  return status;
}

enum status image_write_png(const char *path, const struct image *image) {
  png_image header = {.version = PNG_IMAGE_VERSION,
                      .width = (png_uint_32)image->width,
                      .height = (png_uint_32)image->height,
                      .format = PNG_FORMAT_RGB};
  png_alloc_size_t size = 0;
  if (!png_image_write_get_memory_size(header, size, 0, image->pixels, 0, NULL))
    return error_set(STATUS_INPUT, "'%s': %s", path, header.message);
  void *bytes = memory_allocate(size, "png");
  enum status status = STATUS_OK;
  if (!png_image_write_to_memory(&header, bytes, &size, 0, image->pixels, 0, NULL))
    status = error_set(STATUS_SYSTEM, "'%s': %s", path, header.message);
  else
    status = file_write_atomic(path, bytes, size);
  memory_release(bytes);
  return status;
}

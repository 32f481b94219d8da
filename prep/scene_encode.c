#include "scene_encode.h"
#include "base/error.h"
#include <stdio.h>
#include <stdlib.h>
#include <jpeglib.h>

static void fail(j_common_ptr common) {
  char message[JMSG_LENGTH_MAX];
  common->err->format_message(common, message);
  fatal("libjpeg: %s", message);
}

/* RGB24 is a native-endian word 0xXXRRGGBB. */
static J_COLOR_SPACE native_order(void) {
  const unsigned word = 1;
  return *(const unsigned char *)&word == 1 ? JCS_EXT_BGRX : JCS_EXT_XRGB;
}

void scene_encode_jpeg(cairo_surface_t *picture, int quality, struct text *out) {
  struct jpeg_error_mgr errors;
  struct jpeg_compress_struct jpeg = {.err = jpeg_std_error(&errors)};
  errors.error_exit = fail;
  jpeg_create_compress(&jpeg);
  unsigned char *bytes = NULL;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &bytes, &size);
  jpeg.image_width = (JDIMENSION)cairo_image_surface_get_width(picture);
  jpeg.image_height = (JDIMENSION)cairo_image_surface_get_height(picture);
  jpeg.input_components = 4;
  jpeg.in_color_space = native_order();
  jpeg_set_defaults(&jpeg);
  jpeg_set_quality(&jpeg, quality, TRUE);
  jpeg_start_compress(&jpeg, TRUE);
  unsigned char *pixels = cairo_image_surface_get_data(picture);
  int stride = cairo_image_surface_get_stride(picture);
  while (jpeg.next_scanline < jpeg.image_height) {
    JSAMPROW row = pixels + (size_t)jpeg.next_scanline * (size_t)stride;
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  text_append(out, (const char *)bytes, size);
  free(bytes);
}

static cairo_status_t append_bytes(void *out, const unsigned char *bytes, unsigned length) {
  text_append(out, (const char *)bytes, length);
  return CAIRO_STATUS_SUCCESS;
}

void scene_encode_png(cairo_surface_t *surface, struct text *out) {
  cairo_status_t status = cairo_surface_write_to_png_stream(surface, append_bytes, out);
  if (status != CAIRO_STATUS_SUCCESS)
    fatal("cairo: %s", cairo_status_to_string(status));
}

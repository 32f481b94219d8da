/* WebP through libwebp, where configure found it: the first frame on a transparent canvas, its alpha dropped, as Pillow
 * reads it. */
#include "config.h"
#include "data/image_private.h"
#include <string.h>
#ifdef HAVE_LIBWEBP
#include <webp/demux.h>

enum { CANVAS_CHANNELS = 4, EXIF_PREFIX_BYTES = 6 };

static enum status damaged(void) {
  return error_set(STATUS_INPUT, "WebP: the file is truncated or damaged");
}

enum status image_peek_webp(const uint8_t *bytes, size_t size, int *width, int *height) {
  WebPBitstreamFeatures features;
  if (WebPGetFeatures(bytes, size, &features) != VP8_STATUS_OK)
    return damaged();
  *width = features.width;
  *height = features.height;
  return STATUS_OK;
}

static int find_orientation(const WebPAnimDecoder *decoder) {
  WebPChunkIterator chunk;
  int orientation = 1;
  if (!WebPDemuxGetChunk(WebPAnimDecoderGetDemuxer(decoder), "EXIF", 1, &chunk))
    return orientation;
  const uint8_t *tiff = chunk.chunk.bytes;
  size_t size = chunk.chunk.size;
  if (size >= EXIF_PREFIX_BYTES && memcmp(tiff, "Exif\0", EXIF_PREFIX_BYTES) == 0)
    tiff += EXIF_PREFIX_BYTES, size -= EXIF_PREFIX_BYTES;
  orientation = image_exif_orientation(tiff, size);
  WebPDemuxReleaseChunkIterator(&chunk);
  return orientation;
}

static enum status take_first_frame(WebPAnimDecoder *decoder, const struct image_limits *limits, struct image *image) {
  WebPAnimInfo info;
  uint8_t *canvas;
  int when_ms;
  if (!WebPAnimDecoderGetInfo(decoder, &info))
    return damaged();
  TRY(image_prepare(limits, info.canvas_width, info.canvas_height, image));
  if (!WebPAnimDecoderGetNext(decoder, &canvas, &when_ms))
    return damaged();
  const size_t pixels = (size_t)image->width * (size_t)image->height;
  for (size_t i = 0; i < pixels; i++)
    memcpy(image->pixels + 3 * i, canvas + CANVAS_CHANNELS * i, 3);
  if (limits && limits->exif_orientation)
    image_orient(image, find_orientation(decoder));
  return STATUS_OK;
}

/* The size is looked at before libwebp makes its canvas. */
enum status image_decode_webp(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                              struct image *image) {
  const WebPData data = {.bytes = bytes, .size = size};
  int width = 0, height = 0;
  TRY(image_peek_webp(bytes, size, &width, &height));
  TRY(image_prepare(limits, width, height, image));
  WebPAnimDecoder *decoder = WebPAnimDecoderNew(&data, NULL);
  if (!decoder)
    return damaged();
  const enum status status = take_first_frame(decoder, limits, image);
  WebPAnimDecoderDelete(decoder);
  return status;
}

bool image_reads_webp(void) {
  return true;
}
#else

static enum status not_built_in(void) {
  return error_set(STATUS_INPUT, "the image is WebP, which this build does not read: configure found no libwebp; "
                                 "convert the image or remove the sample");
}

enum status image_peek_webp(const uint8_t *bytes, size_t size, int *width, int *height) {
  (void)bytes, (void)size, (void)width, (void)height;
  return not_built_in();
}

enum status image_decode_webp(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                              struct image *image) {
  (void)bytes, (void)size, (void)limits, (void)image;
  return not_built_in();
}

bool image_reads_webp(void) {
  return false;
}
#endif

#include "data/image.h"
#include "base/memory.h"
#include "data/image_private.h"
#include <inttypes.h>
#include <string.h>

/* Twice Pillow's warning threshold: where Pillow refuses a picture as a decompression bomb. */
static const int64_t default_max_pixels = 178956970;
static const uint8_t png_signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

void image_release(struct image *image) {
  memory_release(image->pixels);
  *image = (struct image){0};
}

enum status image_prepare(const struct image_limits *limits, int64_t width, int64_t height, struct image *image) {
  const int64_t most = limits && limits->max_pixels > 0 ? limits->max_pixels : default_max_pixels;
  if (width < 1 || height < 1)
    return error_set(STATUS_INPUT, "an image of %" PRId64 " x %" PRId64 " pixels is empty or damaged", width, height);
  if (width > INT32_MAX / 4 || height > INT32_MAX / 4 || width > most / height)
    return error_set(STATUS_INPUT,
                     "an image of %" PRId64 " x %" PRId64
                     " pixels is above the limit of %.1f megapixels; remove it or raise data.max_image_megapixels",
                     width, height, (double)most * 1e-6);
  const size_t bytes = (size_t)(width * height * 3) + IMAGE_SLACK_BYTES;
  if (bytes > image->capacity_bytes) {
    memory_release(image->pixels);
    image->pixels = memory_allocate(bytes, "image");
    image->capacity_bytes = bytes;
  }
  image->width = (int)width;
  image->height = (int)height;
  return STATUS_OK;
}

static bool is_jpeg(const uint8_t *bytes, size_t size) {
  return size >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff;
}

static bool is_png(const uint8_t *bytes, size_t size) {
  return size >= sizeof png_signature && memcmp(bytes, png_signature, sizeof png_signature) == 0;
}

static bool is_webp(const uint8_t *bytes, size_t size) {
  return size >= 12 && memcmp(bytes, "RIFF", 4) == 0 && memcmp(bytes + 8, "WEBP", 4) == 0;
}

/* What Pillow, in open_clip, would read besides is refused by its name. */
static enum status unknown_format(const uint8_t *bytes, size_t size) {
  static const struct {
    size_t at, length;
    const char *magic, *name;
  } formats[] = {{0, 4, "GIF8", "GIF"},      {0, 2, "BM", "BMP"},         {0, 4, "II*\0", "TIFF"},
                 {0, 4, "MM\0*", "TIFF"},    {4, 8, "ftypavif", "AVIF"},  {4, 6, "ftyphe", "HEIF"},
                 {4, 8, "ftypmif1", "HEIF"}, {4, 4, "jP  ", "JPEG 2000"}, {0, 4, "%PDF", "PDF"},
                 {0, 1, "<", "HTML or XML"}, {0, 2, "\n<", "HTML or XML"}};
  if (size == 0)
    return error_set(STATUS_INPUT, "the image is empty (0 bytes)");
  for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
    if (size >= formats[i].at + formats[i].length &&
        memcmp(bytes + formats[i].at, formats[i].magic, formats[i].length) == 0)
      return error_set(STATUS_INPUT, "the image is %s, not JPEG, PNG or WebP; convert it or remove the sample",
                       formats[i].name);
  return error_set(STATUS_INPUT, "the image is neither JPEG, PNG nor WebP; convert it or remove the sample");
}

enum status image_decode(const void *bytes, size_t size, const struct image_limits *limits, struct image *image) {
  if (is_jpeg(bytes, size))
    return image_decode_jpeg(bytes, size, limits, image);
  if (is_png(bytes, size))
    return image_decode_png(bytes, size, limits, image);
  return is_webp(bytes, size) ? image_decode_webp(bytes, size, limits, image) : unknown_format(bytes, size);
}

enum status image_peek(const void *bytes, size_t size, int *width, int *height) {
  if (is_jpeg(bytes, size))
    return image_peek_jpeg(bytes, size, width, height);
  if (is_webp(bytes, size))
    return image_peek_webp(bytes, size, width, height);
  if (!is_png(bytes, size))
    return unknown_format(bytes, size);
  const uint8_t *header = (const uint8_t *)bytes + sizeof png_signature;
  if (size < sizeof png_signature + 16 || memcmp(header + 4, "IHDR", 4) != 0)
    return error_set(STATUS_INPUT, "PNG: the header is truncated or damaged");
  uint32_t side[2];
  for (int i = 0; i < 2; i++) {
    const uint8_t *word = header + 8 + 4 * i;
    side[i] = (uint32_t)word[0] << 24 | (uint32_t)word[1] << 16 | (uint32_t)word[2] << 8 | word[3];
    if (side[i] == 0 || side[i] > INT32_MAX)
      return error_set(STATUS_INPUT, "PNG: the size in the header is damaged");
  }
  *width = (int)side[0];
  *height = (int)side[1];
  return STATUS_OK;
}

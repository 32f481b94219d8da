/* Pictures: JPEG (libjpeg-turbo, islow DCT, fancy upsampling), PNG (libpng) and, where configure found libwebp, WebP to
 * RGB exactly as Pillow decodes and converts them, Pillow's resize to the bit, crops from counter-based random numbers.
 * Formats are told by content, not by name. Thread-safe; buffers are reused through struct image. */
#ifndef MEMCLIP_DATA_IMAGE_H
#define MEMCLIP_DATA_IMAGE_H
#include "base/error.h"
#include "base/random.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image { /* RGB, 8 bit, rows dense; grown as needed, zero-initialised is empty */
  uint8_t *pixels;
  int width, height;
  size_t capacity_bytes;
};
void image_release(struct image *image);
struct image_limits {
  int64_t max_pixels;
  bool exif_orientation;
};
/* A truncated or corrupt file is an error (STATUS_INPUT), as in Pillow. A JPEG may be decoded at a reduced scale only
 * where that cannot change a bit: never. */
enum status image_decode(const void *bytes, size_t size, const struct image_limits *limits, struct image *image);
bool image_reads_webp(void); /* this build does */
/* Size from the header alone. */
enum status image_peek(const void *bytes, size_t size, int *width, int *height);

struct image_box {
  int left, top, width, height;
};
struct image_workspace {
  uint8_t *rows, *taps;
  size_t rows_bytes, taps_bytes;
}; /* zero-initialised; image_workspace_release */
void image_workspace_release(struct image_workspace *workspace);
/* Bicubic (a = -0.5, antialiased) of the box to out_width x out_height, as Pillow's resize(box=) after crop(): only
 * pixels of the box count. */
enum status image_resize(const struct image *from, const struct image_box *box, int out_width, int out_height,
                         struct image_workspace *workspace, struct image *out);
/* open_clip's ways of evaluation (contract 4.3) to width x height: resized to cover it, and the middle is cut out; to
 * lie within it, and the rest is filled; or both sides resized to it. */
enum image_resize_mode { RESIZE_SHORTEST, RESIZE_LONGEST, RESIZE_SQUASH };
struct image_transform {
  int width, height;
  enum image_resize_mode mode;
  bool bilinear; /* else bicubic; RESIZE_SHORTEST to an oblong is always bicubic, as in open_clip */
  uint8_t fill;
};
/* Words of open_clip's preprocess_cfg. */
enum status image_transform_parse(const char *mode, const char *interpolation, struct image_transform *transform);
/* Only pixels that survive the crop are computed. out: [height,width,3] bytes, dense. */
enum status image_transform(const struct image *from, const struct image_transform *transform,
                            struct image_workspace *workspace, uint8_t *out);
/* The usual one: bicubic, shorter side to size, centre crop. out: [size,size,3] bytes, dense. */
enum status image_transform_eval(const struct image *from, int size, struct image_workspace *workspace, uint8_t *out);
struct crop_range {
  double scale[2], ratio[2];
};
/* The box of a random resized crop (contract 4.4), a pure function of the key. */
struct image_box image_crop_box(int width, int height, const struct crop_range *range, const struct random_key *key);
/* The box resized to width x height. out: [height,width,3] bytes, dense. */
enum status image_transform_crop(const struct image *from, const struct image_box *box, int width, int height,
                                 struct image_workspace *workspace, uint8_t *out);
/* Changes of colour in training (contract 4.4), to the bit those of torchvision on Pillow's pictures: factors are drawn
 * from [max(0, 1 - strength), 1 + strength], of the hue from [-strength, strength] (in turns, at most 0.5), and applied
 * in a random order, all with one probability; then with another the picture becomes gray. */
enum image_color { IMAGE_BRIGHTNESS, IMAGE_CONTRAST, IMAGE_SATURATION, IMAGE_HUE, IMAGE_COLORS };
struct color_jitter {
  double strength[IMAGE_COLORS], probability, gray_probability;
};
void image_adjust_color(enum image_color kind, double factor, uint8_t *pixels, int64_t count);
void image_make_gray(uint8_t *pixels, int64_t count);
/* A pure function of the key; `count` pixels of three bytes. */
void image_jitter(const struct color_jitter *jitter, const struct random_key *key, uint8_t *pixels, int64_t count);
/* The instruction set that resizes: generic, avx2 or avx512, the best of the machine unless MEMCLIP_ISA asks for less.
 * The pixels are the same. */
const char *image_resize_isa(void);

enum status image_write_jpeg(const char *path, const struct image *image, int quality);
enum status image_encode_jpeg(const struct image *image, int quality, void **bytes, size_t *size); /* memory_release */
enum status image_write_png(const char *path, const struct image *image);
#endif

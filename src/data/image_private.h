/* What the files of image.h share. */
#ifndef MEMCLIP_DATA_IMAGE_PRIVATE_H
#define MEMCLIP_DATA_IMAGE_PRIVATE_H
#include "base/text.h"
#include "data/image.h"

enum { IMAGE_SLACK_BYTES = 64 }; /* after the pixels, so that vectors may read past the last one */

/* Room for width x height pixels; STATUS_INPUT when that is more than the limits allow, before anything is allocated.
 */
enum status image_prepare(const struct image_limits *limits, int64_t width, int64_t height, struct image *image);
enum status image_decode_jpeg(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                              struct image *image);
enum status image_decode_png(const uint8_t *bytes, size_t size, const struct image_limits *limits, struct image *image);
/* A PNG that ends early though its rows are all there, put together anew; else nothing. STATUS_INPUT when Pillow
 * refuses it for what follows the rows. */
enum status image_png_repair(const uint8_t *bytes, size_t size, const struct image_limits *limits, struct image *image,
                             struct text *repaired);
enum status image_decode_webp(const uint8_t *bytes, size_t size, const struct image_limits *limits,
                              struct image *image);
enum status image_peek_webp(const uint8_t *bytes, size_t size, int *width, int *height);
enum status image_peek_jpeg(const uint8_t *bytes, size_t size, int *width, int *height);
/* The orientation (1 to 8) that a TIFF block as in EXIF names; 1 when it names none. */
int image_exif_orientation(const uint8_t *tiff, size_t size);
/* Turns and mirrors the picture so that orientation `orientation` becomes 1. */
void image_orient(struct image *image, int orientation);
#endif

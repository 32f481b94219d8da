/* EXIF orientation, applied only where the caller asks for it. */
#include "base/memory.h"
#include "data/image_private.h"
#include <string.h>

enum { TAG_ORIENTATION = 0x0112, ENTRY_BYTES = 12 };

static uint32_t read_number(const uint8_t *at, int bytes, bool big_endian) {
  uint32_t value = 0;
  for (int i = 0; i < bytes; i++)
    value |= (uint32_t)at[i] << 8 * (big_endian ? bytes - 1 - i : i);
  return value;
}

int image_exif_orientation(const uint8_t *tiff, size_t size) {
  if (size < 14 || (memcmp(tiff, "II*\0", 4) != 0 && memcmp(tiff, "MM\0*", 4) != 0))
    return 1;
  const bool big = tiff[0] == 'M';
  const size_t directory = read_number(tiff + 4, 4, big);
  if (directory > size - 2)
    return 1;
  const size_t count = read_number(tiff + directory, 2, big);
  for (size_t i = 0; i < count && directory + 2 + (i + 1) * ENTRY_BYTES <= size; i++) {
    const uint8_t *entry = tiff + directory + 2 + i * ENTRY_BYTES;
    if (read_number(entry, 2, big) != TAG_ORIENTATION)
      continue;
    const uint32_t value = read_number(entry + 8, 2, big);
    return value >= 1 && value <= 8 ? (int)value : 1;
  }
  return 1;
}

void image_orient(struct image *image, int orientation) {
  if (orientation <= 1 || orientation > 8)
    return;
  const int width = image->width, height = image->height;
  const bool transposed = orientation >= 5;
  /* In the coordinates of the stored picture: does the shown picture run against its columns, its rows? */
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const int out_width = transposed ? height : width, out_height = transposed ? width : height;
  uint8_t *turned = memory_allocate(image->capacity_bytes, "image");
  for (int y = 0; y < out_height; y++)
    for (int x = 0; x < out_width; x++) {
      const int column = transposed ? y : x, row = transposed ? x : y;
      const int from_x = from_right ? width - 1 - column : column, from_y = from_bottom ? height - 1 - row : row;
      memcpy(turned + ((size_t)y * out_width + x) * 3, image->pixels + ((size_t)from_y * width + from_x) * 3, 3);
    }
  memory_release(image->pixels);
  image->pixels = turned;
  image->width = out_width;
  image->height = out_height;
}

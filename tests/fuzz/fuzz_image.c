/* A picture: its size from the header, decoded with and without its orientation, resized. */
#include "fuzz.h"
#include "data/image.h"

enum { SIZE = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static uint8_t out[SIZE * SIZE * 3];
  const struct image_limits limits = {.max_pixels = 1 << 18, .exif_orientation = size % 2 == 1};
  struct image image = {0};
  struct image_workspace workspace = {0};
  int width = 0, height = 0;
  const enum status peeked = image_peek(data, size, &width, &height);
  if (image_decode(data, size, &limits, &image) == STATUS_OK) {
    fuzz_require(peeked == STATUS_OK, "what can be decoded has a size in its header");
    fuzz_require((int64_t)width * height == (int64_t)image.width * image.height, "the header's size is the picture's");
    image_transform_eval(&image, SIZE, &workspace, out);
  }
  image_workspace_release(&workspace);
  image_release(&image);
  return 0;
}

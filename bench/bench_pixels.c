/* Images per second and core: a 500 x 375 JPEG decoded, and decoded, resized and cut to 224 x 224. The JPEG is made
 * here. MEMCLIP_ISA chooses the kernels. */
#include "base/clock.h"
#include "base/memory.h"
#include "data/image.h"
#include <math.h>
#include <stdio.h>

enum { WIDTH = 500, HEIGHT = 375, SIZE = 224, COUNT = 300 };

static void draw(struct image *image) {
  const struct random_key key = {.use = RANDOM_TEST};
  for (int i = 0; i < WIDTH * HEIGHT * 3; i++) {
    const int x = i / 3 % WIDTH, y = i / 3 / WIDTH;
    image->pixels[i] =
        (uint8_t)(120 + 80 * sin(x * 0.05 + i % 3) * cos(y * 0.07) + 8 * random_uniform(&key, (uint64_t)i));
  }
}

int main(void) {
  struct image image = {.width = WIDTH, .height = HEIGHT, .capacity_bytes = WIDTH * HEIGHT * 3}, decoded = {0};
  image.pixels = memory_allocate(image.capacity_bytes, "bench");
  draw(&image);
  void *bytes;
  size_t size;
  enum status status = image_encode_jpeg(&image, 90, &bytes, &size);
  struct image_workspace workspace = {0};
  uint8_t *out = memory_allocate((size_t)SIZE * SIZE * 3, "bench");
  double seconds[2];
  for (int resize = 0; resize < 2; resize++) {
    const double start = clock_seconds();
    for (int i = 0; i < COUNT && status == STATUS_OK; i++) {
      status = image_decode(bytes, size, NULL, &decoded);
      if (resize && status == STATUS_OK)
        status = image_transform_eval(&decoded, SIZE, &workspace, out);
    }
    seconds[resize] = clock_seconds() - start;
  }
  if (status != STATUS_OK)
    fprintf(stderr, "bench_pixels: %s\n", error_message());
  else
    printf("%s: decode %.0f images/s, decode + resize + crop %.0f images/s (resize alone %.0f)\n", image_resize_isa(),
           COUNT / seconds[0], COUNT / seconds[1], COUNT / (seconds[1] - seconds[0]));
  memory_release(bytes);
  memory_release(out);
  image_release(&image);
  image_release(&decoded);
  image_workspace_release(&workspace);
  return status;
}

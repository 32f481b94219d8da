/* The box of a random resized crop. */
#include "data/image.h"
#include <math.h>

enum { TRIES = 10, DRAWS_PER_TRY = 4 };

static struct image_box central_box(int width, int height, const double ratio[2]) {
  const double whole = (double)width / height;
  int box_width = width, box_height = height;
  if (whole < ratio[0])
    box_height = (int)rint(width / ratio[0]);
  else if (whole > ratio[1])
    box_width = (int)rint(height * ratio[1]);
  box_width = box_width < 1 ? 1 : box_width > width ? width : box_width;
  box_height = box_height < 1 ? 1 : box_height > height ? height : box_height;
  return (struct image_box){(width - box_width) / 2, (height - box_height) / 2, box_width, box_height};
}

/* Area uniform in scale, ratio log-uniform: w = sqrt(A r), h = sqrt(A / r), both rounded; the first of ten draws that
 * fits, else the central box. */
struct image_box image_crop_box(int width, int height, const struct crop_range *range, const struct random_key *key) {
  const double low = log(range->ratio[0]), high = log(range->ratio[1]);
  for (uint64_t draw = 0; draw < TRIES * DRAWS_PER_TRY; draw += DRAWS_PER_TRY) {
    const double scale = range->scale[0] + (range->scale[1] - range->scale[0]) * random_uniform(key, draw);
    const double area = (double)width * height * scale, ratio = exp(low + (high - low) * random_uniform(key, draw + 1));
    const double box_width = rint(sqrt(area * ratio)), box_height = rint(sqrt(area / ratio));
    if (box_width < 1 || box_height < 1 || box_width > width || box_height > height)
      continue;
    const int w = (int)box_width, h = (int)box_height;
    const int left = (int)random_below(key, draw + 2, (uint64_t)(width - w) + 1),
              top = (int)random_below(key, draw + 3, (uint64_t)(height - h) + 1);
    return (struct image_box){left, top, w, h};
  }
  return central_box(width, height, range->ratio);
}

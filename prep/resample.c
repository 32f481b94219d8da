#include "resample.h"
#include "base/memory.h"
#include <math.h>
#include <string.h>

/* Keys' cubic with a = -0.5, the one of antialiased resizing. */
static double cubic(double x) {
  const double a = -0.5;
  x = fabs(x);
  if (x < 1)
    return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/* One axis: `from` [outer, old, inner] to `to` [outer, length, inner]. Output i: scale s = old / length, filter scale f
 * = max(s, 1), centre c = s (i + 0.5), taps j from floor(c - 2 f + 0.5) to floor(c + 2 f + 0.5) within the input,
 * weights cubic((j - c + 0.5) / f) normalised to sum one. */
static void resample_axis(const double *from, int64_t old, double *to, int64_t length, int64_t outer, int64_t inner) {
  const double scale = (double)old / (double)length, filter = fmax(scale, 1);
  memset(to, 0, (size_t)(outer * length * inner) * sizeof *to);
  for (int64_t i = 0; i < length; i++) {
    const double centre = scale * ((double)i + 0.5);
    const int64_t begin = (int64_t)fmax(floor(centre - 2 * filter + 0.5), 0),
                  end = (int64_t)fmin(floor(centre + 2 * filter + 0.5), (double)old);
    double sum = 0;
    for (int64_t j = begin; j < end; j++)
      sum += cubic(((double)j - centre + 0.5) / filter);
    for (int64_t j = begin; j < end; j++) {
      const double weight = cubic(((double)j - centre + 0.5) / filter) / sum;
      for (int64_t o = 0; o < outer; o++)
        for (int64_t k = 0; k < inner; k++)
          to[(o * length + i) * inner + k] += weight * from[(o * old + j) * inner + k];
    }
  }
}

void resample_grid(const float *from, int64_t old, float *to, int64_t height, int64_t columns, int64_t width) {
  double *wide = memory_allocate((size_t)(old * old * width) * sizeof *wide, "positional table"),
         *rows = memory_allocate((size_t)(old * columns * width) * sizeof *rows, "positional table"),
         *grid = memory_allocate((size_t)(height * columns * width) * sizeof *grid, "positional table");
  for (int64_t i = 0; i < old * old * width; i++)
    wide[i] = (double)from[width + i];
  resample_axis(wide, old, rows, columns, old, width);
  resample_axis(rows, old, grid, height, 1, columns * width);
  memcpy(to, from, (size_t)width * sizeof *to);
  for (int64_t i = 0; i < height * columns * width; i++)
    to[width + i] = (float)grid[i];
  memory_release(wide);
  memory_release(rows);
  memory_release(grid);
}

void resample_line(const float *from, int64_t old, float *to, int64_t length, int64_t width) {
  const double scale = (double)old / (double)length;
  for (int64_t i = 0; i < length; i++) {
    const double at = fmax(((double)i + 0.5) * scale - 0.5, 0);
    const int64_t low = (int64_t)at, high = low + 1 < old ? low + 1 : low;
    const double share = at - (double)low;
    for (int64_t k = 0; k < width; k++)
      to[i * width + k] = (float)((1 - share) * (double)from[low * width + k] + share * (double)from[high * width + k]);
  }
}

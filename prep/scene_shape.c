#include "scene_paint.h"
#include <math.h>
#include <stddef.h>

struct point {
  double x, y;
};

/* Corners at `radii[i % count]` and equal angles, the first one upwards. */
static void polygon(cairo_t *cairo, int corners, const double *radii, int count) {
  for (int i = 0; i < corners; i++) {
    double angle = 2 * M_PI * i / corners - M_PI / 2, radius = radii[i % count];
    cairo_line_to(cairo, radius * cos(angle), radius * sin(angle));
  }
  cairo_close_path(cairo);
}

static void circle(cairo_t *cairo) {
  cairo_arc(cairo, 0, 0, 0.95, 0, 2 * M_PI);
  cairo_close_path(cairo);
}

static void square(cairo_t *cairo) {
  cairo_rectangle(cairo, -0.82, -0.82, 1.64, 1.64);
}

static void triangle(cairo_t *cairo) {
  cairo_translate(cairo, 0, 0.2);
  polygon(cairo, 3, (const double[]){1.12}, 1);
  cairo_translate(cairo, 0, -0.2);
}

static void star(cairo_t *cairo) {
  cairo_translate(cairo, 0, 0.06);
  polygon(cairo, 10, (const double[]){1.1, 0.48}, 2);
  cairo_translate(cairo, 0, -0.06);
}

static void heart(cairo_t *cairo) {
  cairo_move_to(cairo, 0, 0.95);
  cairo_curve_to(cairo, -0.6, 0.5, -1.05, 0.1, -1.0, -0.4);
  cairo_curve_to(cairo, -0.95, -1.0, -0.2, -1.05, 0, -0.4);
  cairo_curve_to(cairo, 0.2, -1.05, 0.95, -1.0, 1.0, -0.4);
  cairo_curve_to(cairo, 1.05, 0.1, 0.6, 0.5, 0, 0.95);
  cairo_close_path(cairo);
}

static void ring(cairo_t *cairo) {
  circle(cairo);
  cairo_new_sub_path(cairo);
  cairo_arc(cairo, 0, 0, 0.45, 0, 2 * M_PI);
  cairo_close_path(cairo);
}

static void cross(cairo_t *cairo) {
  static const struct point corners[] = {{-0.33, -0.95}, {0.33, -0.95}, {0.33, -0.33},  {0.95, -0.33},
                                         {0.95, 0.33},   {0.33, 0.33},  {0.33, 0.95},   {-0.33, 0.95},
                                         {-0.33, 0.33},  {-0.95, 0.33}, {-0.95, -0.33}, {-0.33, -0.33}};
  for (size_t i = 0; i < sizeof corners / sizeof corners[0]; i++)
    cairo_line_to(cairo, corners[i].x, corners[i].y);
  cairo_close_path(cairo);
}

static void diamond(cairo_t *cairo) {
  polygon(cairo, 4, (const double[]){1.08, 0.74}, 2);
}

static void hexagon(cairo_t *cairo) {
  polygon(cairo, 6, (const double[]){1.0}, 1);
}

/* A disc less a disc shifted to the right; the two circles meet at angle +-a of the first. */
static void moon(cairo_t *cairo) {
  const double outer = 1.0, inner = 0.8, shift = 0.52;
  double x = (outer * outer - inner * inner + shift * shift) / (2 * shift), y = sqrt(outer * outer - x * x);
  cairo_translate(cairo, 0.15, 0);
  cairo_arc(cairo, 0, 0, outer, atan2(y, x), 2 * M_PI - atan2(y, x));
  cairo_arc_negative(cairo, shift, 0, inner, atan2(-y, x - shift), atan2(y, x - shift));
  cairo_close_path(cairo);
  cairo_translate(cairo, -0.15, 0);
}

void scene_shape_path(cairo_t *cairo, int shape) {
  static void (*const paths[SHAPE_COUNT])(cairo_t *) = {
      [SHAPE_CIRCLE] = circle,   [SHAPE_SQUARE] = square, [SHAPE_TRIANGLE] = triangle, [SHAPE_STAR] = star,
      [SHAPE_HEART] = heart,     [SHAPE_RING] = ring,     [SHAPE_CROSS] = cross,       [SHAPE_DIAMOND] = diamond,
      [SHAPE_HEXAGON] = hexagon, [SHAPE_MOON] = moon,
  };
  cairo_new_path(cairo);
  paths[shape](cairo);
}

/* Strokes on a grid 4 wide (x 0..4) and 6 high (y 0..6): digit pairs xy, strokes apart by a blank. */
static const struct {
  char letter;
  const char *strokes;
} letters[] = {{'C', "4130100105163645"},
               {'E', "40000646 0333"},
               {'H', "0006 4046 0343"},
               {'K', "0006 400346"},
               {'L', "000646"},
               {'M', "0600234046"},
               {'N', "06004640"},
               {'O', "103041453616050110"},
               {'S', "413010010213334445361605"},
               {'T', "0040 2026"},
               {'V', "002640"},
               {'X', "0046 4006"}};

void scene_letter_path(cairo_t *cairo, char letter) {
  for (size_t i = 0; i < sizeof letters / sizeof letters[0]; i++) {
    if (letters[i].letter != letter)
      continue;
    bool pen = false;
    for (const char *at = letters[i].strokes; *at != '\0'; at++) {
      if (*at == ' ') {
        pen = false;
        continue;
      }
      double x = (at[0] - '0') / 4.0 - 0.5, y = (at[1] - '0') / 4.0 - 0.75;
      (pen ? cairo_line_to : cairo_move_to)(cairo, x, y);
      pen = true;
      at++;
    }
  }
}

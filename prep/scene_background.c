#include "scene_paint.h"
#include <math.h>

static void set_hex(cairo_t *cairo, unsigned colour) {
  cairo_set_source_rgb(cairo, (colour >> 16 & 255) / 255.0, (colour >> 8 & 255) / 255.0, (colour & 255) / 255.0);
}

/* Vertical gradient from `top` at y0 to `bottom` at y1, over the current path or the whole picture. */
static void set_gradient(cairo_t *cairo, double y0, double y1, unsigned top, unsigned bottom) {
  cairo_pattern_t *pattern = cairo_pattern_create_linear(0, y0, 0, y1);
  cairo_pattern_add_color_stop_rgb(pattern, 0, (top >> 16 & 255) / 255.0, (top >> 8 & 255) / 255.0,
                                   (top & 255) / 255.0);
  cairo_pattern_add_color_stop_rgb(pattern, 1, (bottom >> 16 & 255) / 255.0, (bottom >> 8 & 255) / 255.0,
                                   (bottom & 255) / 255.0);
  cairo_set_source(cairo, pattern);
  cairo_pattern_destroy(pattern);
}

static void fill_sky(cairo_t *cairo, unsigned top, unsigned bottom) {
  set_gradient(cairo, 0, 70, top, bottom);
  cairo_paint(cairo);
}

/* Ground below a gently waving line. */
static void fill_hills(cairo_t *cairo, struct scene_draw *draw, double y, double height, unsigned top,
                       unsigned bottom) {
  double phase = scene_draw_range(draw, 0, 2 * M_PI), waves = scene_draw_range(draw, 0.7, 1.4);
  cairo_new_path(cairo);
  cairo_move_to(cairo, 0, 96);
  for (int x = 0; x <= 96; x += 6)
    cairo_line_to(cairo, x, y - height * sin(phase + waves * 2 * M_PI * x / 96));
  cairo_line_to(cairo, 96, 96);
  cairo_close_path(cairo);
  set_gradient(cairo, y - height, 96, top, bottom);
  cairo_fill(cairo);
}

static void fill_disc(cairo_t *cairo, double x, double y, double radius) {
  cairo_new_path(cairo);
  cairo_arc(cairo, x, y, radius, 0, 2 * M_PI);
  cairo_fill(cairo);
}

static void paint_cloud(cairo_t *cairo, struct scene_draw *draw, double low, double high) {
  double x = scene_draw_range(draw, 6, 90), y = scene_draw_range(draw, low, high), size = scene_draw_range(draw, 3, 5);
  cairo_new_path(cairo);
  for (int i = -1; i <= 1; i++) {
    cairo_new_sub_path(cairo);
    cairo_arc(cairo, x + 1.3 * i * size, y - (i == 0 ? 0.5 * size : 0), size * (i == 0 ? 1.15 : 0.85), 0, 2 * M_PI);
  }
  cairo_set_source_rgba(cairo, 1, 1, 1, 0.75);
  cairo_fill(cairo);
}

static void paint_sun(cairo_t *cairo, struct scene_draw *draw, unsigned colour) {
  double x = scene_draw_range(draw, 14, 82), y = scene_draw_range(draw, 8, 18);
  cairo_set_source_rgba(cairo, 1, 0.95, 0.7, 0.3);
  fill_disc(cairo, x, y, 9);
  set_hex(cairo, colour);
  fill_disc(cairo, x, y, 6);
}

static void paint_meadow(cairo_t *cairo, struct scene_draw *draw) {
  fill_sky(cairo, 0x8fd0f5, 0xdff3fb);
  paint_cloud(cairo, draw, 8, 22);
  fill_hills(cairo, draw, 38, 5, 0x9ccf6a, 0x86bf55);
  fill_hills(cairo, draw, 52, 4, 0x84c552, 0x4f9a35);
  static const unsigned petals[] = {0xffffff, 0xffe36e, 0xf7b4d2};
  for (int i = 0; i < 14; i++) {
    double x = scene_draw_range(draw, 2, 94), y = scene_draw_range(draw, 60, 94);
    set_hex(cairo, petals[i % 3]);
    fill_disc(cairo, x, y, 0.9);
  }
}

static void paint_beach(cairo_t *cairo, struct scene_draw *draw) {
  fill_sky(cairo, 0x7cc7f2, 0xd8f1fa);
  paint_sun(cairo, draw, 0xffe27a);
  double horizon = scene_draw_range(draw, 28, 33);
  cairo_rectangle(cairo, 0, horizon, 96, 40);
  set_gradient(cairo, horizon, horizon + 26, 0x2b9fc4, 0x7fdbd8);
  cairo_fill(cairo);
  fill_hills(cairo, draw, 54, 2.5, 0xffffff, 0xffffff);
  cairo_translate(cairo, 0, 2.2);
  fill_hills(cairo, draw, 55, 2.0, 0xf6e3ae, 0xe3c27c);
  cairo_translate(cairo, 0, -2.2);
  cairo_set_source_rgba(cairo, 0.70, 0.54, 0.28, 0.55);
  for (int i = 0; i < 16; i++) {
    double x = scene_draw_range(draw, 2, 94), y = scene_draw_range(draw, 63, 94);
    fill_disc(cairo, x, y, 0.7);
  }
}

static void triangle_path(cairo_t *cairo, double x, double y, double half, double height) {
  cairo_move_to(cairo, x - half, y);
  cairo_line_to(cairo, x, y - height);
  cairo_line_to(cairo, x + half, y);
  cairo_close_path(cairo);
}

/* Three tiers of needles on a trunk; x, y of its foot and the size are drawn from ranges. */
struct span {
  double low, high;
};
static void paint_pine(cairo_t *cairo, struct scene_draw *draw, struct span x_span, struct span y_span,
                       struct span size_span, unsigned needles) {
  double x = scene_draw_range(draw, x_span.low, x_span.high), y = scene_draw_range(draw, y_span.low, y_span.high);
  double size = scene_draw_range(draw, size_span.low, size_span.high);
  cairo_new_path(cairo);
  set_hex(cairo, 0x5b3f28);
  cairo_rectangle(cairo, x - 0.08 * size, y - 0.2 * size, 0.16 * size, 0.2 * size);
  cairo_fill(cairo);
  set_hex(cairo, needles);
  for (int tier = 0; tier < 3; tier++)
    triangle_path(cairo, x, y - (0.15 + 0.25 * tier) * size, (0.36 - 0.08 * tier) * size, 0.42 * size);
  cairo_fill(cairo);
}

static void paint_snow(cairo_t *cairo, struct scene_draw *draw) {
  fill_sky(cairo, 0xa9c1d8, 0xe6eef5);
  fill_hills(cairo, draw, 42, 7, 0xd3e0ec, 0xc3d4e4);
  for (int i = 0; i < 4; i++)
    paint_pine(cairo, draw, (struct span){4, 92}, (struct span){46, 52}, (struct span){12, 18}, 0x5f8790);
  fill_hills(cairo, draw, 58, 4, 0xfbfdff, 0xd6e4f2);
  cairo_set_source_rgba(cairo, 1, 1, 1, 0.95);
  for (int i = 0; i < 26; i++) {
    double x = scene_draw_range(draw, 1, 95), y = scene_draw_range(draw, 1, 60);
    fill_disc(cairo, x, y, 0.75);
  }
}

static void paint_cactus(cairo_t *cairo, struct scene_draw *draw) {
  double x = scene_draw_range(draw, 6, 90), y = scene_draw_range(draw, 54, 60), size = scene_draw_range(draw, 10, 14);
  cairo_set_line_cap(cairo, CAIRO_LINE_CAP_ROUND);
  cairo_set_line_join(cairo, CAIRO_LINE_JOIN_ROUND);
  set_hex(cairo, 0x4c8a57);
  cairo_set_line_width(cairo, 0.24 * size);
  cairo_new_path(cairo);
  cairo_move_to(cairo, x, y);
  cairo_line_to(cairo, x, y - size);
  cairo_move_to(cairo, x, y - 0.35 * size);
  cairo_line_to(cairo, x - 0.35 * size, y - 0.35 * size);
  cairo_line_to(cairo, x - 0.35 * size, y - 0.7 * size);
  cairo_move_to(cairo, x, y - 0.5 * size);
  cairo_line_to(cairo, x + 0.35 * size, y - 0.5 * size);
  cairo_line_to(cairo, x + 0.35 * size, y - 0.85 * size);
  cairo_stroke(cairo);
}

static void paint_desert(cairo_t *cairo, struct scene_draw *draw) {
  fill_sky(cairo, 0xf7b267, 0xfde6bd);
  paint_sun(cairo, draw, 0xfff1b8);
  fill_hills(cairo, draw, 46, 6, 0xe0a458, 0xd39446);
  for (int i = 0; i < 2; i++)
    paint_cactus(cairo, draw);
  fill_hills(cairo, draw, 62, 5, 0xedbe74, 0xc98a3c);
}

static void paint_night(cairo_t *cairo, struct scene_draw *draw) {
  set_gradient(cairo, 0, 96, 0x0a1030, 0x35307a);
  cairo_paint(cairo);
  for (int i = 0; i < 44; i++) {
    double x = scene_draw_range(draw, 1, 95), y = scene_draw_range(draw, 1, 88),
           light = scene_draw_range(draw, 0.45, 1);
    cairo_set_source_rgba(cairo, 1, 0.98, 0.88, light);
    fill_disc(cairo, x, y, 0.35 + 0.5 * light);
  }
  fill_hills(cairo, draw, 89, 2.5, 0x11152f, 0x0b0e22);
}

static void paint_sea(cairo_t *cairo, struct scene_draw *draw) {
  fill_sky(cairo, 0x9fd8f0, 0xeaf7fb);
  paint_cloud(cairo, draw, 7, 16);
  double horizon = scene_draw_range(draw, 22, 27);
  cairo_rectangle(cairo, 0, horizon, 96, 96 - horizon);
  set_gradient(cairo, horizon, 96, 0x3aa0cf, 0x0d3f78);
  cairo_fill(cairo);
  cairo_set_line_cap(cairo, CAIRO_LINE_CAP_ROUND);
  cairo_set_line_width(cairo, 1);
  cairo_set_source_rgba(cairo, 1, 1, 1, 0.5);
  for (int row = 0; row < 6; row++) {
    double y = horizon + 7 + 11 * row, shift = scene_draw_range(draw, 0, 24);
    for (int i = -1; i < 4; i++) {
      double x = shift + 24 * i;
      cairo_move_to(cairo, x, y);
      cairo_curve_to(cairo, x + 3, y - 3, x + 6, y - 3, x + 9, y);
    }
  }
  cairo_stroke(cairo);
}

static void paint_forest(cairo_t *cairo, struct scene_draw *draw) {
  fill_sky(cairo, 0xc5e3c2, 0xeaf4d8);
  static const unsigned needles[] = {0x6ea386, 0x3f7f5b, 0x24573c};
  for (int row = 0; row < 3; row++) {
    double shift = scene_draw_range(draw, 0, 12);
    for (int i = 0; i < 8; i++) {
      double x = shift + 14 * i - 6, y = 46 + 12 * row;
      paint_pine(cairo, draw, (struct span){x, x}, (struct span){y - 2, y + 2}, (struct span){26, 36}, needles[row]);
    }
  }
  fill_hills(cairo, draw, 68, 2.5, 0x55804a, 0x2d4a2a);
}

static void paint_building(cairo_t *cairo, struct scene_draw *draw, double x, double width, double top, unsigned wall) {
  cairo_rectangle(cairo, x, top, width, 96 - top);
  set_hex(cairo, wall);
  cairo_fill(cairo);
  for (double y = top + 3; y < 80; y += 6)
    for (double at = x + 2; at < x + width - 3; at += 4.5)
      if (scene_draw_chance(draw, 0.7))
        cairo_rectangle(cairo, at, y, 2.2, 3);
  set_hex(cairo, 0xffe9a3);
  cairo_fill(cairo);
}

static void paint_city(cairo_t *cairo, struct scene_draw *draw) {
  fill_sky(cairo, 0xb6c3e0, 0xf3d9d0);
  static const unsigned walls[] = {0x76809c, 0x8d7f97, 0x667a8e, 0x8a8fa8};
  double x = scene_draw_range(draw, -8, 0);
  for (int i = 0; x < 96; i++) {
    double width = scene_draw_range(draw, 13, 21), top = scene_draw_range(draw, 14, 48);
    paint_building(cairo, draw, x, width, top, walls[i % 4]);
    x += width + 0.8;
  }
  cairo_rectangle(cairo, 0, 82, 96, 14);
  set_hex(cairo, 0x4a4d57);
  cairo_fill(cairo);
  set_hex(cairo, 0xe8e3d0);
  for (int i = 0; i < 7; i++)
    cairo_rectangle(cairo, 2 + 14 * i, 88.5, 7, 1.2);
  cairo_fill(cairo);
}

void scene_paint_background(cairo_t *cairo, int background, struct scene_draw *draw) {
  static void (*const painters[BACKGROUND_COUNT])(cairo_t *, struct scene_draw *) = {
      [BACKGROUND_MEADOW] = paint_meadow, [BACKGROUND_BEACH] = paint_beach, [BACKGROUND_SNOW] = paint_snow,
      [BACKGROUND_DESERT] = paint_desert, [BACKGROUND_NIGHT] = paint_night, [BACKGROUND_SEA] = paint_sea,
      [BACKGROUND_FOREST] = paint_forest, [BACKGROUND_CITY] = paint_city,
  };
  cairo_save(cairo);
  painters[background](cairo, draw);
  cairo_restore(cairo);
}

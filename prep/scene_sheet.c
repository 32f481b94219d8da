#include "scene_sheet.h"
#include "scene_paint.h"

enum status scene_sheet_write(const char *path, uint64_t seed, enum scene_split split, int columns, int rows,
                              int pixels) {
  int gap = pixels / 24 + 1;
  cairo_surface_t *sheet =
      cairo_image_surface_create(CAIRO_FORMAT_RGB24, columns * (pixels + gap) + gap, rows * (pixels + gap) + gap);
  cairo_surface_t *picture = cairo_image_surface_create(CAIRO_FORMAT_RGB24, pixels, pixels);
  cairo_t *cairo = cairo_create(sheet);
  cairo_set_source_rgb(cairo, 1, 1, 1);
  cairo_paint(cairo);
  for (int i = 0; i < columns * rows; i++) {
    struct scene scene = scene_make(seed, split, i);
    scene_paint(&scene, picture);
    cairo_set_source_surface(cairo, picture, gap + i % columns * (pixels + gap), gap + i / columns * (pixels + gap));
    cairo_paint(cairo);
  }
  cairo_destroy(cairo);
  cairo_status_t status = cairo_surface_write_to_png(sheet, path);
  cairo_surface_destroy(picture);
  cairo_surface_destroy(sheet);
  return status == CAIRO_STATUS_SUCCESS
             ? STATUS_OK
             : error_set(STATUS_SYSTEM, "%s: cannot write: %s", path, cairo_status_to_string(status));
}

/* Scenes to pixels with cairo, anti-aliased, in units of a 96 x 96 picture scaled to any size. Jitter and scenery are
 * functions of the scene's paint_key. */
#ifndef MEMCLIP_PREP_SCENE_PAINT_H
#define MEMCLIP_PREP_SCENE_PAINT_H
#include "scene_world.h"
#include <cairo.h>

struct scene_rgb {
  double red, green, blue;
};
extern const struct scene_rgb scene_palette[COLOUR_COUNT];

/* Classes of the maps: 0 is what no class covers, then backgrounds, shapes, sign, frame. */
enum {
  SCENE_CLASS_BACKGROUND = 1,
  SCENE_CLASS_SHAPE = SCENE_CLASS_BACKGROUND + BACKGROUND_COUNT,
  SCENE_CLASS_SIGN = SCENE_CLASS_SHAPE + SHAPE_COUNT,
  SCENE_CLASS_FRAME,
  SCENE_CLASS_COUNT
};

/* surface: CAIRO_FORMAT_RGB24, square, of any size; all of it is painted. */
void scene_paint(const struct scene *scene, cairo_surface_t *surface);
/* surface: CAIRO_FORMAT_A8, square; every byte becomes a class. */
void scene_paint_classes(const struct scene *scene, cairo_surface_t *surface);

/* The floors below scene_paint: user space is 96 x 96 units. */
void scene_paint_background(cairo_t *cairo, int background, struct scene_draw *draw);
/* Adds the strokes of an upper-case letter, 1 unit wide and 1.5 high, centred at the origin, to the path. */
void scene_letter_path(cairo_t *cairo, char letter);
/* Outline of a shape of radius 1 about the origin; fill with the even-odd rule. */
void scene_shape_path(cairo_t *cairo, int shape);
#endif

/* Cairo's pixels to files in memory, without a copy in between. */
#ifndef MEMCLIP_PREP_SCENE_ENCODE_H
#define MEMCLIP_PREP_SCENE_ENCODE_H
#include "base/text.h"
#include <cairo.h>

void scene_encode_jpeg(cairo_surface_t *picture, int quality, struct text *out); /* CAIRO_FORMAT_RGB24; appends */
void scene_encode_png(cairo_surface_t *surface, struct text *out); /* CAIRO_FORMAT_A8 becomes 8-bit gray; appends */
#endif

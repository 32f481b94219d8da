/* Captions: the first sentence is the short caption, then one sentence per remaining fact. Only the first sentence's
 * end is the first "." of the text. The wording depends on the scene's keys and the kind of fact alone, never on its
 * values: two scenes with equal keys that differ in one fact differ in the words of that fact. */
#ifndef MEMCLIP_PREP_SCENE_CAPTION_H
#define MEMCLIP_PREP_SCENE_CAPTION_H
#include "base/text.h"
#include "scene_world.h"

void scene_caption(const struct scene *scene, struct text *out); /* appends the long caption */
/* Length of the short caption at the head of a long one, without its ".". */
size_t scene_short_length(const char *caption);
/* Whether the caption of `told` states a place or relation that the picture of `shown` makes false; both hold the same
 * objects. */
bool scene_caption_misplaces(const struct scene *told, const struct scene *shown);
/* Whether a picture's scene makes the short caption of `told` true. */
bool scene_fits_short(const struct scene *scene, const struct scene *told);
#endif

/* One fact of a scene changed. Each change is its own inverse in kind and drawn alike in both directions; what comes
 * out is again a scene of the world that its split may show, so a caption of it gives no hint that it is the wrong one.
 */
#ifndef MEMCLIP_PREP_SCENE_CHANGE_H
#define MEMCLIP_PREP_SCENE_CHANGE_H
#include "scene_world.h"

enum scene_change {
  CHANGE_SWAP,      /* two objects exchange their colours */
  CHANGE_ATTRIBUTE, /* another colour, texture or size of an object, another frame colour or letter */
  CHANGE_OBJECT,    /* another shape or another background */
  CHANGE_RELATION,  /* two objects of the same count exchange their places, or the scene is mirrored */
  CHANGE_COUNT,     /* one copy more or less */
  CHANGE_KINDS
};
/* False (scene undefined) where the drawn change does not apply; callers draw again. */
bool scene_change(struct scene *scene, enum scene_change change, struct scene_draw *draw);
#endif

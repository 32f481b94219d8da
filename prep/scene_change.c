#include "scene_change.h"

/* Uniform over 0..count-1 without `now`. */
static int draw_other(struct scene_draw *draw, int now, int count) {
  return (now + 1 + scene_draw_below(draw, count - 1)) % count;
}

static bool change_swap(struct scene *scene, struct scene_draw *draw) {
  int a = scene_draw_below(draw, scene->objects), b = draw_other(draw, a, scene->objects);
  int held = scene->object[a].colour;
  scene->object[a].colour = scene->object[b].colour;
  scene->object[b].colour = held;
  return held != scene->object[a].colour;
}

static bool change_attribute(struct scene *scene, struct scene_draw *draw) {
  struct scene_object *object = &scene->object[scene_draw_below(draw, scene->objects)];
  switch (scene_draw_below(draw, 5)) {
  case 0:
    object->size = 1 - object->size;
    return true;
  case 1: /* plain is twice as common as the others, so it is left out: both directions must be alike */
    if (object->texture == TEXTURE_PLAIN)
      return false;
    object->texture = 1 + draw_other(draw, object->texture - 1, TEXTURE_COUNT - 1);
    return true;
  case 2:
    if (scene->frame == SCENE_NO_FRAME)
      return false;
    scene->frame = draw_other(draw, scene->frame, COLOUR_COUNT);
    return true;
  case 3: {
    if (scene->letters == 0)
      return false;
    int *letter = &scene->letter[scene_draw_below(draw, scene->letters)];
    *letter = draw_other(draw, *letter, SCENE_ALPHABET);
    return true;
  }
  default:
    object->colour = draw_other(draw, object->colour, COLOUR_COUNT);
    return true;
  }
}

static bool change_object(struct scene *scene, struct scene_draw *draw) {
  if (scene_draw_chance(draw, 0.4)) {
    scene->background = draw_other(draw, scene->background, BACKGROUND_COUNT);
    return true;
  }
  int changed = scene_draw_below(draw, scene->objects),
      shape = draw_other(draw, scene->object[changed].shape, SHAPE_COUNT);
  for (int i = 0; i < scene->objects; i++)
    if (scene->object[i].shape == shape)
      return false;
  scene->object[changed].shape = shape;
  return true;
}

static int mirror_cell(int cell, bool columns) {
  int row = cell / 3, column = cell % 3;
  return columns ? row * 3 + 2 - column : (2 - row) * 3 + column;
}

static bool change_relation(struct scene *scene, struct scene_draw *draw) {
  int a = scene_draw_below(draw, scene->objects), b = draw_other(draw, a, scene->objects);
  struct scene_object *first = &scene->object[a], *second = &scene->object[b];
  if (first->copies == second->copies && scene_draw_chance(draw, 0.8)) {
    for (int c = 0; c < first->copies; c++) {
      int held = first->cells[c];
      first->cells[c] = second->cells[c];
      second->cells[c] = held;
    }
    return true;
  }
  bool columns = scene_draw_chance(draw, 0.5);
  for (int i = 0; i < scene->objects; i++) {
    for (int c = 0; c < scene->object[i].copies; c++)
      scene->object[i].cells[c] = mirror_cell(scene->object[i].cells[c], columns);
    scene_object_sort_cells(&scene->object[i]);
  }
  scene->sign_cell = mirror_cell(scene->sign_cell, columns);
  return true;
}

static bool change_count(struct scene *scene, struct scene_draw *draw) {
  struct scene_object *object = &scene->object[scene_draw_below(draw, scene->objects)];
  bool used[SCENE_CELLS];
  scene_used_cells(scene, used);
  if (scene_draw_chance(draw, 0.5)) {
    int gone = scene_draw_below(draw, object->copies);
    object->cells[gone] = object->cells[object->copies - 1];
    object->copies--;
  } else {
    int cell = scene_draw_below(draw, SCENE_CELLS);
    if (used[cell] || object->copies == SCENE_COPIES_MAX)
      return false;
    object->cells[object->copies++] = cell;
  }
  scene_object_sort_cells(object);
  return object->copies > 0;
}

bool scene_change(struct scene *scene, enum scene_change change, struct scene_draw *draw) {
  static bool (*const changes[CHANGE_KINDS])(struct scene *, struct scene_draw *) = {
      [CHANGE_SWAP] = change_swap,         [CHANGE_ATTRIBUTE] = change_attribute, [CHANGE_OBJECT] = change_object,
      [CHANGE_RELATION] = change_relation, [CHANGE_COUNT] = change_count,
  };
  return changes[change](scene, draw) && scene_pairs_fit(scene);
}

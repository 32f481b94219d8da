/* The drawn world: what a scene is, and the scene number n of a split as a pure function of (seed, split, n).
 * Coordinates: a picture is 96 x 96 units whatever its pixels; a 3 x 3 grid of cells (row-major) lies inside the frame.
 * No shape occurs twice in a scene, so "the circle" is always clear. Object 0 is the main one: the short caption names
 * it. */
#ifndef MEMCLIP_PREP_SCENE_WORLD_H
#define MEMCLIP_PREP_SCENE_WORLD_H
#include "base/random.h"
#include <stdbool.h>
#include <stdint.h>

enum scene_split { SPLIT_TRAIN, SPLIT_VAL, SPLIT_TEST, SPLIT_PAIRS, SPLIT_COUNT };
enum scene_shape {
  SHAPE_CIRCLE,
  SHAPE_SQUARE,
  SHAPE_TRIANGLE,
  SHAPE_STAR,
  SHAPE_HEART,
  SHAPE_RING,
  SHAPE_CROSS,
  SHAPE_DIAMOND,
  SHAPE_HEXAGON,
  SHAPE_MOON,
  SHAPE_COUNT
};
enum scene_colour {
  COLOUR_RED,
  COLOUR_ORANGE,
  COLOUR_YELLOW,
  COLOUR_GREEN,
  COLOUR_BLUE,
  COLOUR_PURPLE,
  COLOUR_PINK,
  COLOUR_BROWN,
  COLOUR_BLACK,
  COLOUR_WHITE,
  COLOUR_COUNT
};
enum scene_texture { TEXTURE_PLAIN, TEXTURE_STRIPED, TEXTURE_DOTTED, TEXTURE_CHECKED, TEXTURE_COUNT };
enum scene_size { SIZE_SMALL, SIZE_LARGE };
enum scene_background {
  BACKGROUND_MEADOW,
  BACKGROUND_BEACH,
  BACKGROUND_SNOW,
  BACKGROUND_DESERT,
  BACKGROUND_NIGHT,
  BACKGROUND_SEA,
  BACKGROUND_FOREST,
  BACKGROUND_CITY,
  BACKGROUND_COUNT
};
enum {
  SCENE_CELLS = 9,
  SCENE_OBJECTS_MAX = 4,
  SCENE_COPIES_MAX = 3,
  SCENE_LETTERS_MAX = 3,
  SCENE_ALPHABET = 12,
  SCENE_NO_FRAME = -1,
  /* Of every SCENE_GROUP_EVERY scenes of a held-out split the first SCENE_GROUP share their short caption. */
  SCENE_GROUP = 4,
  SCENE_GROUP_EVERY = 16
};

extern const char *const scene_split_names[SPLIT_COUNT];
extern const char *const scene_shape_names[SHAPE_COUNT];
extern const char *const scene_colour_names[COLOUR_COUNT];
extern const char *const scene_texture_names[TEXTURE_COUNT];
extern const char *const scene_size_names[2];
extern const char *const scene_background_names[BACKGROUND_COUNT];
extern const char
    scene_alphabet[SCENE_ALPHABET + 1]; /* the letters of signs: few, unlike each other, and not the word "a" */

struct scene_object {
  int shape, colour, texture, size;
  int copies;
  int cells[SCENE_COPIES_MAX]; /* ascending */
};
struct scene {
  enum scene_split split;
  int64_t number;
  int64_t
      group; /* number of the first scene of its group: equal for scenes that were drawn to share one short caption */
  int objects;
  struct scene_object object[SCENE_OBJECTS_MAX];
  int background;
  int frame;                                         /* colour, or SCENE_NO_FRAME */
  int letters, letter[SCENE_LETTERS_MAX], sign_cell; /* letters 0: no sign */
  /* What the captions tell. */
  bool tells_background;                            /* the short caption names the background, else the second object */
  bool tells_size, tells_texture;                   /* ... and these of the main object */
  bool tells_much;                                  /* the long caption has extra facts and may pass the context */
  struct random_key short_key, long_key, paint_key; /* wording of the captions; jitter and scenery */
};

/* A stream of random numbers: the key with a running counter. */
struct scene_draw {
  struct random_key key;
  uint64_t counter;
};
enum scene_purpose { PURPOSE_CORE, PURPOSE_DETAIL, PURPOSE_PAINT, PURPOSE_VARIATION, PURPOSE_CHANGE };
struct scene_draw scene_draw_start(uint64_t seed, enum scene_split split, int64_t number, enum scene_purpose purpose,
                                   int attempt);
int scene_draw_below(struct scene_draw *draw, int bound);
double scene_draw_range(struct scene_draw *draw, double low, double high);
bool scene_draw_chance(struct scene_draw *draw, double probability);

struct scene scene_make(uint64_t seed, enum scene_split split, int64_t number);
/* Hash of all that can be seen but jitter: object order does not count. Equal scenes of two splits are impossible: the
 * hash decides which split may hold it. */
uint64_t scene_hash(const struct scene *scene);
/* One in ten (shape, colour) pairs, each shape and each colour once, is held out: only the split `pairs` shows it. */
bool scene_pair_is_held_out(int shape, int colour);
/* Whether the split may show this scene as far as its pairs go. */
bool scene_pairs_fit(const struct scene *scene);
void scene_object_sort_cells(struct scene_object *object);
/* Marks the cells in use. */
void scene_used_cells(const struct scene *scene, bool used[SCENE_CELLS]);
#endif

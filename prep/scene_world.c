#include "scene_world.h"
#include "scene_change.h"
#include "base/error.h"

const char *const scene_split_names[SPLIT_COUNT] = {"train", "val", "test", "pairs"};
const char *const scene_shape_names[SHAPE_COUNT] = {"circle", "square", "triangle", "star",    "heart",
                                                    "ring",   "cross",  "diamond",  "hexagon", "moon"};
const char *const scene_colour_names[COLOUR_COUNT] = {"red",    "orange", "yellow", "green", "blue",
                                                      "purple", "pink",   "brown",  "black", "white"};
const char *const scene_texture_names[TEXTURE_COUNT] = {"plain", "striped", "dotted", "checked"};
const char *const scene_size_names[2] = {"small", "large"};
const char *const scene_background_names[BACKGROUND_COUNT] = {"meadow", "beach", "snow",   "desert",
                                                              "night",  "sea",   "forest", "city"};
const char scene_alphabet[SCENE_ALPHABET + 1] = "CEHKLMNOSTVX";

/* scene_hash modulo HOMES says which split a scene lives in. */
enum { HOMES = 16, ATTEMPTS_MAX = 4096 };
static const struct { int first, count; } homes[SPLIT_COUNT] = {{0, 10}, {10, 2}, {12, 2}, {14, 2}};

struct scene_draw scene_draw_start(uint64_t seed, enum scene_split split, int64_t number, enum scene_purpose purpose,
                                   int attempt) {
  struct scene_draw draw = {.key = {.seed = seed, .index = (uint64_t)number, .use = RANDOM_SCENE}};
  draw.key.layer = (uint32_t)split | (uint32_t)purpose << 4 | (uint32_t)attempt << 8;
  return draw;
}

int scene_draw_below(struct scene_draw *draw, int bound) {
  return (int)random_below(&draw->key, draw->counter++, (uint64_t)bound);
}

double scene_draw_range(struct scene_draw *draw, double low, double high) {
  return low + (high - low) * random_uniform(&draw->key, draw->counter++);
}

bool scene_draw_chance(struct scene_draw *draw, double probability) {
  return random_uniform(&draw->key, draw->counter++) < probability;
}

/* 3 and 10 have no common factor, so colour = 3 shape + 1 (mod 10) meets every colour once. */
bool scene_pair_is_held_out(int shape, int colour) {
  return colour == (3 * shape + 1) % COLOUR_COUNT;
}

bool scene_pairs_fit(const struct scene *scene) {
  bool any = false;
  for (int i = 0; i < scene->objects; i++)
    any = any || scene_pair_is_held_out(scene->object[i].shape, scene->object[i].colour);
  return any == (scene->split == SPLIT_PAIRS);
}

static uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
  return hash ^ hash >> 32;
}

uint64_t scene_hash(const struct scene *scene) {
  uint64_t hash = mix((uint64_t)scene->background, (uint64_t)(scene->frame + 1));
  for (int shape = 0; shape < SHAPE_COUNT; shape++)
    for (int i = 0; i < scene->objects; i++) {
      const struct scene_object *object = &scene->object[i];
      if (object->shape != shape)
        continue;
      hash = mix(hash, (uint64_t)(((shape * COLOUR_COUNT + object->colour) * TEXTURE_COUNT + object->texture) * 2 +
                                  object->size));
      for (int c = 0; c < object->copies; c++)
        hash = mix(hash, (uint64_t)object->cells[c] + 16);
    }
  for (int i = 0; i < scene->letters; i++)
    hash = mix(hash, (uint64_t)(scene->letter[i] * SCENE_CELLS + scene->sign_cell) + 256);
  return mix(hash, 1);
}

static bool at_home(const struct scene *scene) {
  int home = (int)(scene_hash(scene) % HOMES);
  return scene_pairs_fit(scene) && home >= homes[scene->split].first &&
         home < homes[scene->split].first + homes[scene->split].count;
}

void scene_used_cells(const struct scene *scene, bool used[SCENE_CELLS]) {
  for (int c = 0; c < SCENE_CELLS; c++)
    used[c] = scene->letters > 0 && scene->sign_cell == c;
  for (int i = 0; i < scene->objects; i++)
    for (int c = 0; c < scene->object[i].copies; c++)
      used[scene->object[i].cells[c]] = true;
}

static void draw_look(struct scene_object *object, struct scene_draw *draw) {
  object->size = scene_draw_below(draw, 2);
  object->texture = scene_draw_chance(draw, 0.4) ? TEXTURE_PLAIN : 1 + scene_draw_below(draw, TEXTURE_COUNT - 1);
}

/* An object of a shape that `scene` does not hold yet; copies 1, 2, 3 in the ratio 5 : 3 : 2. */
static struct scene_object draw_object(const struct scene *scene, struct scene_draw *draw, bool held_out) {
  struct scene_object object = {0};
  bool taken;
  do {
    object.shape = scene_draw_below(draw, SHAPE_COUNT);
    taken = false;
    for (int i = 0; i < scene->objects; i++)
      taken = taken || scene->object[i].shape == object.shape;
  } while (taken);
  do
    object.colour = scene_draw_below(draw, COLOUR_COUNT);
  while (scene_pair_is_held_out(object.shape, object.colour) != held_out);
  draw_look(&object, draw);
  int lot = scene_draw_below(draw, 10);
  object.copies = lot < 5 ? 1 : lot < 8 ? 2 : 3;
  return object;
}

void scene_object_sort_cells(struct scene_object *object) {
  for (int i = 1; i < object->copies; i++)
    for (int j = i; j > 0 && object->cells[j - 1] > object->cells[j]; j--) {
      int held = object->cells[j];
      object->cells[j] = object->cells[j - 1];
      object->cells[j - 1] = held;
    }
}

/* Every copy and the sign get a cell of their own. */
static void draw_cells(struct scene *scene, struct scene_draw *draw) {
  int cells[SCENE_CELLS], next = 0;
  for (int c = 0; c < SCENE_CELLS; c++)
    cells[c] = c;
  for (int c = SCENE_CELLS - 1; c > 0; c--) {
    int other = scene_draw_below(draw, c + 1), held = cells[c];
    cells[c] = cells[other];
    cells[other] = held;
  }
  for (int i = 0; i < scene->objects; i++) {
    for (int c = 0; c < scene->object[i].copies; c++)
      scene->object[i].cells[c] = cells[next++];
    scene_object_sort_cells(&scene->object[i]);
  }
  scene->sign_cell = cells[next];
}

/* What the short caption tells comes from the stream of the group, everything else from the scene's own. */
static struct scene draw_scene(struct scene_draw *core, struct scene_draw *detail, enum scene_split split,
                               int64_t number, int64_t group) {
  struct scene scene = {.split = split,
                        .number = number,
                        .group = group,
                        .short_key = core->key,
                        .long_key = detail->key,
                        .frame = SCENE_NO_FRAME};
  scene.tells_background = scene_draw_chance(core, 0.6);
  scene.tells_size = scene_draw_chance(core, 0.2);
  scene.tells_texture = scene_draw_chance(core, 0.2);
  scene.tells_much = scene_draw_chance(detail, 0.25);
  scene.background = scene_draw_below(scene.tells_background ? core : detail, BACKGROUND_COUNT);

  struct scene_object *main = &scene.object[0], *second = &scene.object[1], look = {0};
  *main = draw_object(&scene, core, split == SPLIT_PAIRS);
  draw_look(&look, detail);
  main->size = scene.tells_size ? main->size : look.size;
  main->texture = scene.tells_texture ? main->texture : look.texture;
  scene.objects = 1;
  *second = draw_object(&scene, scene.tells_background ? detail : core, false);
  draw_look(second, detail);
  scene.objects = 2;

  scene.letters = scene_draw_chance(detail, 0.2) ? 1 + scene_draw_below(detail, SCENE_LETTERS_MAX) : 0;
  for (int i = 0; i < scene.letters; i++)
    scene.letter[i] = scene_draw_below(detail, SCENE_ALPHABET);
  int kinds = 2 + scene_draw_below(detail, 3), room = SCENE_CELLS - 1 - main->copies - second->copies;
  while (scene.objects < kinds && room > 0) {
    struct scene_object object = draw_object(&scene, detail, false);
    object.copies = object.copies < room ? object.copies : room;
    room -= object.copies;
    scene.object[scene.objects++] = object;
  }
  if (scene_draw_chance(detail, 0.3))
    scene.frame = scene_draw_below(detail, COLOUR_COUNT);
  draw_cells(&scene, detail);
  return scene;
}

/* The short caption's stream must not change with the attempt, or a group would fall apart. */
static struct scene draw_at_home(uint64_t seed, enum scene_split split, int64_t number, int64_t group) {
  for (int attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    struct scene_draw core = scene_draw_start(seed, split, group, PURPOSE_CORE, 0);
    struct scene_draw detail = scene_draw_start(seed, split, number, PURPOSE_DETAIL, attempt);
    struct scene scene = draw_scene(&core, &detail, split, number, group);
    if (at_home(&scene))
      return scene;
  }
  fatal("no scene %lld for split %s", (long long)number, scene_split_names[split]);
}

static bool is_variation(uint64_t seed, enum scene_split split, int64_t number) {
  struct scene_draw draw = scene_draw_start(seed, split, number, PURPOSE_VARIATION, 0);
  return split == SPLIT_TRAIN && number > 0 && scene_draw_chance(&draw, 0.15);
}

/* The scene before with one attribute changed or two colours swapped; itself where no such change stays at home. */
static void vary(struct scene *scene, uint64_t seed, int64_t number) {
  scene->number = scene->group = number;
  for (int attempt = 1; attempt < ATTEMPTS_MAX / 16; attempt++) {
    struct scene_draw draw = scene_draw_start(seed, scene->split, number, PURPOSE_VARIATION, attempt);
    struct scene changed = *scene;
    changed.short_key = changed.long_key = draw.key;
    enum scene_change change = scene_draw_chance(&draw, 0.5) ? CHANGE_ATTRIBUTE : CHANGE_SWAP;
    if (!scene_change(&changed, change, &draw) || !at_home(&changed))
      continue;
    *scene = changed;
    return;
  }
}

struct scene scene_make(uint64_t seed, enum scene_split split, int64_t number) {
  int64_t first = number;
  while (is_variation(seed, split, first))
    first--;
  bool in_group = split != SPLIT_TRAIN && number % SCENE_GROUP_EVERY < SCENE_GROUP;
  struct scene scene = draw_at_home(seed, split, first, in_group ? number - number % SCENE_GROUP_EVERY : first);
  for (int64_t n = first + 1; n <= number; n++)
    vary(&scene, seed, n);
  scene.paint_key = scene_draw_start(seed, split, number, PURPOSE_PAINT, 0).key;
  return scene;
}

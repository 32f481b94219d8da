#include "scene_caption.h"
#include <string.h>

/* Facts that make one sentence each; the number of a fact picks its wording. Extra facts come last, the others in an
 * order of their own per scene. */
enum fact {
  FACT_LOOK,
  FACT_PLACE,
  FACT_ENTRY,
  FACT_RELATION,
  FACT_BACKGROUND,
  FACT_FRAME,
  FACT_SIGN,
  FACT_EXTRA,
  FACT_NO_FRAME = FACT_EXTRA,
  FACT_TOTAL,
  FACT_PAIR,
  FACT_LARGER,
  FACT_COPIES,
  FACT_NO_SIGN
};
enum { SENTENCES_MAX = 32 };
struct sentence {
  enum fact fact;
  int a, b; /* objects */
  uint64_t order;
};
struct plan {
  const struct scene *scene;
  int count;
  struct sentence sentence[SENTENCES_MAX];
};
enum relation { RELATION_NONE, RELATION_LEFT, RELATION_RIGHT, RELATION_ABOVE, RELATION_BELOW };

static const char *const count_words[] = {"no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"};
static const char *const place_words[SCENE_CELLS] = {"at the top left",    "at the top",    "at the top right",
                                                     "on the left",        "in the centre", "on the right",
                                                     "at the bottom left", "at the bottom", "at the bottom right"};
static const char *const relation_words[] = {[RELATION_LEFT] = "to the left of",
                                             [RELATION_RIGHT] = "to the right of",
                                             [RELATION_ABOVE] = "above",
                                             [RELATION_BELOW] = "below"};
static const struct {
  const char *noun, *where;
} background_words[BACKGROUND_COUNT] = {{"a meadow", "on a meadow"},           {"a beach", "on a beach"},
                                        {"snowy hills", "on snowy hills"},     {"a desert", "in a desert"},
                                        {"the night sky", "in the night sky"}, {"the sea", "on the sea"},
                                        {"a forest", "in a forest"},           {"a city", "in a city"}};

/* Uniform over 0..bound-1, a function of the key and the fact. */
static int pick(const struct random_key *key, enum fact fact, int a, int b, int bound) {
  return (int)random_below(key, UINT64_C(1) << 32 | (uint64_t)fact << 16 | (uint64_t)a << 8 | (uint64_t)b,
                           (uint64_t)bound);
}

static const char *is_are(const struct scene_object *object) {
  return object->copies == 1 ? "is" : "are";
}

static void add_shape(const struct scene_object *object, struct text *out) {
  const char *name = scene_shape_names[object->shape];
  text_append_string(out, name);
  if (object->copies > 1)
    text_append_string(out, object->shape == SHAPE_CROSS ? "es" : "s");
}

/* "a large striped red circle", "two orange stars" */
static void add_noun(const struct scene_object *object, bool size, bool texture, struct text *out) {
  bool vowel = !size && !texture && object->colour == COLOUR_ORANGE;
  text_append_format(out, "%s ", object->copies > 1 ? count_words[object->copies] : vowel ? "an" : "a");
  if (size)
    text_append_format(out, "%s ", scene_size_names[object->size]);
  if (texture)
    text_append_format(out, "%s ", scene_texture_names[object->texture]);
  text_append_format(out, "%s ", scene_colour_names[object->colour]);
  add_shape(object, out);
}

static void add_full_noun(const struct scene_object *object, struct text *out) {
  add_noun(object, true, true, out);
}

/* "the circles" */
static void add_known(const struct scene_object *object, struct text *out) {
  text_append_string(out, "the ");
  add_shape(object, out);
}

/* Left of: every copy of a lies in a column left of all of b's; above likewise with rows. */
static bool lies(const struct scene_object *a, enum relation relation, const struct scene_object *b) {
  for (int i = 0; i < a->copies; i++)
    for (int j = 0; j < b->copies; j++) {
      int columns = a->cells[i] % 3 - b->cells[j] % 3, rows = a->cells[i] / 3 - b->cells[j] / 3;
      int step = relation == RELATION_LEFT    ? -columns
                 : relation == RELATION_RIGHT ? columns
                 : relation == RELATION_ABOVE ? -rows
                                              : rows;
      if (step <= 0)
        return false;
    }
  return true;
}

/* The first relation that holds. */
static enum relation relate(const struct scene_object *a, const struct scene_object *b) {
  for (int relation = RELATION_LEFT; relation <= RELATION_BELOW; relation++)
    if (lies(a, (enum relation)relation, b))
      return (enum relation)relation;
  return RELATION_NONE;
}

/* Whether the entry of an object tells its place, not its relation to the main one. */
static bool entry_tells_place(const struct scene *scene, int object) {
  if (scene->object[object].copies > 1)
    return false;
  return relate(&scene->object[object], &scene->object[0]) == RELATION_NONE ||
         pick(&scene->long_key, FACT_ENTRY, object, 1, 3) == 0;
}

static void write_short(const struct scene *scene, struct text *out) {
  const struct scene_object *main = &scene->object[0];
  int form = pick(&scene->short_key, FACT_LOOK, 0, 0, 4);
  if (scene->tells_background && form == 3)
    text_append_format(out, "%s with ", background_words[scene->background].noun);
  if (form == 1)
    text_append_format(out, "there %s ", is_are(main));
  if (form == 2)
    text_append_string(out, "a picture of ");
  add_noun(main, scene->tells_size, scene->tells_texture, out);
  if (!scene->tells_background) {
    text_append_string(out, form == 3 ? " together with " : " and ");
    add_noun(&scene->object[1], false, false, out);
  } else if (form != 3)
    text_append_format(out, " %s", background_words[scene->background].where);
}

static void write_look(const struct scene *scene, const struct sentence *sentence, struct text *out) {
  const struct scene_object *object = &scene->object[sentence->a];
  bool size = sentence->a > 0 || !scene->tells_size, texture = sentence->a > 0 || !scene->tells_texture;
  static const char *const verbs[3][2] = {{"are", "is"}, {"look", "looks"}, {"are", "is"}};
  const char *verb = verbs[pick(&scene->long_key, FACT_LOOK, sentence->a, 1, 3)][object->copies == 1];
  add_known(object, out);
  text_append_format(out, " %s %s%s%s", verb, size ? scene_size_names[object->size] : "",
                     size && texture ? " and " : "", texture ? scene_texture_names[object->texture] : "");
}

static void write_place(const struct scene *scene, const struct sentence *sentence, struct text *out) {
  const struct scene_object *object = &scene->object[sentence->a];
  const char *place = place_words[object->cells[0]];
  if (pick(&scene->long_key, FACT_PLACE, sentence->a, 0, 2)) {
    text_append_format(out, "%s is ", place);
    add_known(object, out);
  } else {
    add_known(object, out);
    text_append_format(out, " is %s", place);
  }
}

/* Brings in an object that no sentence has named: beside the main one where a relation holds, else at its place, else
 * alone. */
static void write_entry(const struct scene *scene, const struct sentence *sentence, struct text *out) {
  const struct scene_object *object = &scene->object[sentence->a];
  enum relation relation = relate(object, &scene->object[0]);
  int form = pick(&scene->long_key, FACT_ENTRY, sentence->a, 0, 2);
  bool place = entry_tells_place(scene, sentence->a);
  if (!place && relation == RELATION_NONE) {
    text_append_format(out, form ? "there %s also " : "the picture shows ", is_are(object));
    add_full_noun(object, out);
    return;
  }
  if (form == 0) {
    add_full_noun(object, out);
    text_append_format(out, " %s ", is_are(object));
  }
  text_append_string(out, place ? place_words[object->cells[0]] : relation_words[relation]);
  if (!place) {
    text_append_string(out, " ");
    add_known(&scene->object[0], out);
  }
  if (form == 1) {
    text_append_format(out, " there %s ", is_are(object));
    add_full_noun(object, out);
  }
}

static void write_relation(const struct scene *scene, const struct sentence *sentence, struct text *out) {
  const struct scene_object *a = &scene->object[sentence->a], *b = &scene->object[sentence->b];
  bool turned = pick(&scene->long_key, FACT_RELATION, sentence->a, sentence->b, 2) == 1;
  const char *words = relation_words[relate(a, b)];
  if (!turned) {
    add_known(a, out);
    text_append_format(out, " %s ", is_are(a));
  }
  text_append_format(out, "%s ", words);
  add_known(b, out);
  if (turned) {
    text_append_format(out, " %s ", is_are(a));
    add_known(a, out);
  }
}

static void write_background(const struct scene *scene, const struct sentence *sentence, struct text *out) {
  (void)sentence;
  if (pick(&scene->long_key, FACT_BACKGROUND, 0, 0, 2))
    text_append_format(out, "the background is %s", background_words[scene->background].noun);
  else
    text_append_format(out, "everything is %s", background_words[scene->background].where);
}

static void write_frame(const struct scene *scene, const struct sentence *sentence, struct text *out) {
  (void)sentence;
  const char *colour = scene_colour_names[scene->frame], *article = scene->frame == COLOUR_ORANGE ? "an" : "a";
  if (pick(&scene->long_key, FACT_FRAME, 0, 0, 2))
    text_append_format(out, "%s %s frame surrounds the picture", article, colour);
  else
    text_append_format(out, "the picture has %s %s frame", article, colour);
}

static void write_sign(const struct scene *scene, const struct sentence *sentence, struct text *out) {
  (void)sentence;
  char letters[2 * SCENE_LETTERS_MAX + 1] = "";
  for (int i = 0; i < scene->letters; i++) {
    letters[2 * i] = scene_alphabet[scene->letter[i]];
    letters[2 * i + 1] = i + 1 < scene->letters ? ' ' : '\0';
  }
  if (pick(&scene->long_key, FACT_SIGN, 0, 0, 2))
    text_append_format(out, "a sign %s says %s", place_words[scene->sign_cell], letters);
  else
    text_append_format(out, "%s a sign reads %s", place_words[scene->sign_cell], letters);
}

static void write_no_frame(const struct scene *scene, const struct sentence *sentence, struct text *out) {
  (void)scene, (void)sentence;
  text_append_string(out, "there is no frame around the picture");
}

static void write_no_sign(const struct scene *scene, const struct sentence *sentence, struct text *out) {
  (void)scene, (void)sentence;
  text_append_string(out, "nothing is written anywhere");
}

static void write_total(const struct scene *scene, const struct sentence *sentence, struct text *out) {
  (void)sentence;
  bool turned = pick(&scene->long_key, FACT_TOTAL, 0, 0, 2) == 1;
  int total = 0;
  for (int i = 0; i < scene->objects; i++)
    total += scene->object[i].copies;
  text_append_format(out,
                     turned ? "there are %s shapes of %s kinds in all" : "in total there are %s shapes of %s kinds",
                     count_words[total], count_words[scene->objects]);
}

static void write_larger(const struct scene *scene, const struct sentence *sentence, struct text *out) {
  const struct scene_object *a = &scene->object[sentence->a], *b = &scene->object[sentence->b];
  add_known(a, out);
  text_append_format(out, " %s %s than ", is_are(a), a->size > b->size ? "larger" : "smaller");
  add_known(b, out);
}

static void write_copies(const struct scene *scene, const struct sentence *sentence, struct text *out) {
  const struct scene_object *object = &scene->object[sentence->a];
  text_append_string(out, "of ");
  add_known(object, out);
  for (int c = 0; c < object->copies; c++)
    text_append_format(out, "%s one is %s",
                       c == 0                   ? ""
                       : c + 1 < object->copies ? ","
                                                : " and",
                       place_words[object->cells[c]]);
}

static void (*const writers[])(const struct scene *, const struct sentence *, struct text *) = {
    [FACT_LOOK] = write_look,         [FACT_PLACE] = write_place,           [FACT_ENTRY] = write_entry,
    [FACT_RELATION] = write_relation, [FACT_BACKGROUND] = write_background, [FACT_FRAME] = write_frame,
    [FACT_SIGN] = write_sign,         [FACT_NO_FRAME] = write_no_frame,     [FACT_TOTAL] = write_total,
    [FACT_PAIR] = write_relation,     [FACT_LARGER] = write_larger,         [FACT_COPIES] = write_copies,
    [FACT_NO_SIGN] = write_no_sign,
};

/* The order is by lot, keyed by the fact: adding or dropping a fact moves no other. Extra facts come late and half of
 * them are left out; in captions that have extras, half of the looks come after them, so that something that matters
 * lies beyond the context. */
static void plan_fact(struct plan *plan, enum fact fact, int a, int b) {
  uint64_t lot =
      random_bits(&plan->scene->long_key, UINT64_C(2) << 32 | (uint64_t)fact << 16 | (uint64_t)a << 8 | (uint64_t)b) >>
      8;
  bool extra = fact >= FACT_EXTRA, last = fact == FACT_LOOK && plan->scene->tells_much && lot % 2 == 0;
  if (extra && lot % 2 == 0)
    return;
  struct sentence sentence = {fact, a, b, lot + (UINT64_C(1) << 56) * (last ? 2 : extra ? 1 : 0)};
  int at = plan->count++;
  for (; at > 0 && plan->sentence[at - 1].order > sentence.order; at--)
    plan->sentence[at] = plan->sentence[at - 1];
  plan->sentence[at] = sentence;
}

static void plan_extras(struct plan *plan) {
  const struct scene *scene = plan->scene;
  plan_fact(plan, FACT_TOTAL, 0, 0);
  if (scene->frame == SCENE_NO_FRAME)
    plan_fact(plan, FACT_NO_FRAME, 0, 0);
  if (scene->letters == 0)
    plan_fact(plan, FACT_NO_SIGN, 0, 0);
  for (int a = 0; a < scene->objects; a++) {
    if (scene->object[a].copies > 1)
      plan_fact(plan, FACT_COPIES, a, 0);
    for (int b = a + 1; b < scene->objects; b++) {
      if (a > 0 && relate(&scene->object[b], &scene->object[a]) != RELATION_NONE)
        plan_fact(plan, FACT_PAIR, b, a);
      if (a == 0 && scene->object[a].size != scene->object[b].size)
        plan_fact(plan, FACT_LARGER, a, b);
    }
  }
}

static void plan_long(struct plan *plan) {
  const struct scene *scene = plan->scene;
  const struct scene_object *object = scene->object;
  if (!scene->tells_size || !scene->tells_texture)
    plan_fact(plan, FACT_LOOK, 0, 0);
  if (object[0].copies == 1)
    plan_fact(plan, FACT_PLACE, 0, 0);
  for (int i = 1; i < scene->objects; i++) {
    bool told = i == 1 && !scene->tells_background;
    plan_fact(plan, told ? FACT_LOOK : FACT_ENTRY, i, 0);
    if (told && relate(&object[1], &object[0]) != RELATION_NONE)
      plan_fact(plan, FACT_RELATION, 1, 0);
  }
  if (!scene->tells_background)
    plan_fact(plan, FACT_BACKGROUND, 0, 0);
  if (scene->frame != SCENE_NO_FRAME)
    plan_fact(plan, FACT_FRAME, 0, 0);
  if (scene->letters > 0)
    plan_fact(plan, FACT_SIGN, 0, 0);
  if (scene->tells_much)
    plan_extras(plan);
}

/* Capital letter and full stop for the sentence that starts at `start`. */
static void close_sentence(struct text *out, size_t start) {
  out->data[start] = (char)(out->data[start] - 'a' + 'A');
  text_append_string(out, ".");
}

void scene_caption(const struct scene *scene, struct text *out) {
  struct plan plan = {.scene = scene};
  size_t start = out->length;
  write_short(scene, out);
  close_sentence(out, start);
  plan_long(&plan);
  for (int i = 0; i < plan.count; i++) {
    text_append_string(out, " ");
    start = out->length;
    writers[plan.sentence[i].fact](scene, &plan.sentence[i], out);
    close_sentence(out, start);
  }
}

static bool same_cells(const struct scene_object *a, const struct scene_object *b) {
  return a->copies == b->copies && memcmp(a->cells, b->cells, (size_t)a->copies * sizeof a->cells[0]) == 0;
}

static bool relation_stays(const struct scene *told, const struct scene *shown, int a, int b) {
  enum relation relation = relate(&told->object[a], &told->object[b]);
  return relation == RELATION_NONE || lies(&shown->object[a], relation, &shown->object[b]);
}

static bool layout_stays(const struct scene *told, const struct scene *shown, const struct sentence *sentence) {
  switch (sentence->fact) {
  case FACT_PLACE:
  case FACT_COPIES:
    return same_cells(&told->object[sentence->a], &shown->object[sentence->a]);
  case FACT_ENTRY:
    return entry_tells_place(told, sentence->a) ? same_cells(&told->object[sentence->a], &shown->object[sentence->a])
                                                : relation_stays(told, shown, sentence->a, 0);
  case FACT_RELATION:
  case FACT_PAIR:
    return relation_stays(told, shown, sentence->a, sentence->b);
  case FACT_SIGN:
    return told->sign_cell == shown->sign_cell;
  default:
    return true;
  }
}

bool scene_caption_misplaces(const struct scene *told, const struct scene *shown) {
  struct plan plan = {.scene = told};
  plan_long(&plan);
  for (int i = 0; i < plan.count; i++)
    if (!layout_stays(told, shown, &plan.sentence[i]))
      return true;
  return false;
}

size_t scene_short_length(const char *caption) {
  return strcspn(caption, ".");
}

static bool has_object(const struct scene *scene, const struct scene_object *told, bool size, bool texture) {
  for (int i = 0; i < scene->objects; i++) {
    const struct scene_object *object = &scene->object[i];
    if (object->shape == told->shape)
      return object->colour == told->colour && object->copies == told->copies &&
             (!size || object->size == told->size) && (!texture || object->texture == told->texture);
  }
  return false;
}

bool scene_fits_short(const struct scene *scene, const struct scene *told) {
  if (!has_object(scene, &told->object[0], told->tells_size, told->tells_texture))
    return false;
  return told->tells_background ? scene->background == told->background
                                : has_object(scene, &told->object[1], false, false);
}

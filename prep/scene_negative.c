#include "scene_negative.h"
#include "scene_caption.h"
#include "scene_change.h"
#include "base/memory.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

const char *const negative_kind_names[NEGATIVE_KINDS] = {"swap",  "attribute", "object", "relation",
                                                         "count", "late",      "beyond"};
/* WORDS_CHANGED_MAX keeps a negative to one fact: a change that reworded more is dropped. Start and end of text leave
 * two tokens less for words. */
enum {
  ATTEMPTS = 8,
  ATTEMPTS_LATE = 24,
  ATTEMPTS_BEYOND = 64,
  WORDS_MAX = 256,
  WORDS_CHANGED_MAX = 4,
  VISIBLE_TOKENS = SCENE_CONTEXT - 2
};

/* Length of the token at `text`, after blanks; *start is where it begins. 0 at the end. */
static size_t next_token(const char *text, const char **start) {
  while (*text == ' ')
    text++;
  *start = text;
  if (*text == '\0')
    return 0;
  size_t length = 0;
  while (isalpha((unsigned char)text[length]))
    length++;
  return length > 0 ? length : 1;
}

int scene_count_tokens(const char *text) {
  int count = 0;
  for (size_t length; (length = next_token(text, &text)) > 0; text += length)
    count++;
  return count;
}

/* Hashes of the lower-case tokens of a text. */
static int hash_tokens(const char *text, uint64_t hashes[WORDS_MAX]) {
  int count = 0;
  for (size_t length; (length = next_token(text, &text)) > 0 && count < WORDS_MAX; text += length) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < length; i++)
      hash = (hash ^ (uint64_t)tolower((unsigned char)text[i])) * UINT64_C(0x100000001b3);
    hash ^= hash >> 29;
    hashes[count++] = hash * UINT64_C(0xbf58476d1ce4e5b9);
  }
  return count;
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* Words of the sorted list a that the sorted list b lacks, counted as often as they lack. */
static int count_lacking(const uint64_t *a, int a_count, const uint64_t *b, int b_count) {
  int lacking = 0;
  for (int i = 0, j = 0; i < a_count; i++) {
    while (j < b_count && b[j] < a[i])
      j++;
    if (j < b_count && b[j] == a[i])
      j++;
    else
      lacking++;
  }
  return lacking;
}

/* Fills token and difference; false where the texts are equal or differ by more than a fact. */
static bool compare_texts(const char *right, const char *wrong, struct scene_negative *negative) {
  uint64_t a[WORDS_MAX], b[WORDS_MAX];
  int a_count = hash_tokens(right, a), b_count = hash_tokens(wrong, b);
  negative->token = 0;
  while (negative->token < a_count && negative->token < b_count && a[negative->token] == b[negative->token])
    negative->token++;
  if (negative->token == a_count && a_count == b_count)
    return false;
  negative->difference = 0;
  for (int i = 0; i < a_count; i++)
    negative->difference += a[i];
  for (int i = 0; i < b_count; i++)
    negative->difference -= b[i];
  qsort(a, (size_t)a_count, sizeof a[0], by_value);
  qsort(b, (size_t)b_count, sizeof b[0], by_value);
  return count_lacking(a, a_count, b, b_count) <= WORDS_CHANGED_MAX &&
         count_lacking(b, b_count, a, a_count) <= WORDS_CHANGED_MAX;
}

static bool token_fits(enum negative_kind kind, int token) {
  if (kind == NEGATIVE_BEYOND)
    return token >= VISIBLE_TOKENS;
  return token < VISIBLE_TOKENS && (kind != NEGATIVE_LATE || token >= NEGATIVE_LATE_TOKEN);
}

static enum scene_change draw_change(enum negative_kind kind, struct scene_draw *draw) {
  return kind <= NEGATIVE_COUNT ? (enum scene_change)kind : (enum scene_change)scene_draw_below(draw, CHANGE_KINDS);
}

/* Other changes make a told fact false by themselves; another layout may still fit what the caption says of it
 * ("above", for what was above and to the left). Asked in both directions, as all else. */
static bool is_false(enum scene_change change, const struct scene *scene, const struct scene *changed) {
  return change != CHANGE_RELATION ||
         (scene_caption_misplaces(changed, scene) && scene_caption_misplaces(scene, changed));
}

/* Tries changes until one makes a wrong caption of the kind; *wrong is scratch. */
static bool make_negative(uint64_t seed, const struct scene *scene, const char *right, struct scene_negative *negative,
                          struct text *wrong) {
  struct scene_draw draw = scene_draw_start(seed, scene->split, scene->number, PURPOSE_CHANGE, (int)negative->kind);
  int attempts = negative->kind == NEGATIVE_LATE     ? ATTEMPTS_LATE
                 : negative->kind == NEGATIVE_BEYOND ? ATTEMPTS_BEYOND
                                                     : ATTEMPTS;
  if (negative->kind == NEGATIVE_BEYOND && scene_count_tokens(right) <= VISIBLE_TOKENS)
    return false;
  for (int attempt = 0; attempt < attempts; attempt++) {
    struct scene changed = *scene;
    enum scene_change change = draw_change(negative->kind, &draw);
    if (!scene_change(&changed, change, &draw) || !is_false(change, scene, &changed))
      continue;
    text_clear(wrong);
    scene_caption(&changed, wrong);
    if (compare_texts(right, wrong->data, negative) && token_fits(negative->kind, negative->token))
      return true;
  }
  return false;
}

static void append(struct scene_negatives *negatives, struct scene_negative negative) {
  if (negatives->count == negatives->capacity) {
    negatives->capacity = negatives->capacity > 0 ? 2 * negatives->capacity : 256;
    negatives->items =
        memory_resize(negatives->items, (size_t)negatives->capacity * sizeof negatives->items[0], "scene negatives");
  }
  negatives->items[negatives->count++] = negative;
}

/* Both directions of a difference share |difference| (taken as signed), so sorting brings them together; ties keep the
 * order of the list.
 */
struct ranked {
  uint64_t size;
  int kind, index;
};
static uint64_t size_of(uint64_t difference) {
  return (int64_t)difference < 0 ? -difference : difference;
}

static int by_size(const void *a, const void *b) {
  const struct ranked *x = a, *y = b;
  if (x->kind != y->kind)
    return x->kind - y->kind;
  if (x->size != y->size)
    return x->size < y->size ? -1 : 1;
  return x->index - y->index;
}

/* Of the negatives ranked[0..count-1], all of one size and kind, keeps equally many of either sign. */
static void balance_run(struct scene_negatives *negatives, const struct ranked *ranked, int count) {
  int signs[2] = {0, 0}, kept[2] = {0, 0};
  if (ranked[0].size == 0)
    return;
  for (int i = 0; i < count; i++)
    signs[(int64_t)negatives->items[ranked[i].index].difference < 0]++;
  int keep = signs[0] < signs[1] ? signs[0] : signs[1];
  for (int i = 0; i < count; i++) {
    struct scene_negative *negative = &negatives->items[ranked[i].index];
    if (kept[(int64_t)negative->difference < 0]++ < keep)
      continue;
    memory_release(negative->wrong);
    negative->wrong = NULL;
  }
}

static void balance(struct scene_negatives *negatives) {
  struct ranked *ranked = memory_allocate((size_t)negatives->count * sizeof ranked[0] + 1, "scene negatives");
  for (int i = 0; i < negatives->count; i++)
    ranked[i] = (struct ranked){size_of(negatives->items[i].difference), (int)negatives->items[i].kind, i};
  qsort(ranked, (size_t)negatives->count, sizeof ranked[0], by_size);
  for (int first = 0, next; first < negatives->count; first = next) {
    for (next = first + 1;
         next < negatives->count && ranked[next].kind == ranked[first].kind && ranked[next].size == ranked[first].size;
         next++)
      continue;
    balance_run(negatives, ranked + first, next - first);
  }
  memory_release(ranked);
  int kept = 0;
  for (int i = 0; i < negatives->count; i++)
    if (negatives->items[i].wrong != NULL)
      negatives->items[kept++] = negatives->items[i];
  negatives->count = kept;
}

void scene_negatives_make(uint64_t seed, const struct scene *scenes, int count, struct scene_negatives *negatives) {
  struct text right = {0}, wrong = {0};
  for (int i = 0; i < count; i++) {
    text_clear(&right);
    scene_caption(&scenes[i], &right);
    for (int kind = 0; kind < NEGATIVE_KINDS; kind++) {
      struct scene_negative negative = {.scene = i, .kind = (enum negative_kind)kind};
      if (!make_negative(seed, &scenes[i], right.data, &negative, &wrong))
        continue;
      negative.wrong = memory_copy_string(wrong.data, "scene negative");
      append(negatives, negative);
    }
  }
  balance(negatives);
  text_release(&right);
  text_release(&wrong);
}

void scene_negatives_release(struct scene_negatives *negatives) {
  for (int i = 0; i < negatives->count; i++)
    memory_release(negatives->items[i].wrong);
  memory_release(negatives->items);
  *negatives = (struct scene_negatives){0};
}

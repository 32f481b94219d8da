/* Wrong captions for right pictures: the caption of the same scene with one fact changed, in the same wording.
 *
 * Balance. Let w(t) count the words of a text t. For every difference d = w(right) - w(wrong) a list holds exactly as
 * many negatives with -d. So for any weights v of words, v.d and v.(-d) cancel in pairs and a reader that sees the
 * words alone is right half of the time (d = 0: undecided). Order alone does not help either: changes are drawn alike
 * in both directions. */
#ifndef MEMCLIP_PREP_SCENE_NEGATIVE_H
#define MEMCLIP_PREP_SCENE_NEGATIVE_H
#include "scene_world.h"

/* The change of each kind; late: any, first seen in the last words that still fit the context; beyond: any, seen only
 * after the context. */
enum negative_kind {
  NEGATIVE_SWAP,
  NEGATIVE_ATTRIBUTE,
  NEGATIVE_OBJECT,
  NEGATIVE_RELATION,
  NEGATIVE_COUNT,
  NEGATIVE_LATE,
  NEGATIVE_BEYOND,
  NEGATIVE_KINDS
};
extern const char *const negative_kind_names[NEGATIVE_KINDS];
enum { SCENE_CONTEXT = 77, NEGATIVE_LATE_TOKEN = 30 };

struct scene_negative {
  int scene; /* index into the scenes given */
  enum negative_kind kind;
  int token;           /* words and marks before the first difference */
  uint64_t difference; /* hash of w(right) - w(wrong), linear: the reverse has -difference */
  char *wrong;         /* memory_release */
};
struct scene_negatives {
  struct scene_negative *items; /* by scene, then kind */
  int count, capacity;
};
void scene_negatives_make(uint64_t seed, const struct scene *scenes, int count, struct scene_negatives *negatives);
void scene_negatives_release(struct scene_negatives *negatives);
/* Words and punctuation marks: what a vocabulary that knows every word makes of a text, start and end not counted. */
int scene_count_tokens(const char *text);
#endif

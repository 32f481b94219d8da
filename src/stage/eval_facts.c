/* What is known about a set's samples besides images and captions: facts of drawn scenes, and which images occur in the
 * training data. */
#include "base/key_map.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "report/report.h"
#include "stage/eval_set.h"
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

static void add_negative(struct eval_set *set, int64_t image, const char *wrong, const char *kind) {
  const size_t count = (size_t)set->negative_count + 1;
  set->negatives = memory_resize(set->negatives, count * sizeof *set->negatives, "negatives");
  set->kinds = memory_resize(set->kinds, count * sizeof *set->kinds, "negatives");
  set->image_of_negative = memory_resize(set->image_of_negative, count * sizeof *set->image_of_negative, "negatives");
  set->text_of_negative = memory_resize(set->text_of_negative, count * sizeof *set->text_of_negative, "negatives");
  set->negatives[count - 1] = memory_copy_string(wrong, "negatives");
  set->kinds[count - 1] = memory_copy_string(kind, "negatives");
  set->image_of_negative[count - 1] = set->text_of_negative[count - 1] = image;
  set->negative_count++;
}

/* Facts of a drawn scene from its JSON member; a sample without them ends the search. */
static bool read_facts(struct eval_set *set, int64_t image) {
  struct text bytes = {0};
  bool found = false;
  if (source_read_member(set->source, image, "json", &bytes) == STATUS_OK) {
    json_t *root = json_loadb(bytes.data, bytes.length, 0, NULL), *group = json_object_get(root, "group"),
           *negatives = json_object_get(root, "negatives"), *item;
    size_t i;
    found = json_is_integer(group) && json_is_array(negatives);
    if (found)
      set->group[image] = json_integer_value(group);
    json_array_foreach(negatives, i, item) {
      const char *wrong = json_string_value(json_object_get(item, "wrong")),
                 *kind = json_string_value(json_object_get(item, "kind"));
      if (found && wrong && kind)
        add_negative(set, image, wrong, kind);
    }
    json_decref(root);
  }
  text_release(&bytes);
  return found;
}

void eval_set_read_facts(struct eval_set *set) {
  set->group = memory_allocate((size_t)set->image_count * sizeof *set->group, "groups");
  for (int64_t i = 0; i < set->image_count; i++)
    if (!read_facts(set, i)) {
      memory_release(set->group);
      set->group = NULL;
      return;
    }
}

/* "sam/images/sa_1.jpg" -> "sa_1": shards are keyed by the base name up to its first dot (contract 5.1). */
static const char *stem_of(const char *name, size_t *bytes) {
  const char *base = text_base_name(name);
  *bytes = strcspn(base, ".");
  return base;
}

static void count_leaks(struct eval_set *set, const struct key_map *training) {
  set->in_training = 0;
  for (int64_t i = 0; i < set->image_count; i++) {
    size_t bytes;
    const char *stem = stem_of(source_key(set->source, i), &bytes);
    set->in_training += key_map_find(training, stem, bytes) >= 0;
  }
  if (set->in_training > 0)
    report_warning("%s: %" PRId64 " of its %" PRId64 " images occur in the training data (data.train)", set->name,
                   set->in_training, set->image_count);
}

enum status eval_sets_find_leaks(struct session *session, struct eval_set *sets, int count) {
  struct key_map stems = {0};
  if (session->settings->data.train.count == 0)
    return STATUS_OK;
  TRY(session_open_source(session, &session->settings->data.train, NULL, "data.train", &session->train));
  for (int64_t i = 0; comm_rank() == 0 && i < source_count(session->train); i++) {
    size_t bytes;
    const char *stem = stem_of(source_key(session->train, i), &bytes);
    key_map_add(&stems, stem, bytes, i);
  }
  for (int i = 0; comm_rank() == 0 && i < count; i++)
    count_leaks(&sets[i], &stems);
  key_map_release(&stems);
  return STATUS_OK;
}

/* Properties of the drawn world that files do not show: what short captions fit, the ceiling by brute force, changes
 * that stay in the world. */
#include "scene_caption.h"
#include "scene_change.h"
#include "scene_negative.h"
#include "scene_summary.h"
#include "base/memory.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

enum { SCENES = 400 };
static struct scene scenes[SCENES];

static int make_scenes(void **state) {
  (void)state;
  for (int i = 0; i < SCENES; i++)
    scenes[i] = scene_make(11, SPLIT_VAL, i);
  return 0;
}

static void test_cells(void **state) {
  (void)state;
  for (int i = 0; i < SCENES; i++) {
    int in_use = scenes[i].letters > 0, marked = 0;
    bool used[SCENE_CELLS];
    scene_used_cells(&scenes[i], used);
    for (int c = 0; c < SCENE_CELLS; c++)
      marked += used[c];
    for (int a = 0; a < scenes[i].objects; a++) {
      in_use += scenes[i].object[a].copies;
      for (int b = 0; b < a; b++)
        assert_int_not_equal(scenes[i].object[a].shape, scenes[i].object[b].shape);
    }
    assert_int_equal(marked, in_use);
  }
}

static void test_ceiling(void **state) {
  (void)state;
  struct scene_ceiling ceiling = scene_ceiling_compute(scenes, SCENES);
  double to_image = 0, to_text = 0;
  for (int a = 0; a < SCENES; a++) {
    int pictures = 0, captions = 0;
    for (int b = 0; b < SCENES; b++) {
      pictures += scene_fits_short(&scenes[b], &scenes[a]);
      captions += scene_fits_short(&scenes[a], &scenes[b]);
    }
    assert_true(scene_fits_short(&scenes[a], &scenes[a]));
    to_image += 1.0 / pictures;
    to_text += 1.0 / captions;
  }
  assert_true(fabs(ceiling.text_to_image - to_image / SCENES) <= 1e-12);
  assert_true(fabs(ceiling.image_to_text - to_text / SCENES) <= 1e-12);
}

static void test_groups(void **state) {
  (void)state;
  struct text first = {0}, other = {0};
  for (int i = 0; i < SCENES; i += SCENE_GROUP_EVERY)
    for (int member = 1; member < SCENE_GROUP; member++) {
      text_clear(&first);
      text_clear(&other);
      scene_caption(&scenes[i], &first);
      scene_caption(&scenes[i + member], &other);
      size_t length = scene_short_length(first.data) + 1;
      assert_memory_equal(first.data, other.data, length);
      assert_string_not_equal(first.data + length, other.data + length);
      assert_int_equal(scenes[i + member].group, i);
    }
  text_release(&first);
  text_release(&other);
}

/* A changed scene is again one that its split may show, differs from what it was, and keeps one object per shape. */
static void test_changes(void **state) {
  (void)state;
  for (int i = 0; i < SCENES; i++)
    for (int kind = 0; kind < CHANGE_KINDS; kind++) {
      struct scene_draw draw = scene_draw_start(1, SPLIT_VAL, i, PURPOSE_CHANGE, kind);
      struct scene changed = scenes[i];
      if (!scene_change(&changed, (enum scene_change)kind, &draw))
        continue;
      assert_true(scene_pairs_fit(&changed));
      for (int a = 0; a < changed.objects; a++) {
        assert_in_range(changed.object[a].copies, 1, SCENE_COPIES_MAX);
        for (int b = 0; b < a; b++)
          assert_int_not_equal(changed.object[a].shape, changed.object[b].shape);
      }
      if (kind != CHANGE_RELATION) /* a scene can be its own mirror image */
        assert_true(scene_hash(&changed) != scene_hash(&scenes[i]));
    }
}

static void test_order_of_objects_does_not_count(void **state) {
  (void)state;
  struct scene turned = scenes[5];
  turned.object[0] = scenes[5].object[1];
  turned.object[1] = scenes[5].object[0];
  assert_true(scene_hash(&turned) == scene_hash(&scenes[5]));
}

/* A caption fits its own picture, and a mirror image that turned the place it tells does not. */
static void test_misplaced(void **state) {
  (void)state;
  int misplaced = 0, fitting = 0;
  for (int i = 0; i < SCENES; i++) {
    struct scene mirrored = scenes[i];
    assert_false(scene_caption_misplaces(&scenes[i], &scenes[i]));
    for (int a = 0; a < mirrored.objects; a++) {
      for (int c = 0; c < mirrored.object[a].copies; c++)
        mirrored.object[a].cells[c] = mirrored.object[a].cells[c] / 3 * 3 + 2 - mirrored.object[a].cells[c] % 3;
      scene_object_sort_cells(&mirrored.object[a]);
    }
    bool told = scene_caption_misplaces(&scenes[i], &mirrored);
    misplaced += told;
    fitting += !told;
    if (scenes[i].object[0].copies == 1 && scenes[i].object[0].cells[0] % 3 != 1)
      assert_true(told);
  }
  assert_true(misplaced > SCENES / 2 && fitting > 0);
}

static void test_negatives(void **state) {
  (void)state;
  struct scene_negatives negatives = {0};
  struct text right = {0};
  int64_t sum[NEGATIVE_KINDS] = {0};
  scene_negatives_make(11, scenes, SCENES, &negatives);
  assert_true(negatives.count > SCENES);
  for (int i = 0; i < negatives.count; i++) {
    const struct scene_negative *negative = &negatives.items[i];
    text_clear(&right);
    scene_caption(&scenes[negative->scene], &right);
    assert_string_not_equal(right.data, negative->wrong);
    sum[negative->kind] += (int64_t)strlen(right.data) - (int64_t)strlen(negative->wrong);
    if (negative->kind == NEGATIVE_LATE)
      assert_in_range(negative->token, NEGATIVE_LATE_TOKEN, SCENE_CONTEXT - 3);
    if (negative->kind == NEGATIVE_BEYOND)
      assert_true(negative->token >= SCENE_CONTEXT - 2);
  }
  for (int kind = 0; kind < NEGATIVE_KINDS; kind++)
    assert_int_equal(sum[kind], 0);
  text_release(&right);
  scene_negatives_release(&negatives);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cells),
      cmocka_unit_test(test_ceiling),
      cmocka_unit_test(test_groups),
      cmocka_unit_test(test_changes),
      cmocka_unit_test(test_order_of_objects_does_not_count),
      cmocka_unit_test(test_misplaced),
      cmocka_unit_test(test_negatives),
  };
  return cmocka_run_group_tests_name("scenes", tests, make_scenes, NULL);
}

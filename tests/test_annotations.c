/* Published benchmarks: layouts as they are distributed, made here with empty images; and the real annotation files of
 * Urban1k and IIW where they are at hand. */
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "data/annotations_private.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char *root; /* of this test's files */

static void put(const char *name, const char *content) {
  char *path = text_join_path(root, name), *folder = memory_copy_string(path, "folder");
  *strrchr(folder, '/') = '\0';
  assert_int_equal(file_make_directories(folder), STATUS_OK);
  FILE *file = fopen(path, "w"); /* thousands of them: without fsync */
  assert_true(file && fputs(content, file) >= 0 && fclose(file) == 0);
  memory_release(folder);
  memory_release(path);
}

static struct annotations read_set(const char *set, const char *below, enum protocol protocol) {
  struct annotations annotations;
  char *path = text_join_path(root, below);
  enum status status = annotations_read(set, path, protocol, &annotations);
  if (status != STATUS_OK)
    fail_msg("%s", error_message());
  memory_release(path);
  return annotations;
}

static void refuse(const char *set, const char *below, enum protocol protocol, const char *words) {
  struct annotations annotations;
  char *path = text_join_path(root, below);
  assert_int_equal(annotations_read(set, path, protocol, &annotations), STATUS_INPUT);
  if (!strstr(error_message(), words))
    fail_msg("'%s' is not in: %s", words, error_message());
  memory_release(path);
}

/* texts: "image|caption" each. */
static void expect(struct annotations annotations, int64_t images, const char *const *texts, int64_t count) {
  assert_int_equal(annotations.image_count, images);
  assert_int_equal(annotations.text_count, count);
  for (int64_t i = 0; i < count; i++) {
    char *line = text_format("%s|%s", annotations.names[annotations.image_of_text[i]], annotations.texts[i]);
    assert_string_equal(line, texts[i]);
    memory_release(line);
  }
  for (int64_t i = 0; i < images; i++)
    assert_true(file_exists(annotations.files[i]));
  annotations_release(&annotations);
}
#define EXPECT(annotations, images, ...)                                                                               \
  expect(annotations, images, (const char *const[]){__VA_ARGS__},                                                      \
         sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void rejoin(const char *caption, const char *wanted) {
  struct text out = {0};
  annotation_rejoin(caption, &out);
  assert_string_equal(out.data, wanted);
  text_release(&out);
}

static void test_rejoin(void **state) {
  (void)state;
  rejoin("One. Two.\nThree</s>", "One. Two. Three");
  rejoin("It is 3.5 m.. \n \n", "It is 3. 5 m");
  rejoin("", "");
  rejoin(" . \xc2\xa0 .\xe3\x80\x80inner\xe2\x80\x89space\xe3\x80\x80. ", "inner\xe2\x80\x89space");
  rejoin("a < /s> b </ s>", "a < /s> b </ s>");
}

static void test_coco(void **state) {
  (void)state;
  put("coco/annotations/captions_val2017.json",
      "{\"images\": [{\"id\": 9, \"file_name\": \"000009.jpg\"}, {\"id\": 2, \"file_name\": \"000002.jpg\"}],"
      " \"annotations\": [{\"image_id\": 9, \"caption\": \"nine 1\"}, {\"image_id\": 2, \"caption\": \"two 1\"},"
      " {\"image_id\": 9, \"caption\": \"nine 2\"}, {\"image_id\": 9, \"caption\": \"nine 3\"}, {\"image_id\": 9, "
      "\"caption\": \"nine 4\"}, {\"image_id\": 9, \"caption\": \"nine 5\"}, {\"image_id\": 9, \"caption\": \"nine "
      "6\"}]}");
  put("coco/images/val2017/000009.jpg", "");
  put("coco/images/val2017/000002.jpg", "");
  struct annotations annotations = read_set("coco", "coco", PROTOCOL_FLAIR);
  assert_int_equal(annotations.published_texts, 25014);
  EXPECT(annotations, 2, "000009.jpg|nine 1", "000002.jpg|two 1", "000009.jpg|nine 2", "000009.jpg|nine 3",
         "000009.jpg|nine 4", "000009.jpg|nine 5", "000009.jpg|nine 6");
  EXPECT(read_set("coco", "coco", PROTOCOL_TULIP), 2, "000002.jpg|two 1", "000009.jpg|nine 1", "000009.jpg|nine 2",
         "000009.jpg|nine 3", "000009.jpg|nine 4", "000009.jpg|nine 5");
  put("coco2/annotations/captions_val2017.json", "{\"images\": [], \"annotations\": [{\"image_id\": 1}]}");
  put("coco2/val2017/x", "");
  refuse("coco", "coco2", PROTOCOL_FLAIR, "image 1");
  put("coco3/annotations/captions_val2017.json", "{\"images\": [");
  put("coco3/val2017/x", "");
  refuse("coco", "coco3", PROTOCOL_FLAIR, "captions_val2017.json:1");
  refuse("coco", "coco4", PROTOCOL_FLAIR, "eval.coco_root");
}

static void test_flickr(void **state) {
  (void)state;
  put("flickr/flickr30k_val.json", "[{\"image\": \"flickr30k-images/1.jpg\", \"caption\": [\"a\", \"b\"]}, {\"image\": "
                                   "\"flickr30k-images/2.jpg\", \"caption\": [\"c\"]}]");
  put("flickr30k-images/1.jpg", "");
  put("flickr/flickr30k-images/2.jpg", "");
  struct annotations annotations = read_set("flickr30k", "flickr", PROTOCOL_FLAIR);
  assert_int_equal(annotations.published_images, 1014);
  EXPECT(annotations, 2, "flickr30k-images/1.jpg|a", "flickr30k-images/1.jpg|b", "flickr30k-images/2.jpg|c");
  put("flickr/dataset_flickr30k.json",
      "{\"images\": [{\"filename\": \"3.jpg\", \"split\": \"train\", \"sentences\": [{\"raw\": \"x\"}]}, "
      "{\"filename\": "
      "\"2.jpg\", \"split\": \"test\", \"sentences\": [{\"raw\": \"y\"}, {\"raw\": \"z\"}]}]}");
  annotations = read_set("flickr30k", "flickr/dataset_flickr30k.json", PROTOCOL_FLAIR);
  assert_int_equal(annotations.published_images, 1000);
  EXPECT(annotations, 1, "2.jpg|y", "2.jpg|z");
  put("tulip/Datasets/flickr/results.csv",
      "image_name| comment_number| comment\n1.jpg| 0| Two \"young\" men .\n1.jpg| 1|  b\n2.jpg| 4   no comment .\n");
  put("tulip/Datasets/flickr/flickr30k_images/flickr30k_images/1.jpg", "");
  put("tulip/Datasets/flickr/flickr30k_images/flickr30k_images/2.jpg", "");
  EXPECT(read_set("flickr30k", "tulip", PROTOCOL_TULIP), 2, "1.jpg| Two \"young\" men .", "1.jpg|  b", "2.jpg| ");
  put("flickr5/flickr30k_val.json", "[{\"image\": \"absent.jpg\", \"caption\": [\"a\"]}]");
  refuse("flickr30k", "flickr5", PROTOCOL_FLAIR, "absent.jpg");
}

static void test_entries(void **state) {
  (void)state;
  static const char entries[] =
      "{\"annotations\": [{\"image_id\": 0, \"image\": \"docci/a.jpg\", \"caption\": \"one\", "
      "\"caption_id\": 0}, {\"image_id\": 0, \"image\": \"docci/a.jpg\", \"caption\": \"\"}]}";
  put("iiw/test_annotations.json", entries);
  put("iiw/docci/a.jpg", "");
  EXPECT(read_set("iiw", "iiw", PROTOCOL_FLAIR), 1, "docci/a.jpg|one", "docci/a.jpg|");
  refuse("iiw", "iiw", PROTOCOL_TULIP, "no iiw");
  put("docci/annotations/test_annotations.json", entries);
  put("docci/images/docci/a.jpg", "");
  EXPECT(read_set("docci", "docci", PROTOCOL_FLAIR), 1, "docci/a.jpg|one", "docci/a.jpg|");
  put("urban/caption/10.txt", "ten\nmore\n");
  put("urban/caption/9.txt", "nine\r\n");
  put("urban/caption/11.txt", "");
  put("urban/image/9.jpg", "");
  put("urban/image/10.jpg", "");
  put("urban/image/11.jpg", "");
  EXPECT(read_set("urban1k", "urban", PROTOCOL_TULIP), 3, "9.jpg|nine", "10.jpg|ten", "11.jpg|");
  refuse("urban1k", "urban", PROTOCOL_FLAIR, "tulip");
}

static void test_dci(void **state) {
  (void)state;
  put("dci/densely_captioned_images/splits.json",
      "{\"test\": [\"c.json\"], \"train\": [\"b.json\", \"a.json\"], \"valid\": []}");
  static const char *const files[] = {
      "{\"image\": \"sa_a.jpg\", \"short_caption\": \"Short a.\", \"extra_caption\": \"Extra.  More.\"}",
      "{\"image\": \"sa_b.jpg\", \"short_caption\": \"Short b\", \"extra_caption\": \"\"}",
      "{\"image\": \"sa_c.jpg\", \"short_caption\": \"\", \"extra_caption\": \"Extra c\\nline\"}"};
  put("dci/densely_captioned_images/annotations/a.json", files[0]);
  put("dci/densely_captioned_images/annotations/b.json", files[1]);
  put("dci/densely_captioned_images/annotations/c.json", files[2]);
  put("dci/densely_captioned_images/photos/sa_a.jpg", "");
  put("dci/densely_captioned_images/photos/sa_b.jpg", "");
  put("dci/densely_captioned_images/photos/sa_c.jpg", "");
  EXPECT(read_set("dci", "dci", PROTOCOL_FLAIR), 3, "sa_b.jpg|Short b", "sa_a.jpg|Short a. Extra. More",
         "sa_c.jpg|Extra c. line");
  EXPECT(read_set("dci", "dci", PROTOCOL_TULIP), 2, "sa_a.jpg|Extra.  More.", "sa_c.jpg|Extra c\nline");
  put("dci/dci_long/dci_long.csv", "filepath\ttitle\nx.jpg\t\"a \"\"long\"\" one\"\r\n");
  put("dci/dci_long/x.jpg", "");
  EXPECT(read_set("dci", "dci", PROTOCOL_TULIP), 1, "x.jpg|a \"long\" one");
}

static void test_sharegpt(void **state) {
  (void)state;
  struct text list = {0};
  text_append_string(&list, "[\n");
  for (int i = 0; i < 1003; i++) {
    text_append_format(&list,
                       "%s{\"image\": \"sam/images/sa_%d.jpg\", \"conversations\": [{\"from\": \"human\", \"value\": "
                       "\"?\"}, {\"from\": \"gpt\", \"value\": \"It is %d. Yes.\\n\"}]}",
                       i ? ",\n" : "", i, i);
    char *name = text_format("share/sam/sa_%d.jpg", i), *whole = text_format("whole/data/sam/images/sa_%d.jpg", i);
    put(name, "");
    put(whole, "");
    memory_release(name);
    memory_release(whole);
  }
  text_append_string(&list, "]");
  put("share/share4v_sam_10k.json", list.data);
  text_release(&list);
  struct annotations annotations = read_set("sharegpt4v-1k", "share", PROTOCOL_FLAIR);
  assert_int_equal(annotations.text_count, 1000);
  assert_string_equal(annotations.texts[999], "It is 999. Yes");
  assert_string_equal(annotations.names[7], "sam/images/sa_7.jpg");
  annotations_release(&annotations);
  annotations = read_set("sharegpt4v-10k", "share", PROTOCOL_FLAIR);
  assert_int_equal(annotations.text_count, 1003);
  assert_int_equal(annotations.published_images, 10000);
  annotations_release(&annotations);
  /* Only the beginning of the whole file is read. */
  put("whole/share-captioner_coco_lcs_sam_1246k_1107.json",
      "[{\"image\": \"sam/images/sa_1.jpg\", \"conversations\": [0, {\"value\": \"Raw. Text.\\n\"}]}]");
  EXPECT(read_set("sharegpt4v-1k", "whole", PROTOCOL_TULIP), 1, "sam/images/sa_1.jpg|Raw. Text.\n");
  refuse("sharegpt4v-10k", "whole", PROTOCOL_TULIP, "no sharegpt4v-10k");
  put("broken/share4v_sam_10k.json", "[{\"image\": \"a.jpg\", \"conversations\": []}]");
  refuse("sharegpt4v-1k", "broken", PROTOCOL_FLAIR, "entry 0");
}

static void test_csv(void **state) {
  (void)state;
  put("x.jpg", "");
  put("y.jpg", "");
  char *rows = text_format("title,filepath\n\"one, two\",%s/x.jpg\nthree,%s/y.jpg\n,%s/x.jpg\n", root, root, root);
  put("set.csv", rows);
  char *path = text_join_path(root, "set.csv");
  struct annotations annotations;
  assert_int_equal(annotations_read_csv(path, &(struct csv_form){.separator = ","}, &annotations), STATUS_OK);
  assert_int_equal(annotations.image_count, 2);
  assert_int_equal(annotations.text_count, 3);
  assert_string_equal(annotations.texts[0], "one, two");
  assert_string_equal(annotations.texts[2], "");
  assert_int_equal(annotations.image_of_text[2], 0);
  annotations_release(&annotations);
  memory_release(path);
  memory_release(rows);
}

/* Makes the images that a published file names, empty. */
static void test_published(const char *name, const char *place, const char *set, int64_t images, int64_t texts,
                           int64_t empty) {
  const char *data = getenv("MEMCLIP_DATA"), *source = getenv("top_srcdir");
  char *folder = data ? memory_copy_string(data, "data") : text_format("%s/../shared/data", source ? source : "..");
  char *path = text_format("%s/annotations/%s", folder, name);
  struct text content = {0};
  const bool there = file_exists(path);
  if (there) {
    json_t *root_object, *entry;
    size_t i;
    assert_int_equal(file_read(path, &content), STATUS_OK);
    put(place, content.data);
    assert_int_equal(annotation_load(path, &root_object), STATUS_OK);
    json_array_foreach(json_object_get(root_object, "annotations"), i, entry) {
      char *image = text_format("%s/%s", strcmp(set, "iiw") == 0 ? "real/iiw" : "real/urban/images",
                                json_string_value(json_object_get(entry, "image")));
      put(image, "");
      memory_release(image);
    }
    json_decref(root_object);
    struct annotations annotations = read_set(set, strcmp(set, "iiw") == 0 ? "real/iiw" : "real/urban", PROTOCOL_FLAIR);
    assert_int_equal(annotations.image_count, images);
    assert_int_equal(annotations.text_count, texts);
    assert_int_equal(annotations.published_images, images);
    assert_int_equal(annotations.published_texts, texts);
    for (int64_t t = 0; t < texts; t++)
      empty -= annotations.texts[t][0] == '\0';
    assert_int_equal(empty, 0);
    annotations_release(&annotations);
  }
  text_release(&content);
  memory_release(path);
  memory_release(folder);
  if (!there)
    skip();
}

static void test_urban1k(void **state) {
  (void)state;
  test_published("urban1k.json", "real/urban/annotations/annotations.json", "urban1k", 1000, 1000, 1);
}

static void test_iiw(void **state) {
  (void)state;
  test_published("iiw_test_annotations.json", "real/iiw/test_annotations.json", "iiw", 612, 6204, 0);
}

int main(void) {
  char folder[] = "annotations.XXXXXX";
  if (!mkdtemp(folder))
    return 1;
  root = text_format("%s/%s", getcwd((char[4096]){0}, 4096), folder);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rejoin),  cmocka_unit_test(test_coco),    cmocka_unit_test(test_flickr),
      cmocka_unit_test(test_entries), cmocka_unit_test(test_dci),     cmocka_unit_test(test_sharegpt),
      cmocka_unit_test(test_csv),     cmocka_unit_test(test_urban1k), cmocka_unit_test(test_iiw),
  };
  int failed = cmocka_run_group_tests_name("annotations", tests, NULL, NULL);
  char *command = text_format("rm -rf '%s'", root);
  failed += system(command) != 0;
  memory_release(command);
  memory_release(root);
  return failed ? failed : (int)memory_report_live(true);
}

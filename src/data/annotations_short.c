/* COCO and Flickr30k: five sentences an image. */
#include "base/file.h"
#include "base/memory.h"
#include "data/annotations_private.h"
#include "data/csv.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct coco_image {
  int64_t id;
  const char *name;
  int captions;
};

static int compare_ids(const void *a, const void *b) {
  const int64_t x = ((const struct coco_image *)a)->id, y = ((const struct coco_image *)b)->id;
  return (x > y) - (x < y);
}

/* images[] sorted by id; memory_release. */
static enum status list_coco_images(const char *path, const json_t *root, struct coco_image **images, size_t *count) {
  const json_t *list = json_object_get(root, "images");
  *count = json_array_size(list);
  *images = memory_allocate((*count + 1) * sizeof **images, "coco images");
  for (size_t i = 0; i < *count; i++) {
    const json_t *entry = json_array_get(list, i);
    (*images)[i].id = json_integer_value(json_object_get(entry, "id"));
    TRY(annotation_text(path, i, entry, "file_name", &(*images)[i].name));
  }
  qsort(*images, *count, sizeof **images, compare_ids);
  return STATUS_OK;
}

/* caption_of: [count] of annotations; the image of each, or an error that names what is wrong. */
static enum status find_coco_image(const char *path, size_t entry, const json_t *annotation, struct coco_image *images,
                                   size_t count, struct coco_image **image, const char **caption) {
  const struct coco_image wanted = {.id = json_integer_value(json_object_get(annotation, "image_id"))};
  *image = bsearch(&wanted, images, count, sizeof wanted, compare_ids);
  if (!*image)
    return error_set(STATUS_INPUT, "%s: annotation %zu is of image %" PRId64 ", which is not among its images", path,
                     entry, wanted.id);
  return annotation_text(path, entry, annotation, "caption", caption);
}

enum { TULIP_CAPTIONS = 5 };

/* FLAIR: every annotation as it comes. TULIP: the first five of each image, images by id. */
static enum status add_coco(struct annotation_reader *reader, const char *path, const json_t *root, const char *folder,
                            struct coco_image *images, size_t count, bool tulip) {
  const json_t *list = json_object_get(root, "annotations");
  const size_t texts = json_array_size(list);
  const char **kept = memory_allocate((count * TULIP_CAPTIONS + 1) * sizeof *kept, "coco captions");
  enum status status = STATUS_OK;
  for (size_t i = 0; status == STATUS_OK && i < texts; i++) {
    struct coco_image *image;
    const char *caption;
    status = find_coco_image(path, i, json_array_get(list, i), images, count, &image, &caption);
    if (status != STATUS_OK)
      break;
    if (!tulip)
      annotation_add(reader, image->name, folder, NULL, caption);
    else if (image->captions < TULIP_CAPTIONS)
      kept[(image - images) * TULIP_CAPTIONS + image->captions++] = caption;
  }
  for (size_t i = 0; status == STATUS_OK && tulip && i < count; i++)
    for (int c = 0; c < images[i].captions; c++)
      annotation_add(reader, images[i].name, folder, NULL, kept[i * TULIP_CAPTIONS + (size_t)c]);
  memory_release(kept);
  return status;
}

static enum status read_coco(struct annotation_reader *reader, const char *files, const char *folders, bool tulip) {
  char *path, *folder = NULL;
  json_t *root = NULL;
  struct coco_image *images = NULL;
  size_t count = 0;
  TRY(annotation_find(reader, files, &path));
  enum status status = annotation_find(reader, folders, &folder);
  if (status == STATUS_OK)
    status = annotation_load(path, &root);
  if (status == STATUS_OK)
    status = list_coco_images(path, root, &images, &count);
  if (status == STATUS_OK)
    status = add_coco(reader, path, root, folder, images, count, tulip);
  annotation_set_origin(reader, path);
  json_decref(root);
  memory_release(images);
  memory_release(folder);
  memory_release(path);
  return status;
}

enum status annotation_read_coco(struct annotation_reader *reader) {
  return read_coco(reader, "annotations/captions_val2017.json", "images/val2017;val2017", false);
}

enum status annotation_read_coco_tulip(struct annotation_reader *reader) {
  return read_coco(reader, "Datasets/coco/annotations/captions_val2017.json;annotations/captions_val2017.json",
                   "Datasets/coco/val2017;val2017;images/val2017", true);
}

static enum status add_list(struct annotation_reader *reader, const char *path, size_t entry, const char *name,
                            const char *folder, const json_t *captions) {
  size_t i;
  const json_t *caption;
  if (!json_is_array(captions))
    return error_set(STATUS_INPUT, "%s: entry %zu has no list of captions", path, entry);
  json_array_foreach(captions, i, caption) {
    const char *words = json_string_value(json_is_object(caption) ? json_object_get(caption, "raw") : caption);
    if (!words)
      return error_set(STATUS_INPUT, "%s: caption %zu of entry %zu is no text", path, i, entry);
    annotation_add(reader, name, folder, NULL, words);
  }
  return STATUS_OK;
}

/* FLAIR's and BLIP's lists of {"image": "flickr30k-images/<f>.jpg", "caption": [...]}; images lie beside the folder of
 * the list, or in it. */
static enum status add_flickr_list(struct annotation_reader *reader, const char *path, const char *folder,
                                   const json_t *root) {
  char *beside = text_join_path(folder, "..");
  size_t i;
  const json_t *entry;
  enum status status = STATUS_OK;
  json_array_foreach(root, i, entry) {
    const char *name;
    status = annotation_text(path, i, entry, "image", &name);
    if (status != STATUS_OK)
      break;
    char *first = text_join_path(beside, name);
    status = add_list(reader, path, i, name, file_exists(first) ? beside : folder, json_object_get(entry, "caption"));
    memory_release(first);
    if (status != STATUS_OK)
      break;
  }
  memory_release(beside);
  return status;
}

/* Karpathy's dataset_flickr30k.json: {"images": [{"filename", "split", "sentences": [{"raw"}]}]}; its test split. */
static enum status add_karpathy(struct annotation_reader *reader, const char *path, const char *folder,
                                const json_t *root) {
  char *images = text_join_path(folder, "flickr30k-images");
  size_t i;
  const json_t *entry;
  enum status status = STATUS_OK;
  json_array_foreach(json_object_get(root, "images"), i, entry) {
    const char *name, *split;
    status = annotation_text(path, i, entry, "filename", &name);
    if (status == STATUS_OK)
      status = annotation_text(path, i, entry, "split", &split);
    if (status == STATUS_OK && strcmp(split, "test") == 0)
      status = add_list(reader, path, i, name, images, json_object_get(entry, "sentences"));
    if (status != STATUS_OK)
      break;
  }
  memory_release(images);
  return status;
}

/* What is known by the file's name: the validation split of 1,014 images, or a test split of 1,000. */
static void expect_flickr(struct annotations *annotations, const char *path) {
  const char *name = text_base_name(path);
  const bool validation = strstr(name, "val") != NULL, test = strstr(name, "test") || strstr(name, "dataset_");
  annotations->published_images = validation ? 1014 : test ? 1000 : 0;
  annotations->published_texts = 5 * annotations->published_images;
  if (validation)
    annotations->note = "the validation split of FLAIR's file, 1,014 images: neither the usual 1K test split nor the "
                        "whole set that TULIP takes";
  else if (test)
    annotations->note = "the 1K test split (FLAIR's file is the validation split of 1,014 images; TULIP takes the "
                        "whole set)";
}

static enum status find_flickr(struct annotation_reader *reader, const char *choices, char **path, char **folder) {
  if (file_is_directory(reader->root)) {
    TRY(annotation_find(reader, choices, path));
  } else {
    *path = memory_copy_string(reader->root, "path");
  }
  const char *slash = strrchr(*path, '/');
  *folder = slash ? text_format("%.*s", (int)(slash - *path), *path) : memory_copy_string(".", "folder");
  return STATUS_OK;
}

static enum status read_flickr_csv(struct annotation_reader *reader, const char *path, const char *folder);

enum status annotation_read_flickr(struct annotation_reader *reader) {
  char *path, *folder;
  json_t *root = NULL;
  TRY(find_flickr(reader, "flickr30k_val.json;flickr30k_test.json;dataset_flickr30k.json", &path, &folder));
  enum status status;
  if (text_ends_with(path, ".csv")) {
    status = read_flickr_csv(reader, path, folder);
  } else {
    expect_flickr(reader->annotations, path);
    status = annotation_load(path, &root);
    if (status == STATUS_OK)
      status = (json_is_array(root) ? add_flickr_list : add_karpathy)(reader, path, folder, root);
  }
  annotation_set_origin(reader, path);
  json_decref(root);
  memory_release(folder);
  memory_release(path);
  return status;
}

enum { CSV_COLUMNS = 3 };
/* image | number | comment; a row without a comment stands for one blank, as pandas and TULIP make of it. */
static void add_csv_rows(struct annotation_reader *reader, const struct file_map *map, const char *folder) {
  const char *bytes = (const char *)map->data;
  struct text fields[CSV_COLUMNS] = {{0}}, rest = {0};
  size_t at = 0;
  for (int64_t row = 0; at < map->size; row++) {
    int columns = 0;
    for (int c = 0; c < CSV_COLUMNS; c++) {
      text_clear(&fields[c]);
      text_append_string(&fields[c], "");
    }
    for (bool more = true; more && at < map->size; columns++)
      more = csv_next_field(bytes, map->size, '|', &at, columns < CSV_COLUMNS ? &fields[columns] : &rest);
    if (row > 0 && fields[0].length > 0) /* the first row names the columns */
      annotation_add(reader, fields[0].data, folder, NULL, fields[2].length ? fields[2].data : " ");
  }
  for (int c = 0; c < CSV_COLUMNS; c++)
    text_release(&fields[c]);
  text_release(&rest);
}

/* Images in flickr30k_images/flickr30k_images beside the csv, or in one of the two. */
static enum status read_flickr_csv(struct annotation_reader *reader, const char *path, const char *folder) {
  struct annotation_reader beside = {.root = folder, .set = reader->set};
  char *images;
  struct file_map map;
  TRY(annotation_find(&beside, "flickr30k_images/flickr30k_images;flickr30k_images;flickr30k-images", &images));
  enum status status = file_map(path, &map);
  if (status == STATUS_OK && !text_is_utf8((const char *)map.data, map.size))
    status = error_set(STATUS_INPUT, "%s is not UTF-8 text", path);
  if (status == STATUS_OK)
    add_csv_rows(reader, &map, images);
  reader->annotations->published_images = 31783;
  reader->annotations->published_texts = 158915;
  file_unmap(&map);
  memory_release(images);
  return status;
}

enum status annotation_read_flickr_tulip(struct annotation_reader *reader) {
  char *path, *folder;
  TRY(find_flickr(reader, "Datasets/flickr/results.csv;results.csv", &path, &folder));
  enum status status = read_flickr_csv(reader, path, folder);
  annotation_set_origin(reader, path);
  memory_release(folder);
  memory_release(path);
  return status;
}

/* IIW, DOCCI, Urban1k, DCI and ShareGPT4V: long captions, or single sentences of them. */
#include "base/file.h"
#include "base/memory.h"
#include "data/annotations_private.h"
#include "data/source.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* {"annotations": [{"image", "caption"}]}: IIW, DOCCI and Urban1k in FLAIR's form. */
static enum status add_entries(struct annotation_reader *reader, const char *path, const char *folder,
                               const json_t *root) {
  const json_t *list = json_object_get(root, "annotations"), *entry;
  size_t i;
  if (!json_is_array(list))
    return error_set(STATUS_INPUT, "%s has no list \"annotations\"", path);
  json_array_foreach(list, i, entry) {
    const char *name, *caption;
    TRY(annotation_text(path, i, entry, "image", &name));
    TRY(annotation_text(path, i, entry, "caption", &caption));
    annotation_add(reader, name, folder, NULL, caption);
  }
  return STATUS_OK;
}

static enum status read_entries(struct annotation_reader *reader, const char *choices, const char *images) {
  char *path, *folder = text_join_path(reader->root, images);
  json_t *root = NULL;
  enum status status = annotation_find(reader, choices, &path);
  if (status == STATUS_OK)
    status = annotation_load(path, &root);
  if (status == STATUS_OK)
    status = add_entries(reader, path, folder, root);
  if (path)
    annotation_set_origin(reader, path);
  json_decref(root);
  memory_release(folder);
  memory_release(path);
  return status;
}

enum status annotation_read_iiw(struct annotation_reader *reader) {
  return read_entries(reader, "test_annotations.json;finegrained_annotations.json", "");
}

enum status annotation_read_docci(struct annotation_reader *reader) {
  return read_entries(reader, "annotations/test_annotations.json", "images");
}

enum status annotation_read_urban(struct annotation_reader *reader) {
  char *other = text_join_path(reader->root, "caption");
  const bool has_other = file_is_directory(other);
  enum status status = read_entries(reader, "annotations/annotations.json", "images");
  memory_release(other);
  if (status != STATUS_OK && has_other && reader->annotations->text_count == 0)
    error_context(status, "the folder has the form that eval.protocol='tulip' reads");
  return status;
}

/* "9.txt" before "10.txt". */
static int compare_names(const void *a, const void *b) {
  const char *x = *(char *const *)a, *y = *(char *const *)b;
  const long m = strtol(x, NULL, 10), n = strtol(y, NULL, 10);
  return m != n ? (m > n) - (m < n) : strcmp(x, y);
}

/* The names in a folder that end with `suffix`, sorted; source_release_paths. */
static enum status list_folder(const char *folder, const char *suffix, char ***names, int *count) {
  DIR *directory = opendir(folder);
  *names = NULL;
  *count = 0;
  if (!directory)
    return error_set(STATUS_INPUT, "cannot list %s: %s", folder, strerror(errno));
  for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
    if (entry->d_name[0] == '.' || !text_ends_with(entry->d_name, suffix))
      continue;
    if ((*count & (*count - 1)) == 0)
      *names = memory_resize(*names, (size_t)(*count ? 2 * *count : 1) * sizeof **names, "names");
    (*names)[(*count)++] = memory_copy_string(entry->d_name, "name");
  }
  closedir(directory);
  if (*count)
    qsort(*names, (size_t)*count, sizeof **names, compare_names);
  return STATUS_OK;
}

static char *without_suffix(const char *name, const char *suffix) {
  char *stem = memory_copy_string(name, "name");
  stem[strlen(stem) - strlen(suffix)] = '\0';
  return stem;
}

/* caption/<n>.txt, its first line, and image/<n>.jpg. */
static enum status add_urban_file(struct annotation_reader *reader, const char *captions, const char *images,
                                  const char *name) {
  char *path = text_join_path(captions, name), *stem = without_suffix(name, ".txt"),
       *image = text_format("%s.jpg", stem);
  struct text words = {0};
  text_append_string(&words, "");
  enum status status = file_read(path, &words);
  if (status == STATUS_OK && !text_is_utf8(words.data, words.length))
    status = error_set(STATUS_INPUT, "%s is not UTF-8 text", path);
  words.data[strcspn(words.data, "\r\n")] = '\0';
  if (status == STATUS_OK)
    annotation_add(reader, image, images, NULL, words.data);
  text_release(&words);
  memory_release(path);
  memory_release(stem);
  memory_release(image);
  return status;
}

enum status annotation_read_urban_tulip(struct annotation_reader *reader) {
  char *captions, *images = NULL, **names = NULL;
  int count = 0;
  TRY(annotation_find(reader, "Datasets/Urban1k/caption;Urban1k/caption;caption", &captions));
  enum status status = annotation_find(reader, "Datasets/Urban1k/image;Urban1k/image;image", &images);
  if (status == STATUS_OK)
    status = list_folder(captions, ".txt", &names, &count);
  for (int i = 0; status == STATUS_OK && i < count; i++)
    status = add_urban_file(reader, captions, images, names[i]);
  annotation_set_origin(reader, captions);
  source_release_paths(names, count);
  memory_release(images);
  memory_release(captions);
  return status;
}

/* One annotation file of DCI. FLAIR: short + newline + extra, rejoined; TULIP: the extra caption, unless it is empty.
 */
static enum status add_dci(struct annotation_reader *reader, const char *folder, const char *photos, const char *name,
                           bool tulip) {
  char *file = text_ends_with(name, ".json") ? memory_copy_string(name, "name") : text_format("%s.json", name),
       *path = text_join_path(folder, file);
  json_t *root = NULL;
  const char *image = NULL, *first = "", *extra = NULL;
  struct text whole = {0}, caption = {0};
  enum status status = annotation_load(path, &root);
  if (status == STATUS_OK)
    status = annotation_text(path, 0, root, "image", &image);
  if (status == STATUS_OK && !tulip)
    status = annotation_text(path, 0, root, "short_caption", &first);
  if (status == STATUS_OK)
    status = annotation_text(path, 0, root, "extra_caption", &extra);
  if (status == STATUS_OK && !tulip) {
    text_append_format(&whole, "%s\n%s", first, extra);
    annotation_rejoin(whole.data, &caption);
  }
  if (status == STATUS_OK && (!tulip || extra[0]))
    annotation_add(reader, image, photos, NULL, tulip ? extra : caption.data);
  text_release(&whole);
  text_release(&caption);
  json_decref(root);
  memory_release(file);
  memory_release(path);
  return status;
}

static enum status find_dci(struct annotation_reader *reader, char **annotations, char **photos) {
  *photos = NULL;
  TRY(annotation_find(reader, "densely_captioned_images/annotations;annotations", annotations));
  enum status status = annotation_find(reader, "densely_captioned_images/photos;photos", photos);
  if (status != STATUS_OK)
    memory_release(*annotations);
  return status;
}

static enum status add_split(struct annotation_reader *reader, const char *path, const json_t *splits, const char *name,
                             const char *folder, const char *photos) {
  const json_t *list = json_object_get(splits, name), *entry;
  size_t i;
  if (!json_is_array(list))
    return error_set(STATUS_INPUT, "%s has no list \"%s\"", path, name);
  json_array_foreach(list, i, entry) {
    if (!json_is_string(entry))
      return error_set(STATUS_INPUT, "%s: entry %zu of \"%s\" is no name of a file", path, i, name);
    TRY(add_dci(reader, folder, photos, json_string_value(entry), false));
  }
  return STATUS_OK;
}

enum status annotation_read_dci(struct annotation_reader *reader) {
  static const char *const names[] = {"train", "valid", "test"};
  char *path, *folder, *photos;
  json_t *splits = NULL;
  TRY(annotation_find(reader, "densely_captioned_images/splits.json;splits.json", &path));
  annotation_set_origin(reader, path);
  enum status status = annotation_load(path, &splits);
  if (status == STATUS_OK) {
    status = find_dci(reader, &folder, &photos);
    for (int i = 0; status == STATUS_OK && i < 3; i++)
      status = add_split(reader, path, splits, names[i], folder, photos);
    if (photos)
      memory_release(folder);
    memory_release(photos);
  }
  json_decref(splits);
  memory_release(path);
  return status;
}

/* Built from all annotation files in the order of their names, as TULIP's csv is. */
static enum status read_dci_folder(struct annotation_reader *reader) {
  char *folder, *photos, **names = NULL;
  int count = 0;
  TRY(find_dci(reader, &folder, &photos));
  enum status status = list_folder(folder, ".json", &names, &count);
  for (int i = 0; status == STATUS_OK && i < count; i++)
    status = add_dci(reader, folder, photos, names[i], true);
  annotation_set_origin(reader, folder);
  source_release_paths(names, count);
  memory_release(folder);
  memory_release(photos);
  return status;
}

enum status annotation_read_dci_tulip(struct annotation_reader *reader) {
  char *path;
  if (annotation_find(reader, "dci_long.csv;dci_long/dci_long.csv", &path) != STATUS_OK)
    return read_dci_folder(reader);
  char *folder = memory_copy_string(path, "folder");
  folder[strlen(folder) - strlen("dci_long.csv")] = '\0';
  enum status status = annotation_read_table(reader, path, &(struct csv_form){0}, folder);
  annotation_set_origin(reader, path);
  memory_release(folder);
  memory_release(path);
  return status;
}

/* Elements of a JSON list one after the other: the whole file of ShareGPT4V is 1.5 GB. False at the end. */
static bool next_element(FILE *file, json_t **element, json_error_t *error) {
  int c;
  do
    c = fgetc(file);
  while (c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == ',' || c == '[');
  *element = NULL;
  if (c == ']' || c == EOF)
    return false;
  ungetc(c, file);
  *element = json_loadf(file, JSON_DISABLE_EOF_CHECK, error);
  return true;
}

static void remove_all(char *text, const char *part) {
  const size_t length = strlen(part);
  for (char *found; (found = strstr(text, part)) != NULL;)
    memmove(found, found + length, strlen(found + length) + 1);
}

/* {"image", "conversations": [human, {"value"}]}. FLAIR drops every "/images" of the path and rejoins the caption. */
static enum status add_conversation(struct annotation_reader *reader, const char *path, size_t number,
                                    const json_t *entry, const char *folder, bool tulip) {
  const char *name, *words;
  struct text caption = {0};
  TRY(annotation_text(path, number, entry, "image", &name));
  TRY(annotation_text(path, number, json_array_get(json_object_get(entry, "conversations"), 1), "value", &words));
  char *place = memory_copy_string(name, "name");
  if (!tulip) {
    remove_all(place, "/images");
    annotation_rejoin(words, &caption);
  }
  annotation_add(reader, name, folder, place, tulip ? words : caption.data);
  memory_release(place);
  text_release(&caption);
  return STATUS_OK;
}

static enum status read_conversations(struct annotation_reader *reader, const char *path, const char *folder,
                                      size_t wanted, bool tulip) {
  FILE *file = fopen(path, "r");
  json_error_t error;
  json_t *entry;
  enum status status = file ? STATUS_OK : error_set(STATUS_INPUT, "cannot open %s: %s", path, strerror(errno));
  for (size_t i = 0; status == STATUS_OK && i < wanted && next_element(file, &entry, &error); i++) {
    status = entry ? add_conversation(reader, path, i, entry, folder, tulip)
                   : error_set(STATUS_INPUT, "%s: entry %zu: %s", path, i, error.text);
    json_decref(entry);
  }
  if (file)
    fclose(file);
  annotation_set_origin(reader, path);
  return status;
}

static size_t sharegpt_count(const struct annotation_reader *reader) {
  return strcmp(reader->set, "sharegpt4v-10k") == 0 ? 10000 : 1000;
}

enum status annotation_read_sharegpt(struct annotation_reader *reader) {
  char *path;
  TRY(annotation_find(reader, "share4v_sam_10k.json", &path));
  enum status status = read_conversations(reader, path, reader->root, sharegpt_count(reader), false);
  memory_release(path);
  return status;
}

enum status annotation_read_sharegpt_tulip(struct annotation_reader *reader) {
  static const char name[] = "share-captioner_coco_lcs_sam_1246k_1107.json";
  char *choices = text_format("Datasets/ShareGPT4V/%s;ShareGPT4V/%s;%s", name, name, name), *path, *folder = NULL;
  enum status status = annotation_find(reader, choices, &path);
  if (status == STATUS_OK)
    status = annotation_find(reader, "Datasets/ShareGPT4V/data;ShareGPT4V/data;data", &folder);
  if (status == STATUS_OK)
    status = read_conversations(reader, path, folder, sharegpt_count(reader), true);
  memory_release(choices);
  memory_release(folder);
  memory_release(path);
  return status;
}

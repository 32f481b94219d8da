/* The list of benchmarks, and what their readers share. */
#include "base/file.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "data/annotations_private.h"
#include "data/source_private.h"
#include <string.h>

/* In the order of methods 4.1; counts are those of the published files (0: not known). */
static const struct benchmark {
  const char *set;
  enum protocol protocol;
  int64_t images, texts;
  enum status (*read)(struct annotation_reader *reader);
  const char *note;
} benchmarks[] = {
    {"coco", PROTOCOL_FLAIR, 5000, 25014, annotation_read_coco,
     "every caption, in the order of the file (TULIP: the first five of an image, 25,000)"},
    {"coco", PROTOCOL_TULIP, 5000, 25000, annotation_read_coco_tulip,
     "images by increasing id, their first five captions (FLAIR: all 25,014, in the order of the file)"},
    {"flickr30k", PROTOCOL_FLAIR, 0, 0, annotation_read_flickr,
     "all captions of the file named; FLAIR's is the validation split of 1,014 images, others report the test split of "
     "1,000 (TULIP: the whole set of 31,783)"},
    {"flickr30k", PROTOCOL_TULIP, 31783, 158915, annotation_read_flickr_tulip,
     "the whole set, training images included (FLAIR: the validation split of 1,014 images)"},
    {"iiw", PROTOCOL_FLAIR, 612, 6204, annotation_read_iiw, "one sentence per caption (TULIP has no IIW)"},
    {"docci", PROTOCOL_FLAIR, 5000, 0, annotation_read_docci,
     "one sentence per caption, not comparable with whole captions (TULIP has no DOCCI)"},
    {"urban1k", PROTOCOL_FLAIR, 1000, 1000, annotation_read_urban,
     "whole captions; the empty one of 592.jpg is encoded (TULIP: the same texts)"},
    {"urban1k", PROTOCOL_TULIP, 1000, 1000, annotation_read_urban_tulip,
     "the first line of each caption file, paired with its image (FLAIR: the same texts)"},
    {"dci", PROTOCOL_FLAIR, 7805, 7805, annotation_read_dci,
     "short and extra caption rejoined, all splits (TULIP: the extra caption alone, about 7,602)"},
    {"dci", PROTOCOL_TULIP, 7602, 7602, annotation_read_dci_tulip,
     "the extra caption as it stands, where there is one (FLAIR: short and extra caption rejoined, 7,805)"},
    {"sharegpt4v-1k", PROTOCOL_FLAIR, 1000, 1000, annotation_read_sharegpt,
     "the first 1,000 of the SAM file, captions rejoined (TULIP: the first 1,000 of the whole file, as they stand)"},
    {"sharegpt4v-1k", PROTOCOL_TULIP, 1000, 1000, annotation_read_sharegpt_tulip,
     "the first 1,000 of the whole file, captions as they stand (FLAIR: of the SAM file, rejoined)"},
    {"sharegpt4v-10k", PROTOCOL_FLAIR, 10000, 10000, annotation_read_sharegpt,
     "the first 10,000 of the SAM file, captions rejoined; about 9,000 of them are training images of ShareGPT4V"},
};
static const struct benchmark *find_benchmark(const char *set, enum protocol protocol) {
  for (size_t i = 0; i < sizeof benchmarks / sizeof benchmarks[0]; i++)
    if (strcmp(benchmarks[i].set, set) == 0 && benchmarks[i].protocol == protocol)
      return &benchmarks[i];
  return NULL;
}

static void *grown(void *block, int64_t count, int64_t *capacity, size_t element) {
  if (count < *capacity)
    return block;
  *capacity = *capacity ? 2 * *capacity : 1024;
  return memory_resize(block, (size_t)*capacity * element, "annotations");
}

static int64_t add_image(struct annotation_reader *reader, const char *name, const char *folder, const char *path) {
  struct annotations *annotations = reader->annotations;
  const int64_t known = key_map_find(&reader->images, name, strlen(name));
  if (known >= 0)
    return known;
  int64_t number = annotations->image_count, capacity = reader->image_capacity;
  annotations->names = grown(annotations->names, number, &capacity, sizeof *annotations->names);
  annotations->files = grown(annotations->files, number, &reader->image_capacity, sizeof *annotations->files);
  annotations->names[number] = memory_copy_string(name, "annotations");
  annotations->files[number] = text_join_path(folder, path ? path : name);
  annotations->image_count++;
  return key_map_add(&reader->images, annotations->names[number], strlen(name), number);
}

void annotation_add(struct annotation_reader *reader, const char *name, const char *folder, const char *path,
                    const char *caption) {
  struct annotations *annotations = reader->annotations;
  int64_t number = annotations->text_count, capacity = reader->text_capacity;
  annotations->texts = grown(annotations->texts, number, &capacity, sizeof *annotations->texts);
  annotations->image_of_text =
      grown(annotations->image_of_text, number, &reader->text_capacity, sizeof *annotations->image_of_text);
  annotations->texts[number] = memory_copy_string(caption, "annotations");
  annotations->image_of_text[number] = add_image(reader, name, folder, path);
  annotations->text_count++;
}

enum status annotation_find(struct annotation_reader *reader, const char *choices, char **path) {
  char *copy = memory_copy_string(choices, "choices"), *rest = copy;
  *path = NULL;
  for (char *choice; !*path && (choice = strsep(&rest, ";")) != NULL;) {
    *path = text_join_path(reader->root, choice);
    if (file_exists(*path))
      break;
    memory_release(*path);
    *path = NULL;
  }
  memory_release(copy);
  if (*path)
    return STATUS_OK;
  const char * or = strchr(choices, ';') ? " (one of those)" : "";
  return error_set(STATUS_INPUT, "%s: there is no %s%s; set eval.%s_root to the folder of the published files%s",
                   reader->root, choices, or, text_starts_with(reader->set, "sharegpt4v") ? "sharegpt4v" : reader->set,
                   strcmp(reader->set, "flickr30k") == 0 ? ", or to its annotation file" : "");
}

void annotation_set_origin(struct annotation_reader *reader, const char *path) {
  memory_release(reader->annotations->origin);
  reader->annotations->origin = memory_copy_string(path, "annotations");
}

enum status annotation_load(const char *path, json_t **root) {
  json_error_t error;
  *root = json_load_file(path, 0, &error);
  return *root ? STATUS_OK : error_set(STATUS_INPUT, "%s:%d: %s", path, error.line, error.text);
}

enum status annotation_text(const char *path, size_t entry, const json_t *object, const char *key, const char **text) {
  *text = json_string_value(json_object_get(object, key));
  return *text ? STATUS_OK : error_set(STATUS_INPUT, "%s: entry %zu has no text \"%s\"", path, entry, key);
}

/* Bytes of the white space at `p`, as Python's strip() sees it: ASCII, and Unicode's Zs, NEL, LS and PS. */
static size_t space_at(const unsigned char *p) {
  if ((*p >= 9 && *p <= 13) || (*p >= 28 && *p <= 32))
    return 1;
  if (p[0] == 0xc2 && (p[1] == 0x85 || p[1] == 0xa0))
    return 2;
  const unsigned code = *p >= 0xe1 && *p <= 0xe3 && p[1] ? (p[0] & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u) : 0;
  return code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f ||
                 code == 0x205f || code == 0x3000
             ? 3
             : 0;
}

static void add_piece(struct text *out, const char *start, const char *end) {
  const char *last = start; /* behind the last byte that is no white space */
  for (size_t space; start < end && (space = space_at((const unsigned char *)start)) > 0;)
    start += space;
  last = start;
  for (const char *p = start; p < end;) {
    const size_t space = space_at((const unsigned char *)p);
    p += space ? space : 1;
    last = space ? last : p;
  }
  if (last == start)
    return;
  text_append_string(out, out->length ? ". " : "");
  text_append(out, start, (size_t)(last - start));
}

void annotation_rejoin(const char *caption, struct text *out) {
  const char *start = caption;
  text_clear(out);
  text_append_string(out, "");
  for (const char *p = caption;; p++) {
    const size_t mark = text_starts_with(p, "</s>") ? 4 : *p == '\n' || *p == '.' ? 1 : 0;
    if (mark || !*p)
      add_piece(out, start, p);
    if (!*p)
      return;
    if (mark) {
      start = p + mark;
      p += mark - 1;
    }
  }
}

/* Missing pictures are told at once, not as gray images an hour later. */
static enum status check_files(const struct annotations *annotations) {
  int64_t missing = 0, first = -1;
  for (int64_t i = 0; i < annotations->image_count; i++)
    if (!file_exists(annotations->files[i])) {
      missing++;
      first = first < 0 ? i : first;
    }
  if (annotations->text_count == 0)
    return error_set(STATUS_INPUT, "%s: no captions in it", annotations->origin);
  return missing == 0 ? STATUS_OK
                      : error_set(STATUS_INPUT, "%lld of the %lld images that %s names are missing, the first is %s",
                                  (long long)missing, (long long)annotations->image_count, annotations->origin,
                                  annotations->files[first]);
}

static void pack_strings(char *const *strings, int64_t count, struct text *packed) {
  for (int64_t i = 0; i < count; i++)
    text_append(packed, strings[i], strlen(strings[i]) + 1);
}

static char **unpack_strings(int64_t count, const char **at) {
  char **strings = memory_allocate((size_t)(count + 1) * sizeof *strings, "annotations");
  for (int64_t i = 0; i < count; i++) {
    strings[i] = memory_copy_string(*at, "annotations");
    *at += strlen(*at) + 1;
  }
  return strings;
}

static void share(struct annotations *annotations) {
  struct text packed = {0};
  if (comm_rank() == 0) {
    pack_strings(annotations->names, annotations->image_count, &packed);
    pack_strings(annotations->files, annotations->image_count, &packed);
    pack_strings(annotations->texts, annotations->text_count, &packed);
    pack_strings(&annotations->origin, 1, &packed);
  }
  int64_t head[5] = {annotations->image_count, annotations->text_count, annotations->published_images,
                     annotations->published_texts, (int64_t)packed.length};
  comm_broadcast(head, sizeof head, 0);
  if (comm_rank() != 0)
    text_resize(&packed, (size_t)head[4]);
  comm_broadcast(packed.data, (size_t)head[4], 0);
  if (comm_rank() != 0) {
    const char *at = packed.data;
    annotations->image_count = head[0];
    annotations->text_count = head[1];
    annotations->published_images = head[2];
    annotations->published_texts = head[3];
    annotations->names = unpack_strings(head[0], &at);
    annotations->files = unpack_strings(head[0], &at);
    annotations->texts = unpack_strings(head[1], &at);
    annotations->origin = memory_copy_string(at, "annotations");
    annotations->image_of_text = memory_allocate((size_t)head[1] * sizeof *annotations->image_of_text, "annotations");
  }
  comm_broadcast(annotations->image_of_text, (size_t)head[1] * sizeof *annotations->image_of_text, 0);
  text_release(&packed);
}

static enum status finish(struct annotation_reader *reader, enum status status) {
  key_map_release(&reader->images);
  if (status == STATUS_OK && comm_rank() == 0)
    status = check_files(reader->annotations);
  status = comm_agree(status);
  if (status == STATUS_OK)
    share(reader->annotations);
  else
    annotations_release(reader->annotations);
  return status;
}

enum status annotations_read(const char *set, const char *root, enum protocol protocol,
                             struct annotations *annotations) {
  const struct benchmark *benchmark = find_benchmark(set, protocol);
  *annotations = (struct annotations){0};
  if (!benchmark)
    return error_set(STATUS_INPUT, "eval.datasets: the protocol '%s' has no %s",
                     protocol == PROTOCOL_TULIP ? "tulip" : "flair", set);
  annotations->published_images = benchmark->images;
  annotations->published_texts = benchmark->texts;
  annotations->note = benchmark->note;
  struct annotation_reader reader = {.set = set, .root = root, .annotations = annotations};
  return finish(&reader, comm_rank() == 0 ? benchmark->read(&reader) : STATUS_OK);
}

/* Rows of a csv source; a relative path lies in `folder`. */
static enum status read_rows(struct annotation_reader *reader, struct source *source, const char *folder) {
  struct text caption = {0};
  enum status status = STATUS_OK;
  for (int64_t i = 0; status == STATUS_OK && i < source_count(source); i++) {
    text_clear(&caption);
    text_append_string(&caption, "");
    status = source_read(source, i, NULL, &caption);
    if (status == STATUS_OK)
      annotation_add(reader, source_key(source, i), folder, NULL, caption.data);
    else
      error_context(status, "%s row %lld", reader->root, (long long)i + 1);
  }
  text_release(&caption);
  return status;
}

enum status annotation_read_table(struct annotation_reader *reader, const char *path, const struct csv_form *form,
                                  const char *folder) {
  struct source *source;
  TRY(source_open_csv_alone(&(struct source_options){.paths = &path,
                                                     .path_count = 1,
                                                     .format = "csv",
                                                     .csv_separator = form->separator,
                                                     .csv_image = form->image,
                                                     .csv_caption = form->caption},
                            &source));
  annotation_set_origin(reader, path);
  enum status status = read_rows(reader, source, folder);
  source_close(source);
  return status;
}

enum status annotations_read_csv(const char *path, const struct csv_form *form, struct annotations *annotations) {
  *annotations = (struct annotations){.note = "each row a caption; rows of one path are captions of one image"};
  struct annotation_reader reader = {.set = "csv", .root = path, .annotations = annotations};
  return finish(&reader, comm_rank() == 0 ? annotation_read_table(&reader, path, form, "") : STATUS_OK);
}

static void release_strings(char **strings, int64_t count) {
  for (int64_t i = 0; strings && i < count; i++)
    memory_release(strings[i]);
  memory_release(strings);
}

void annotations_release(struct annotations *annotations) {
  release_strings(annotations->names, annotations->image_count);
  release_strings(annotations->files, annotations->image_count);
  release_strings(annotations->texts, annotations->text_count);
  memory_release(annotations->image_of_text);
  memory_release(annotations->origin);
  *annotations = (struct annotations){0};
}

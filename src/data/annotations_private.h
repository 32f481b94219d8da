/* Between annotations.c, which knows the list of sets, and the readers of their files. */
#ifndef MEMCLIP_DATA_ANNOTATIONS_PRIVATE_H
#define MEMCLIP_DATA_ANNOTATIONS_PRIVATE_H
#include "base/key_map.h"
#include "base/text.h"
#include "data/annotations.h"
#include <jansson.h>

struct annotation_reader {
  const char *set, *root;
  struct annotations *annotations;
  int64_t image_capacity, text_capacity;
  struct key_map images; /* name -> number */
};

/* Adds a caption of the image `name`, which lies in folder/path (path NULL: folder/name) when it is new. */
void annotation_add(struct annotation_reader *reader, const char *name, const char *folder, const char *path,
                    const char *caption);
/* root/choice of the first of the choices (";" between them) that exists: memory_release. */
enum status annotation_find(struct annotation_reader *reader, const char *choices, char **path);
/* Takes the path as what was read. */
void annotation_set_origin(struct annotation_reader *reader, const char *path);
enum status annotation_load(const char *path, json_t **root);
/* The text under a key; STATUS_INPUT naming file and entry when it is absent. */
enum status annotation_text(const char *path, size_t entry, const json_t *object, const char *key, const char **text);
/* Rows of a csv; relative paths lie in `folder`. */
enum status annotation_read_table(struct annotation_reader *reader, const char *path, const struct csv_form *form,
                                  const char *folder);
/* Pieces between newlines, "</s>" and full stops, stripped, empty ones dropped, joined with ". " (methods 4.1). */
void annotation_rejoin(const char *caption, struct text *out);

enum status annotation_read_coco(struct annotation_reader *reader);
enum status annotation_read_coco_tulip(struct annotation_reader *reader);
enum status annotation_read_flickr(struct annotation_reader *reader);
enum status annotation_read_flickr_tulip(struct annotation_reader *reader);
enum status annotation_read_iiw(struct annotation_reader *reader);
enum status annotation_read_docci(struct annotation_reader *reader);
enum status annotation_read_urban(struct annotation_reader *reader);
enum status annotation_read_urban_tulip(struct annotation_reader *reader);
enum status annotation_read_dci(struct annotation_reader *reader);
enum status annotation_read_dci_tulip(struct annotation_reader *reader);
enum status annotation_read_sharegpt(struct annotation_reader *reader);
enum status annotation_read_sharegpt_tulip(struct annotation_reader *reader);
#endif

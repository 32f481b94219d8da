/* Published retrieval benchmarks as they are distributed: their annotation files and image folders, unchanged, in the
 * protocols of FLAIR (the thesis's evaluators) and TULIP (methods 4.1, 4.2). */
#ifndef MEMCLIP_DATA_ANNOTATIONS_H
#define MEMCLIP_DATA_ANNOTATIONS_H
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

enum protocol { PROTOCOL_FLAIR, PROTOCOL_TULIP };

/* Images in the order in which the texts name them; texts in the order of the file, duplicates and empty ones kept. */
struct annotations {
  char **names, **files; /* [image_count] as the annotations call an image; where it lies */
  char **texts;          /* [text_count] */
  int64_t *image_of_text;
  int64_t image_count, text_count;
  int64_t published_images, published_texts; /* what the published files hold; 0: not known */
  char *origin;                              /* the file or folder that was read */
  const char *note;                          /* what this protocol takes, and how the other differs; a literal */
};
/* `set`: coco, flickr30k, iiw, docci, urban1k, dci, sharegpt4v-1k, sharegpt4v-10k. `root`: its folder, TULIP's data
 * folder (with Datasets/ in it), or for flickr30k the annotation file itself. Rank 0 reads and tells the others;
 * STATUS_INPUT, with what was looked for, when files are missing or of another form. Collective. */
enum status annotations_read(const char *set, const char *root, enum protocol protocol,
                             struct annotations *annotations);
struct csv_form {
  const char *separator, *image, *caption; /* as in source.h */
};
/* Captions of a csv file: each row one, rows of the same path one image. A file lies where its path says (relative to
 * the working directory). Collective. */
enum status annotations_read_csv(const char *path, const struct csv_form *form, struct annotations *annotations);
void annotations_release(struct annotations *annotations);
#endif

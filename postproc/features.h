/* Features files (HDF5, as the stage eval writes them): unit features of images and texts and which belong together.
 * Files made by others may lack attributes, checksums, keys and captions; strings and integers may be of any kind. */
#ifndef MEMCLIP_POSTPROC_FEATURES_H
#define MEMCLIP_POSTPROC_FEATURES_H
#include "metric/measure.h"

struct features {
  char *path, *label;                   /* label: the model's name, else the file's */
  char *data_set;                       /* NULL when the file does not say */
  struct retrieval set;                 /* points into images, texts, image_of_text */
  float *images, *texts;                /* [N,E], [M,E] */
  int64_t *image_of_text;               /* [M] */
  char **keys, **captions;              /* [N], [M] or NULL */
  int64_t *group;                       /* [N], numbered from 0 without gaps, or NULL */
  float *negatives;                     /* [Q,E] or NULL */
  int64_t *right_text, *negative_image; /* [Q] */
  char **kinds, **wrong;                /* [Q] or NULL */
  int64_t negative_count;
  int32_t *tokens;                                                        /* [M] of each text before cutting, or NULL */
  int context;                                                            /* that texts were cut to; 0: not known */
  char *note, *origin, *protocol, *text_tower, *checkpoint, *in_training; /* as eval wrote them, or NULL */
  bool normalized_here;                                                   /* features were not of length 1 */
};
/* Reads and checks everything: shapes that fit, indices in range, finite numbers, no zero vectors. */
enum status features_read(const char *path, struct features *features);
void features_release(struct features *features);
struct measure_extras features_extras(const struct features *features);

/* The features files named: a file is itself, a run directory stands for its features/NAME.h5 in order of names.
 * memory_release each path and the array. */
enum status features_list_files(char *const *names, int name_count, char ***paths, int *count);
#endif

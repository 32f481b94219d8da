/* A training checkpoint: complete or absent (architecture section 4). The caller lists what belongs to it; a snapshot is copied to host
 * memory and written by a background thread while training goes on. Rank 0 alone writes, lists and picks. */
#ifndef MEMCLIP_IO_CHECKPOINT_H
#define MEMCLIP_IO_CHECKPOINT_H
#include "base/dtype.h"
#include "base/error.h"
#include "io/store.h"

/* One tensor of the file. `alias_of` names an earlier entry whose data this one shares (hard link), data is NULL then. */
struct checkpoint_tensor {
  const char *name; /* "model/visual.proj" */
  enum dtype dtype;
  int axes;
  int64_t shape[TENSOR_AXES_MAX];
  const void *data;
  const char *alias_of;
};
struct checkpoint_number {
  const char *name;
  double value;
}; /* "progress/step" */
struct checkpoint_text {
  const char *name, *text;
}; /* "run/input" */
struct checkpoint_content {
  const struct checkpoint_tensor *tensors;
  int64_t tensor_count;
  const struct checkpoint_number *numbers;
  int64_t number_count;
  const struct checkpoint_text *texts;
  int64_t text_count;
};

/* Writes synchronously, verified by nothing but the system's own errors. */
enum status checkpoint_write(const char *path, const struct checkpoint_content *content);

/* The background writer of a run's checkpoints/ directory: keeps the newest `keep`, never removes best.h5 nor files in `archive`. */
struct checkpoint_writer;
struct checkpoint_writer *checkpoint_writer_open(const char *directory, int keep);
/* Copies the content (host memory) and returns; waits first for the previous one. `step` names the file step_%07d.h5; best: also copied
 * (hard link) to best.h5; archive: never pruned. latest.h5 is relinked after the rename. */
enum status checkpoint_writer_submit(struct checkpoint_writer *writer, const struct checkpoint_content *content, int64_t step, bool best,
                                     bool archive);
/* Waits for the write in progress and gives its status. */
enum status checkpoint_writer_wait(struct checkpoint_writer *writer);
double checkpoint_writer_last_seconds(const struct checkpoint_writer *writer);
void checkpoint_writer_close(struct checkpoint_writer *writer); /* waits */

/* Path of the newest checkpoint in `directory` that verifies (its step in *step), or NULL text when there is none; damaged ones are named
 * by `warn`. */
enum status checkpoint_find_newest(const char *directory, char **path, int64_t *step, void (*warn)(const char *message));
#endif

/* A training checkpoint: complete or absent (architecture section 4). The caller lists what belongs to it; a snapshot
 * is copied to host memory and written by a background thread while training goes on. Rank 0 alone writes, lists and
 * picks. */
#ifndef MEMCLIP_IO_CHECKPOINT_H
#define MEMCLIP_IO_CHECKPOINT_H
#include "base/dtype.h"
#include "base/error.h"
#include "io/store.h"

/* One tensor of the file. `alias_of` names an earlier entry whose data this one shares (hard link), data is NULL then.
 */
struct checkpoint_tensor {
  const char *name; /* "model/visual.proj" */
  enum dtype dtype;
  bool bf16_numbers; /* fp32 data that are such, and are marked so (store_write_bf16_numbers) */
  int axes;
  int64_t shape[TENSOR_AXES_MAX];
  const void *data;
  const char *alias_of;
};
struct checkpoint_number {
  const char *name; /* "progress/step" */
  double value;
};
struct checkpoint_text {
  const char *name, *text; /* "run/input" */
};
struct checkpoint_content {
  const struct checkpoint_tensor *tensors;
  int64_t tensor_count;
  const struct checkpoint_number *numbers;
  int64_t number_count;
  const struct checkpoint_text *texts;
  int64_t text_count;
};

/* Writes synchronously, verified by nothing but the system's own errors. STATUS_SYSTEM leaves what was at `path` as it
 * was. */
enum status checkpoint_write(const char *path, const struct checkpoint_content *content);

/* The background writer of a run's checkpoints/ directory, which it makes and clears of temporaries that a killed run
 * left: keeps the newest `keep` (all if that is 0), never removes best.h5 nor files in archive/. One thread calls. */
struct checkpoint_writer;
struct checkpoint_writer *checkpoint_writer_open(const char *directory, int keep);
/* Waits for the previous write, copies the content (host memory, kept for the next time) and returns while it is
 * written. `step` names the file step_%07d.h5; best: also best.h5 (hard link); archive: also archive/step_%07d.h5,
 * never pruned. latest.h5 is relinked after the rename. A failure is that of the previous write, if nobody has waited
 * for it; this one is under way nevertheless. */
enum status checkpoint_writer_submit(struct checkpoint_writer *writer, const struct checkpoint_content *content,
                                     int64_t step, bool best, bool archive);
/* Waits for the write in progress and gives its status, once. After a failure the older checkpoints are all still
 * there. */
enum status checkpoint_writer_wait(struct checkpoint_writer *writer);
/* Of the last finished write: what a time limit must leave. */
double checkpoint_writer_last_seconds(const struct checkpoint_writer *writer);
void checkpoint_writer_close(struct checkpoint_writer *writer); /* waits */

/* Path of the newest step_*.h5 in `directory` of a step below `before` that verifies (its step in *step;
 * memory_release), or NULL when there is none; damaged ones are named by `warn` (which may be NULL). */
enum status checkpoint_find_newest(const char *directory, int64_t before, char **path, int64_t *step,
                                   void (*warn)(const char *message));
/* How many step_*.h5 there are, sound or not. */
enum status checkpoint_count(const char *directory, int64_t *count);
/* "step_0001200.h5"; memory_release. */
char *checkpoint_file_name(int64_t step);
#endif

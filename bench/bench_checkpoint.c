/* GB/s of a checkpoint on the disk (fsync included) against a plain write of as many bytes, in turn in one run, and of
 * the snapshot, which is what a step waits for. bench/bench_checkpoint [MB, 600] [directory, .] */
#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/checkpoint.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TENSORS = 300, ROUNDS = 5 };

static double write_raw(const char *path, const char *data, size_t bytes) {
  const double start = clock_seconds();
  const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  for (size_t done = 0; done < bytes;) {
    const ssize_t wrote = write(file, data + done, bytes - done);
    if (wrote <= 0)
      fatal("cannot write %s", path);
    done += (size_t)wrote;
  }
  if (fsync(file) != 0 || close(file) != 0)
    fatal("cannot write %s", path);
  const double seconds = clock_seconds() - start;
  unlink(path);
  return seconds;
}

static double write_checkpoint(const char *path, const struct checkpoint_content *content) {
  const double start = clock_seconds();
  if (checkpoint_write(path, content) != STATUS_OK)
    fatal("%s", error_message());
  const double seconds = clock_seconds() - start;
  unlink(path);
  return seconds;
}

static void report(const char *what, double bytes, double seconds, double raw_seconds) {
  printf("%-28s %7.3f GB/s   %.2f of the plain write\n", what, bytes / seconds * 1e-9, raw_seconds / seconds);
}

static double submit(struct checkpoint_writer *writer, const struct checkpoint_content *content, int64_t step) {
  const double start = clock_seconds();
  if (checkpoint_writer_submit(writer, content, step, false, false) != STATUS_OK)
    fatal("%s", error_message());
  const double seconds = clock_seconds() - start;
  if (checkpoint_writer_wait(writer) != STATUS_OK)
    fatal("%s", error_message());
  return seconds;
}

int main(int argc, char **argv) {
  const size_t each = (size_t)(argc > 1 ? atoi(argv[1]) : 600) * 1000000 / TENSORS / sizeof(float);
  const size_t bytes = each * TENSORS * sizeof(float);
  const char *directory = argc > 2 ? argv[2] : ".";
  char *path = text_join_path(directory, "bench_checkpoint.h5"),
       *folder = text_join_path(directory, "bench_checkpoints");
  float *data = memory_allocate(bytes, "data");
  static struct checkpoint_tensor tensors[TENSORS];
  static char names[TENSORS][64];
  for (size_t i = 0; i < bytes / sizeof(float); i++)
    data[i] = (float)i;
  for (size_t t = 0; t < TENSORS; t++) {
    snprintf(names[t], sizeof names[t], "model/visual.transformer.resblocks.%zu.weight", t);
    tensors[t] = (struct checkpoint_tensor){
        .name = names[t], .dtype = DTYPE_F32, .axes = 1, .shape = {(int64_t)each}, .data = data + t * each};
  }
  const struct checkpoint_content content = {.tensors = tensors, .tensor_count = TENSORS};
  double raw = 1e9, ours = 1e9, snapshot = 1e9;
  for (int round = 0; round < ROUNDS; round++) {
    const double raw_now = write_raw(path, (const char *)data, bytes), ours_now = write_checkpoint(path, &content);
    raw = raw_now < raw ? raw_now : raw;
    ours = ours_now < ours ? ours_now : ours;
  }
  struct checkpoint_writer *writer = checkpoint_writer_open(folder, 1);
  for (int round = 0; round < 3; round++) {
    const double now = submit(writer, &content, round);
    snapshot = now < snapshot ? now : snapshot;
  }
  report("plain write and fsync", (double)bytes, raw, raw);
  report("checkpoint", (double)bytes, ours, raw);
  report("in background, with pruning", (double)bytes, checkpoint_writer_last_seconds(writer), raw);
  printf("snapshot: a step waits %.1f ms, %.1f GB/s\n", snapshot * 1e3, (double)bytes / snapshot * 1e-9);
  checkpoint_writer_close(writer);
  char *command = text_format("rm -r '%s'", folder);
  const int removed = system(command);
  memory_release(command);
  memory_release(folder);
  memory_release(path);
  memory_release(data);
  return removed != 0;
}

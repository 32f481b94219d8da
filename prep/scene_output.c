#include "scene_output.h"
#include "base/file.h"
#include "base/memory.h"
#include "data/tar_writer.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *const scene_format_names[FORMAT_COUNT] = {"tar", "csv"};

struct scene_output {
  struct tar_writer *writer; /* one of the two */
  char *folder;
};

enum status scene_output_open(enum scene_format format, const char *directory, const char *split, int64_t shard,
                              struct scene_output **output) {
  *output = memory_allocate(sizeof **output, "scene output");
  if (format == FORMAT_CSV) {
    (*output)->folder = text_join_path(directory, split);
    return file_make_directories((*output)->folder);
  }
  char *path = text_format("%s/%s-%06" PRId64 ".tar", directory, split, shard);
  enum status status = tar_writer_open(path, &(*output)->writer);
  memory_release(path);
  return status;
}

static enum status add_file(const char *folder, const char *key, const char *suffix, const struct text *bytes) {
  char *path = text_format("%s/%s.%s", folder, key, suffix);
  FILE *file = fopen(path, "w");
  bool written = file != NULL && fwrite(bytes->data, 1, bytes->length, file) == bytes->length;
  written = file != NULL && fclose(file) == 0 && written;
  enum status status = written ? STATUS_OK : error_set(STATUS_SYSTEM, "cannot write %s: %s", path, strerror(errno));
  memory_release(path);
  return status;
}

enum status scene_output_add(struct scene_output *output, const char *key, const char *suffix,
                             const struct text *bytes) {
  if (output->folder != NULL)
    return add_file(output->folder, key, suffix, bytes);
  return tar_writer_add(output->writer, key, suffix, bytes->data, bytes->length);
}

enum status scene_output_close(struct scene_output *output, enum status status) {
  if (status != STATUS_OK)
    tar_writer_abandon(output->writer);
  else if (output->writer != NULL)
    status = tar_writer_finish(output->writer);
  memory_release(output->folder);
  memory_release(output);
  return status;
}

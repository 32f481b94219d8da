#include "scene_output.h"
#include "base/file.h"
#include "base/memory.h"
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *const scene_format_names[FORMAT_COUNT] = {"tar", "csv"};

struct scene_output {
  struct archive *archive; /* NULL: loose files */
  char *path, *temporary;  /* of the shard; path alone: the folder */
};

enum status scene_output_open(enum scene_format format, const char *directory, const char *split, int64_t shard,
                              struct scene_output **output) {
  *output = memory_allocate(sizeof **output, "scene output");
  if (format == FORMAT_CSV) {
    (*output)->path = text_join_path(directory, split);
    return file_make_directories((*output)->path);
  }
  (*output)->path = text_format("%s/%s-%06" PRId64 ".tar", directory, split, shard);
  (*output)->temporary = text_format("%s.part", (*output)->path);
  (*output)->archive = archive_write_new();
  archive_write_set_format_ustar((*output)->archive);
  if (archive_write_open_filename((*output)->archive, (*output)->temporary) == ARCHIVE_OK)
    return STATUS_OK;
  return error_set(STATUS_SYSTEM, "%s: cannot write: %s", (*output)->temporary, archive_error_string((*output)->archive));
}

static enum status add_file(const char *folder, const char *name, const struct text *bytes) {
  char *path = text_join_path(folder, name);
  FILE *file = fopen(path, "w");
  bool written = file != NULL && fwrite(bytes->data, 1, bytes->length, file) == bytes->length;
  written = file != NULL && fclose(file) == 0 && written;
  enum status status = written ? STATUS_OK : error_set(STATUS_SYSTEM, "%s: cannot write: %s", path, strerror(errno));
  memory_release(path);
  return status;
}

/* Owner, group and time are left at zero: the same scenes make the same bytes. */
static enum status add_member(struct scene_output *output, const char *name, const struct text *bytes) {
  struct archive_entry *entry = archive_entry_new();
  archive_entry_set_pathname(entry, name);
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_entry_set_perm(entry, 0644);
  archive_entry_set_mtime(entry, 0, 0);
  archive_entry_set_size(entry, (la_int64_t)bytes->length);
  bool written = archive_write_header(output->archive, entry) == ARCHIVE_OK &&
                 archive_write_data(output->archive, bytes->data, bytes->length) == (la_ssize_t)bytes->length;
  archive_entry_free(entry);
  return written ? STATUS_OK : error_set(STATUS_SYSTEM, "%s: cannot write: %s", output->temporary, archive_error_string(output->archive));
}

enum status scene_output_add(struct scene_output *output, const char *key, const char *suffix, const struct text *bytes) {
  char name[64];
  snprintf(name, sizeof name, "%s.%s", key, suffix);
  return output->archive != NULL ? add_member(output, name, bytes) : add_file(output->path, name, bytes);
}

enum status scene_output_close(struct scene_output *output, enum status status) {
  if (output->archive != NULL) {
    if (status == STATUS_OK && archive_write_close(output->archive) != ARCHIVE_OK)
      status = error_set(STATUS_SYSTEM, "%s: cannot write: %s", output->temporary, archive_error_string(output->archive));
    archive_write_free(output->archive);
    if (status == STATUS_OK)
      status = file_publish(output->temporary, output->path);
    else
      unlink(output->temporary);
  }
  memory_release(output->temporary);
  memory_release(output->path);
  memory_release(output);
  return status;
}

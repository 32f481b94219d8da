#include "data/tar_writer.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include <archive.h>
#include <archive_entry.h>
#include <unistd.h>

struct tar_writer {
  struct archive *archive;
  struct archive_entry *entry; /* reused */
  struct text name;
  char *path, *temporary;
};

static void release(struct tar_writer *writer) {
  archive_write_free(writer->archive);
  archive_entry_free(writer->entry);
  text_release(&writer->name);
  memory_release(writer->path);
  memory_release(writer->temporary);
  memory_release(writer);
}

static enum status failed(const struct tar_writer *writer) {
  return error_set(STATUS_SYSTEM, "cannot write %s: %s", writer->temporary, archive_error_string(writer->archive));
}

enum status tar_writer_open(const char *path, struct tar_writer **result) {
  struct tar_writer *writer = memory_allocate(sizeof *writer, "tar writer");
  writer->path = memory_copy_string(path, "tar path");
  writer->temporary = text_format("%s.part", path);
  writer->archive = archive_write_new();
  writer->entry = archive_entry_new();
  archive_write_set_format_pax_restricted(writer->archive);
  *result = writer;
  if (archive_write_open_filename(writer->archive, writer->temporary) == ARCHIVE_OK)
    return STATUS_OK;
  enum status status = failed(writer);
  release(writer);
  *result = NULL;
  return status;
}

enum status tar_writer_add(struct tar_writer *writer, const char *key, const char *suffix, const void *bytes,
                           size_t size) {
  struct archive_entry *entry = archive_entry_clear(writer->entry);
  text_clear(&writer->name);
  text_append_format(&writer->name, "%s.%s", key, suffix);
  archive_entry_set_pathname(entry, writer->name.data);
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_entry_set_perm(entry, 0644);
  archive_entry_set_mtime(entry, 0, 0);
  archive_entry_set_size(entry, (la_int64_t)size);
  int code = archive_write_header(writer->archive, entry); /* a warning is no failure: the member is there */
  if ((code != ARCHIVE_OK && code != ARCHIVE_WARN) ||
      archive_write_data(writer->archive, bytes, size) != (la_ssize_t)size)
    return failed(writer);
  return STATUS_OK;
}

enum status tar_writer_finish(struct tar_writer *writer) {
  if (archive_write_close(writer->archive) != ARCHIVE_OK) {
    enum status status = failed(writer);
    tar_writer_abandon(writer);
    return status;
  }
  enum status status = file_publish(writer->temporary, writer->path);
  release(writer);
  return status;
}

void tar_writer_abandon(struct tar_writer *writer) {
  if (!writer)
    return;
  unlink(writer->temporary);
  release(writer);
}

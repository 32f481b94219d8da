#include "config.h"
#include "base/file.h"
#include "base/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum status file_read(const char *path, struct text *content) {
  return file_read_at_most(path, SIZE_MAX, content);
}

enum status file_read_at_most(const char *path, size_t bytes_max, struct text *content) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0)
    return error_set(STATUS_INPUT, "cannot open %s: %s", path, strerror(errno));
  char buffer[65536];
  ssize_t got;
  const size_t before = content->length;
  text_append(content, "", 0);
  while ((got = read(file, buffer, sizeof buffer)) != 0) {
    if (got > 0) {
      text_append(content, buffer, (size_t)got);
      if (content->length - before > bytes_max) {
        close(file);
        return error_set(STATUS_INPUT, "%s is longer than %zu bytes, which no file of its kind is", path, bytes_max);
      }
    } else if (errno != EINTR) {
      int cause = errno;
      close(file);
      return error_set(STATUS_INPUT, "cannot read %s: %s", path, strerror(cause));
    }
  }
  close(file);
  return STATUS_OK;
}

static enum status write_all(int file, const char *path, const char *data, size_t size) {
  while (size > 0) {
    ssize_t wrote = write(file, data, size);
    if (wrote < 0 && errno == EINTR)
      continue;
    if (wrote < 0)
      return error_set(STATUS_SYSTEM, "cannot write %s: %s", path, strerror(errno));
    data += wrote;
    size -= (size_t)wrote;
  }
  return STATUS_OK;
}

static enum status write_temporary(const char *temporary, const void *data, size_t size) {
  int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0)
    return error_set(STATUS_SYSTEM, "cannot create %s: %s", temporary, strerror(errno));
  enum status status = write_all(file, temporary, data, size);
  if (close(file) != 0 && status == STATUS_OK)
    status = error_set(STATUS_SYSTEM, "cannot write %s: %s", temporary, strerror(errno));
  return status;
}

enum status file_write_atomic(const char *path, const void *data, size_t size) {
  char *temporary = text_format("%s.tmp.%ld", path, (long)getpid());
  enum status status = write_temporary(temporary, data, size);
  if (status == STATUS_OK)
    status = file_publish(temporary, path);
  if (status != STATUS_OK)
    unlink(temporary);
  memory_release(temporary);
  return status;
}

static enum status sync_path(const char *path, int flags) {
  int file = open(path, O_RDONLY | O_CLOEXEC | flags);
  if (file < 0)
    return error_set(STATUS_SYSTEM, "cannot open %s to flush it: %s", path, strerror(errno));
  int cause = fsync(file) == 0 ? 0 : errno;
  close(file);
  if (cause != 0 && !(cause == EINVAL && (flags & O_DIRECTORY))) /* some file systems cannot flush directories */
    return error_set(STATUS_SYSTEM, "cannot flush %s: %s", path, strerror(cause));
  return STATUS_OK;
}

static enum status sync_directory_of(const char *path) {
  const char *name = text_base_name(path);
  char *directory = name == path ? text_format(".") : text_format("%.*s", (int)(name - path), path);
  enum status status = sync_path(directory, O_DIRECTORY);
  memory_release(directory);
  return status;
}

enum status file_publish(const char *temporary, const char *path) {
  struct stat there;
  TRY(sync_path(temporary, 0));
  if (stat(path, &there) == 0 && !S_ISREG(there.st_mode)) /* a device would be lost for good */
    return error_set(STATUS_SYSTEM, "%s is there and is no regular file", path);
  if (rename(temporary, path) != 0)
    return error_set(STATUS_SYSTEM, "cannot rename %s to %s: %s", temporary, path, strerror(errno));
  return sync_directory_of(path);
}

static enum status make_directories(char *path) {
  for (char *p = path + 1;; p++) {
    if (*p != '/' && *p != '\0')
      continue;
    char kept = *p;
    *p = '\0';
    if (mkdir(path, 0777) != 0 && errno != EEXIST && !file_is_directory(path))
      return error_set(STATUS_SYSTEM, "cannot make the directory %s: %s", path, strerror(errno));
    *p = kept;
    if (kept == '\0')
      return STATUS_OK;
  }
}

enum status file_make_directories(const char *path) {
  if (path[0] == '\0')
    return STATUS_OK;
  char *copy = memory_copy_string(path, "path");
  enum status status = make_directories(copy);
  memory_release(copy);
  if (status == STATUS_OK && !file_is_directory(path))
    return error_set(STATUS_SYSTEM, "cannot make the directory %s: a file of that name exists", path);
  return status;
}

bool file_exists(const char *path) {
  struct stat information;
  return stat(path, &information) == 0;
}

bool file_is_directory(const char *path) {
  struct stat information;
  return stat(path, &information) == 0 && S_ISDIR(information.st_mode);
}

enum status file_stat(const char *path, int64_t *size_bytes, int64_t *modified_ns) {
  struct stat information;
  if (stat(path, &information) != 0)
    return error_set(STATUS_INPUT, "cannot look at %s: %s", path, strerror(errno));
  *size_bytes = information.st_size;
  *modified_ns = (int64_t)information.st_mtim.tv_sec * 1000000000 + information.st_mtim.tv_nsec;
  return STATUS_OK;
}

static enum status map_open_file(int file, const char *path, struct file_map *map) {
  struct stat information;
  if (fstat(file, &information) != 0)
    return error_set(STATUS_INPUT, "cannot look at %s: %s", path, strerror(errno));
  if (!S_ISREG(information.st_mode))
    return error_set(STATUS_INPUT, "%s is not a regular file", path);
  map->size = (size_t)information.st_size;
  map->data = (const uint8_t *)"";
  if (map->size == 0)
    return STATUS_OK;
  void *address = mmap(NULL, map->size, PROT_READ, MAP_SHARED, file, 0);
  if (address == MAP_FAILED)
    return error_set(STATUS_INPUT, "cannot map %s: %s", path, strerror(errno));
  map->data = address;
  return STATUS_OK;
}

enum status file_map(const char *path, struct file_map *map) {
  *map = (struct file_map){0};
  int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe is refused, not waited for */
  if (file < 0)
    return error_set(STATUS_INPUT, "cannot open %s: %s", path, strerror(errno));
  enum status status = map_open_file(file, path, map);
  close(file);
  if (status != STATUS_OK)
    *map = (struct file_map){0};
  return status;
}

void file_unmap(struct file_map *map) {
  if (map->size > 0)
    munmap((void *)map->data, map->size);
  *map = (struct file_map){0};
}

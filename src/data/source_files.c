#include "data/source_files.h"
#include "base/memory.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum { OPEN_LIMIT = 256 }; /* well under the usual 1024 descriptors of a process */

struct open_file {
  int descriptor; /* -1: closed */
  int users;      /* reads in progress; such a file stays open */
};
struct source_files {
  char *const *paths;
  int count, open_count, hand; /* hand: where the search for a file to close goes on */
  struct open_file *files;
  pthread_mutex_t lock;
};

struct source_files *source_files_new(char *const *paths, int count) {
  struct source_files *files = memory_allocate(sizeof *files, "open shards");
  files->paths = paths;
  files->count = count;
  files->files = memory_allocate((size_t)(count > 0 ? count : 1) * sizeof files->files[0], "open shards");
  for (int i = 0; i < count; i++)
    files->files[i].descriptor = -1;
  pthread_mutex_init(&files->lock, NULL);
  return files;
}

void source_files_release(struct source_files *files) {
  if (!files)
    return;
  for (int i = 0; i < files->count; i++)
    if (files->files[i].descriptor >= 0)
      close(files->files[i].descriptor);
  pthread_mutex_destroy(&files->lock);
  memory_release(files->files);
  memory_release(files);
}

static void close_one(struct source_files *files) {
  for (int tried = 0; tried < files->count; tried++) {
    struct open_file *file = &files->files[files->hand];
    files->hand = (files->hand + 1) % files->count;
    if (file->descriptor >= 0 && file->users == 0) {
      close(file->descriptor);
      file->descriptor = -1;
      files->open_count--;
      return;
    }
  }
}

/* Takes a descriptor for use, -1 with errno when it cannot be opened. */
static int acquire(struct source_files *files, int number) {
  struct open_file *file = &files->files[number];
  pthread_mutex_lock(&files->lock);
  if (file->descriptor < 0) {
    if (files->open_count >= OPEN_LIMIT)
      close_one(files);
    file->descriptor = open(files->paths[number], O_RDONLY | O_CLOEXEC);
    files->open_count += file->descriptor >= 0;
  }
  int descriptor = file->descriptor;
  file->users += descriptor >= 0;
  pthread_mutex_unlock(&files->lock);
  return descriptor;
}

enum status source_files_read(struct source_files *files, int number, int64_t offset, void *to, size_t bytes) {
  int descriptor = acquire(files, number);
  if (descriptor < 0)
    return error_set(STATUS_INPUT, "cannot open %s: %s", files->paths[number], strerror(errno));
  size_t done = 0;
  enum status status = STATUS_OK;
  while (status == STATUS_OK && done < bytes) {
    ssize_t got = pread(descriptor, (char *)to + done, bytes - done, offset + (int64_t)done);
    if (got > 0)
      done += (size_t)got;
    else if (got == 0)
      status = error_set(STATUS_INPUT, "%s is shorter than when it was indexed", files->paths[number]);
    else if (errno != EINTR)
      status = error_set(STATUS_INPUT, "cannot read %s: %s", files->paths[number], strerror(errno));
  }
  pthread_mutex_lock(&files->lock);
  files->files[number].users--;
  pthread_mutex_unlock(&files->lock);
  return status;
}

#define _GNU_SOURCE
#include "fuzz.h"
#include "base/error.h"
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct fuzz_file fuzz_file_new(const void *data, size_t size) {
  struct fuzz_file file = {.descriptor = memfd_create("fuzz", MFD_CLOEXEC)};
  if (file.descriptor < 0 || write(file.descriptor, data, size) != (ssize_t)size)
    fatal("no file in memory");
  snprintf(file.path, sizeof file.path, "/proc/self/fd/%d", file.descriptor);
  return file;
}

void fuzz_file_release(struct fuzz_file *file) {
  close(file->descriptor);
}

void fuzz_require(int condition, const char *what) {
  if (!condition)
    fatal("not so: %s", what);
}

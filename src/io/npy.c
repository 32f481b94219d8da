#include "io/npy.h"
#include "base/file.h"
#include "base/memory.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Magic, version, length of the rest, and a Python literal; in all a multiple of 64 bytes, ending in a newline. */
static void make_header(int64_t rows, int64_t columns, struct text *header) {
  char literal[128];
  int length = snprintf(literal, sizeof literal, "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %lld), }",
                        (long long)rows, (long long)columns);
  const size_t whole = (10 + (size_t)length + 1 + 63) / 64 * 64;
  text_append(header, "\x93NUMPY\x01", 7);
  text_append(header, "\0", 1);
  const char size[2] = {(char)((whole - 10) & 255), (char)((whole - 10) >> 8)};
  text_append(header, size, 2);
  text_append_string(header, literal);
  while (header->length < whole - 1)
    text_append_string(header, " ");
  text_append_string(header, "\n");
}

static enum status fill(FILE *file, const char *path, int64_t rows, int64_t columns, const float *values) {
  struct text header = {0};
  const size_t count = (size_t)rows * (size_t)columns;
  make_header(rows, columns, &header);
  bool good = fwrite(header.data, 1, header.length, file) == header.length &&
              fwrite(values, sizeof *values, count, file) == count;
  good &= fclose(file) == 0;
  text_release(&header);
  return good ? STATUS_OK : error_set(STATUS_SYSTEM, "cannot write %s: %s", path, strerror(errno));
}

enum status npy_write(const char *path, int64_t rows, int64_t columns, const float *values) {
  char *temporary = text_format("%s.%ld.tmp", path, (long)getpid());
  FILE *file = fopen(temporary, "wb");
  enum status status = file ? fill(file, temporary, rows, columns, values)
                            : error_set(STATUS_SYSTEM, "cannot make %s: %s", temporary, strerror(errno));
  if (status == STATUS_OK)
    status = file_publish(temporary, path);
  if (status != STATUS_OK)
    unlink(temporary);
  memory_release(temporary);
  return status;
}

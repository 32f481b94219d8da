#include "train/teacher_cache.h"
#include "base/checksum.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "comm/comm.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { HEADER_BYTES = 4096 };

struct teacher_cache {
  int file;
  int64_t width;
  size_t record_bytes;
  char *path;
  uint8_t *record;
};

/* Rank 0 makes the file and its header before the others open it. */
static enum status prepare(const char *path, const char header[HEADER_BYTES]) {
  if (!file_exists(path))
    return file_write_atomic(path, header, HEADER_BYTES);
  int file = open(path, O_RDONLY);
  char old[HEADER_BYTES] = {0};
  ssize_t got = file < 0 ? -1 : pread(file, old, HEADER_BYTES, 0);
  if (file >= 0)
    close(file);
  if (got != HEADER_BYTES || memcmp(old, header, HEADER_BYTES) != 0)
    return error_set(STATUS_INPUT,
                     "teacher.cache %s holds features of other data, another transform, teacher or precision: name "
                     "another file or remove it",
                     path);
  return STATUS_OK;
}

enum status teacher_cache_open(const char *path, const char *key, int64_t count, int64_t width,
                               struct teacher_cache **out) {
  char header[HEADER_BYTES] = {0};
  char *text =
      text_format("memclip teacher features 1\ncount %lld\nwidth %lld\n%s\n", (long long)count, (long long)width, key);
  const size_t length = strlen(text);
  memcpy(header, text, length < HEADER_BYTES ? length : HEADER_BYTES);
  memory_release(text);
  TRY(comm_agree(comm_rank() == 0 ? prepare(path, header) : STATUS_OK));
  int file = open(path, O_RDWR | O_CLOEXEC);
  TRY(comm_agree(file >= 0 ? STATUS_OK
                           : error_set(STATUS_SYSTEM, "cannot open teacher.cache %s: %s", path, strerror(errno))));
  struct teacher_cache *cache = memory_allocate(sizeof *cache, "teacher cache");
  *cache = (struct teacher_cache){.file = file,
                                  .width = width,
                                  .record_bytes = (size_t)width * sizeof(float) + sizeof(uint32_t),
                                  .path = memory_copy_string(path, "teacher cache")};
  cache->record = memory_allocate(cache->record_bytes, "teacher cache record");
  *out = cache;
  return STATUS_OK;
}

void teacher_cache_close(struct teacher_cache *cache) {
  if (!cache)
    return;
  close(cache->file);
  memory_release(cache->path);
  memory_release(cache->record);
  memory_release(cache);
}

static off_t place(const struct teacher_cache *cache, int64_t sample) {
  return HEADER_BYTES + (off_t)sample * (off_t)cache->record_bytes;
}

bool teacher_cache_read(struct teacher_cache *cache, int64_t sample, float *features) {
  const size_t bytes = (size_t)cache->width * sizeof *features;
  uint32_t crc;
  if (pread(cache->file, cache->record, cache->record_bytes, place(cache, sample)) != (ssize_t)cache->record_bytes)
    return false;
  memcpy(&crc, cache->record + bytes, sizeof crc);
  if (crc == 0 || crc != checksum_crc32c(1, cache->record, bytes))
    return false;
  memcpy(features, cache->record, bytes);
  return true;
}

enum status teacher_cache_write(struct teacher_cache *cache, int64_t sample, const float *features) {
  const size_t bytes = (size_t)cache->width * sizeof *features;
  memcpy(cache->record, features, bytes);
  uint32_t crc = checksum_crc32c(1, features, bytes); /* started from 1: a hole of zeros is never a record */
  memcpy(cache->record + bytes, &crc, sizeof crc);
  if (pwrite(cache->file, cache->record, cache->record_bytes, place(cache, sample)) != (ssize_t)cache->record_bytes)
    return error_set(STATUS_SYSTEM, "cannot write teacher.cache %s: %s", cache->path, strerror(errno));
  return STATUS_OK;
}

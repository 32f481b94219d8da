/* Copies of the shards on the node's own disk. The ranks of a node share the copying; a copy of the right size and time
 * is taken as it is, so a restart on the same node copies nothing. */
#include "base/checksum.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "data/source_private.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { COPY_BYTES = 1 << 20 };

/* Shards of different folders may have one name. */
static char *staged_path(const char *directory, const char *path) {
  char *name = text_format("%08" PRIx32 "-%s", checksum_crc32c(0, path, strlen(path)), text_base_name(path));
  char *staged = text_join_path(directory, name);
  memory_release(name);
  return staged;
}

static bool is_staged(const char *path, const char *staged) {
  struct stat there, here;
  return stat(path, &there) == 0 && stat(staged, &here) == 0 && there.st_size == here.st_size &&
         there.st_mtim.tv_sec == here.st_mtim.tv_sec;
}

static enum status write_bytes(int to, const char *block, ssize_t count, const char *staged) {
  for (ssize_t done = 0; done < count;) {
    const ssize_t put = write(to, block + done, (size_t)(count - done));
    if (put < 0 && errno != EINTR)
      return error_set(STATUS_SYSTEM, "data.stage_to: cannot write %s: %s", staged, strerror(errno));
    if (put > 0)
      done += put;
  }
  return STATUS_OK;
}

static enum status copy_bytes(int from, int to, const char *path, const char *staged) {
  char *block = memory_allocate(COPY_BYTES, "stage");
  enum status status = STATUS_OK;
  for (ssize_t got; status == STATUS_OK && (got = read(from, block, COPY_BYTES)) != 0;)
    if (got > 0)
      status = write_bytes(to, block, got, staged);
    else if (errno != EINTR)
      status = error_set(STATUS_INPUT, "cannot read %s: %s", path, strerror(errno));
  memory_release(block);
  return status;
}

/* Written beside and renamed, with the time of the original. Nodes and jobs may share the directory, so no two write to
 * one file. */
static enum status copy(const char *path, const char *staged) {
  struct stat there;
  char *part = text_format("%s.part.%s.%ld", staged, comm_host(), (long)getpid());
  const int from = open(path, O_RDONLY | O_CLOEXEC), to = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  enum status status = STATUS_OK;
  if (from < 0 || fstat(from, &there) != 0)
    status = error_set(STATUS_INPUT, "cannot open %s: %s", path, strerror(errno));
  else if (to < 0)
    status = error_set(STATUS_SYSTEM, "data.stage_to: cannot write %s: %s", part, strerror(errno));
  else
    status = copy_bytes(from, to, path, part);
  if (status == STATUS_OK && futimens(to, (const struct timespec[]){there.st_atim, there.st_mtim}) != 0)
    status = error_set(STATUS_SYSTEM, "data.stage_to: cannot date %s: %s", part, strerror(errno));
  if (to >= 0 && close(to) != 0 && status == STATUS_OK)
    status = error_set(STATUS_SYSTEM, "data.stage_to: cannot write %s: %s", part, strerror(errno));
  if (from >= 0)
    close(from);
  if (status == STATUS_OK)
    status = file_publish(part, staged);
  if (status != STATUS_OK)
    unlink(part);
  memory_release(part);
  return status;
}

static enum status check_room(const struct source *source, const char *directory) {
  struct statvfs disk;
  int64_t wanted = 0;
  for (int i = 0; i < source->path_count; i++)
    wanted += is_staged(source->paths[i], source->staged[i]) ? 0 : source->index[i].tar_bytes;
  if (statvfs(directory, &disk) != 0)
    return error_set(STATUS_SYSTEM, "data.stage_to: cannot look at %s: %s", directory, strerror(errno));
  const double room = (double)disk.f_bavail * (double)disk.f_frsize;
  if ((double)wanted <= room)
    return STATUS_OK;
  return error_set(STATUS_INPUT,
                   "data.stage_to: %.1f GB of shards do not fit into %s, which has %.1f GB left; name a larger disk or "
                   "leave data.stage_to empty",
                   (double)wanted * 1e-9, directory, room * 1e-9);
}

static enum status copy_share(struct source *source) {
  for (int i = comm_local_rank(); i < source->path_count; i += comm_local_size())
    if (!is_staged(source->paths[i], source->staged[i]))
      TRY(copy(source->paths[i], source->staged[i]));
  return STATUS_OK;
}

enum status source_stage(struct source *source, const char *directory) {
  source->staged = memory_allocate((size_t)source->path_count * sizeof source->staged[0], "stage");
  for (int i = 0; i < source->path_count; i++)
    source->staged[i] = staged_path(directory, source->paths[i]);
  enum status status = file_make_directories(directory);
  if (status == STATUS_OK)
    status = check_room(source, directory);
  TRY(comm_agree(status)); /* all have looked before anybody writes */
  return comm_agree(copy_share(source));
}

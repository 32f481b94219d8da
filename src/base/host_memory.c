#include "base/host_memory.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_CHARACTERS = 4096 };
struct limit_files {
  const char *root, *limit, *used, *cache; /* cache: the line of memory.stat that counts what can be dropped */
};
static const struct limit_files version_1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                                             "total_inactive_file"},
                                version_2 = {"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"};

/* The number behind `key` at the beginning of a line of the file, or of the whole file ("": its first number). */
static bool read_number(const char *path, const char *key, size_t *number) {
  char line[512];
  bool found = false;
  FILE *file = fopen(path, "r");
  while (file && !found && fgets(line, sizeof line, file)) {
    const size_t length = strlen(key);
    char *end;
    if (strncmp(line, key, length) != 0 || (length && line[length] != ' ' && line[length] != ':'))
      continue;
    const char *from = line + length + (line[length] == ':');
    *number = strtoull(from, &end, 10);
    found = end != from; /* "max" is none */
  }
  if (file)
    fclose(file);
  return found;
}

static bool read_limit_file(const struct limit_files *files, const char *group, const char *name, const char *key,
                            size_t *number) {
  char path[PATH_CHARACTERS];
  return snprintf(path, sizeof path, "%s%s/%s", files->root, group, name) < (int)sizeof path &&
         read_number(path, key, number);
}

/* The group's limit and that of every group around it. */
static void apply_limits(const struct limit_files *files, char *group, size_t *left, size_t *total) {
  for (;;) {
    size_t limit, used = 0, cache = 0;
    if (read_limit_file(files, group, files->limit, "", &limit) && limit < *total) {
      read_limit_file(files, group, files->used, "", &used);
      read_limit_file(files, group, "memory.stat", files->cache, &cache);
      used = used > cache ? used - cache : 0;
      *total = limit;
      *left = limit < used ? 0 : limit - used < *left ? limit - used : *left;
    }
    char *slash = strrchr(group, '/');
    if (!slash)
      return;
    *slash = '\0';
  }
}

size_t host_memory_free(size_t *total) {
  size_t left = SIZE_MAX, kib;
  char line[PATH_CHARACTERS];
  *total = SIZE_MAX;
  if (read_number("/proc/meminfo", "MemTotal", &kib))
    *total = kib << 10;
  if (read_number("/proc/meminfo", "MemAvailable", &kib))
    left = kib << 10;
  FILE *groups = fopen("/proc/self/cgroup", "r"); /* lines "number:controllers:path" */
  while (groups && fgets(line, sizeof line, groups)) {
    line[strcspn(line, "\n")] = '\0';
    char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path)
      continue;
    *path++ = '\0';
    if (strcmp(controllers, ":") == 0)
      apply_limits(&version_2, path, &left, total);
    else if (strcmp(controllers, ":memory") == 0)
      apply_limits(&version_1, path, &left, total);
  }
  if (groups)
    fclose(groups);
  return left;
}

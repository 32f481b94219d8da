#include "io/checkpoint_directory.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/checkpoint.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME_BYTES = 64 };

static void name_of_step(int64_t step, char name[NAME_BYTES]) {
  snprintf(name, NAME_BYTES, "step_%07lld.h5", (long long)step);
}

char *checkpoint_file_name(int64_t step) {
  char name[NAME_BYTES];
  name_of_step(step, name);
  return memory_copy_string(name, "checkpoint name");
}

char *checkpoint_directory_path(const char *directory, int64_t step) {
  char name[NAME_BYTES];
  name_of_step(step, name);
  return text_join_path(directory, name);
}

/* "step_0001200.h5" -> 1200; false for every other name. */
static bool parse_step(const char *name, int64_t *step) {
  char again[NAME_BYTES];
  if (!text_starts_with(name, "step_"))
    return false;
  *step = strtoll(name + strlen("step_"), NULL, 10);
  name_of_step(*step, again);
  return *step >= 0 && strcmp(name, again) == 0;
}

static int compare_steps(const void *a, const void *b) {
  const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return x < y ? 1 : x > y ? -1 : 0;
}

/* Newest first. A directory that does not exist has none. */
static enum status list_steps(const char *directory, int64_t **steps, int64_t *count) {
  int64_t capacity = 0, step;
  *steps = NULL;
  *count = 0;
  DIR *open = opendir(directory);
  if (open == NULL && errno == ENOENT)
    return STATUS_OK;
  if (open == NULL)
    return error_set(STATUS_INPUT, "cannot list the checkpoints in %s: %s", directory, strerror(errno));
  for (struct dirent *entry; (entry = readdir(open)) != NULL;) {
    if (!parse_step(entry->d_name, &step))
      continue;
    if (*count == capacity) {
      capacity = 2 * capacity + 16;
      *steps = memory_resize(*steps, (size_t)capacity * sizeof **steps, "checkpoint steps");
    }
    (*steps)[(*count)++] = step;
  }
  closedir(open);
  if (*count > 0)
    qsort(*steps, (size_t)*count, sizeof **steps, compare_steps);
  return STATUS_OK;
}

enum status checkpoint_count(const char *directory, int64_t *count) {
  int64_t *steps;
  TRY(list_steps(directory, &steps, count));
  memory_release(steps);
  return STATUS_OK;
}

bool checkpoint_directory_link(const char *path, const char *also) {
  char *temporary = text_format("%s.tmp.%ld", also, (long)getpid());
  unlink(temporary);
  const bool linked = link(path, temporary) == 0 && rename(temporary, also) == 0;
  unlink(temporary); /* rename leaves it when both names were of one file already */
  memory_release(temporary);
  return linked;
}

void checkpoint_directory_point_latest(const char *directory, int64_t step) {
  char *latest = text_join_path(directory, "latest.h5"), *temporary = text_format("%s.tmp.%ld", latest, (long)getpid());
  char target[NAME_BYTES];
  name_of_step(step, target);
  unlink(temporary);
  if (symlink(target, temporary) != 0 || rename(temporary, latest) != 0)
    unlink(temporary);
  memory_release(temporary);
  memory_release(latest);
}

enum status checkpoint_directory_prune(const char *directory, int64_t newest, int keep) {
  int64_t *steps, count, kept = 0;
  TRY(list_steps(directory, &steps, &count));
  enum status status = STATUS_OK;
  for (int64_t i = 0; i < count && keep > 0; i++) {
    if (steps[i] > newest || kept++ < keep)
      continue;
    char *path = checkpoint_directory_path(directory, steps[i]);
    if (unlink(path) != 0 && errno != ENOENT)
      status = error_set(STATUS_SYSTEM, "cannot remove the old checkpoint %s: %s", path, strerror(errno));
    memory_release(path);
  }
  memory_release(steps);
  return status;
}

void checkpoint_directory_clear_temporaries(const char *directory) {
  static const char *const patterns[] = {"step_*.h5.tmp.*", "best.h5.tmp.*", "latest.h5.tmp.*"};
  DIR *open = opendir(directory);
  if (open == NULL)
    return;
  for (struct dirent *entry; (entry = readdir(open)) != NULL;) {
    bool matches = false;
    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++)
      matches = matches || text_match(patterns[p], entry->d_name);
    if (!matches)
      continue;
    char *path = text_join_path(directory, entry->d_name);
    unlink(path);
    memory_release(path);
  }
  closedir(open);
}

static enum status verify_file(const char *path) {
  struct store *store;
  TRY(store_open(path, &store));
  const enum status status = store_verify(store);
  store_close(store);
  return status;
}

enum status checkpoint_find_newest(const char *directory, int64_t before, char **path, int64_t *step,
                                   void (*warn)(const char *message)) {
  int64_t *steps, count;
  *path = NULL;
  *step = -1;
  TRY(list_steps(directory, &steps, &count));
  for (int64_t i = 0; i < count && *path == NULL; i++) {
    if (steps[i] >= before)
      continue;
    char *candidate = checkpoint_directory_path(directory, steps[i]);
    if (verify_file(candidate) == STATUS_OK) {
      *path = candidate;
      *step = steps[i];
    } else {
      char *message = text_format("the checkpoint %s is damaged and passed over: %s", candidate, error_message());
      if (warn != NULL)
        warn(message);
      memory_release(message);
      memory_release(candidate);
    }
  }
  memory_release(steps);
  return STATUS_OK;
}

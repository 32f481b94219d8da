/* Runs a fuzz target without a fuzzer: the files of the folders that are named, then a fixed number of mutations of
 * them, the same at every run. An input that kills the program is left as crash-TARGET in the working directory.
 *
 *     fuzz_TARGET MUTATIONS FOLDER... */
#define _GNU_SOURCE
#include "fuzz.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEEDS_MAX = 256, SECONDS_MAX = 60, CHANGES_MAX = 8, STRETCH_MAX = 64 };

static struct text seeds[SEEDS_MAX];
static int seed_count;
static struct text current; /* the input at work */
static char *crash_path;

static void keep_input(int number) {
  const int file = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (file >= 0 && write(file, current.data, current.length) == (ssize_t)current.length)
    close(file);
  signal(number, SIG_DFL);
  raise(number);
}

/* A target may keep what it made at its first run. */
static void run_current(void) {
  static bool started;
  const size_t before = memory_report_live(false);
  alarm(SECONDS_MAX);
  LLVMFuzzerTestOneInput((const uint8_t *)current.data, current.length);
  alarm(0);
  fuzz_require(!started || memory_report_live(false) <= before, "a run leaves no memory behind");
  started = true;
}

static int is_seed(const struct dirent *entry) {
  return entry->d_name[0] != '.';
}

/* In the order of their names, so that every run is the same. */
static void add_folder(const char *folder) {
  struct dirent **entries;
  const int count = scandir(folder, &entries, is_seed, alphasort);
  for (int i = 0; i < count; i++) {
    char *path = text_join_path(folder, entries[i]->d_name);
    if (seed_count < SEEDS_MAX && file_read(path, &seeds[seed_count]) == STATUS_OK)
      seed_count++;
    memory_release(path);
    free(entries[i]);
  }
  if (count >= 0)
    free(entries);
}

static uint64_t below(const struct random_key *key, uint64_t *draw, uint64_t bound) {
  return random_below(key, (*draw)++, bound);
}

/* One change: a bit, a byte, an interesting number, a stretch taken out, doubled or brought in, or the end cut off. */
static void change(const struct random_key *key, uint64_t *draw) {
  static const uint8_t numbers[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0x20, '0', '9', '<', '&'};
  if (current.length == 0)
    text_append(&current, "?", 1);
  const size_t at = below(key, draw, current.length), left = current.length - at,
               most = left < STRETCH_MAX ? left : STRETCH_MAX, length = 1 + below(key, draw, most);
  const struct text *other = &seeds[below(key, draw, (uint64_t)seed_count)];
  struct text tail = {0};
  text_append(&tail, current.data + at, left);
  switch (below(key, draw, 7)) {
  case 0:
    current.data[at] = (char)(current.data[at] ^ 1 << below(key, draw, 8));
    break;
  case 1:
    current.data[at] = (char)below(key, draw, 256);
    break;
  case 2:
    memset(current.data + at, numbers[below(key, draw, sizeof numbers)], length < 8 ? length : 8);
    break;
  case 3:
    text_resize(&current, at);
    text_append(&current, tail.data + length, left - length);
    break;
  case 4:
    text_append(&current, tail.data, length);
    memmove(current.data + at + length, tail.data, left);
    break;
  case 5:
    if (other->length > 0)
      memcpy(current.data + at, other->data, other->length < length ? other->length : length);
    break;
  default:
    text_resize(&current, at);
  }
  text_release(&tail);
}

static void mutate(uint64_t number) {
  const struct random_key key = {.seed = 1, .index = number, .use = RANDOM_TEST};
  uint64_t draw = 0;
  const struct text *seed = &seeds[below(&key, &draw, (uint64_t)seed_count)];
  text_clear(&current);
  text_append(&current, seed->length > 0 ? seed->data : "", seed->length);
  for (uint64_t i = 1 + below(&key, &draw, CHANGES_MAX); i > 0; i--)
    change(&key, &draw);
}

int main(int argc, char **argv) {
  const long mutations = argc > 2 ? strtol(argv[1], NULL, 10) : -1;
  if (mutations < 0) {
    fprintf(stderr, "%s MUTATIONS FOLDER...\n", argv[0]);
    return 2;
  }
  crash_path = text_format("crash-%s", text_base_name(argv[0]));
  const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM};
  for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
    signal(signals[i], keep_input);
  for (int i = 2; i < argc; i++)
    add_folder(argv[i]);
  for (int i = 0; i < seed_count; i++) {
    text_clear(&current);
    text_append(&current, seeds[i].length > 0 ? seeds[i].data : "", seeds[i].length);
    run_current();
  }
  for (long n = 0; seed_count > 0 && n < mutations; n++) {
    mutate((uint64_t)n);
    run_current();
  }
  printf("%s: %d seeds, %ld mutations\n", text_base_name(argv[0]), seed_count, seed_count > 0 ? mutations : 0);
  return seed_count > 0 ? 0 : 1;
}

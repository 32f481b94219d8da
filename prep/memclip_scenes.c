/* memclip-scenes: draws the synthetic world and writes it as WebDataset shards. See doc/scenes.md. */
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/option.h"
#include "base/thread.h"
#include "config.h"
#include "scene_sheet.h"
#include "scene_summary.h"
#include <stdint.h>
#include <argp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

const char *argp_program_version = "memclip-scenes " PACKAGE_VERSION;
enum {
  OPTION_OUT = 'o',
  OPTION_SAMPLES = 'n',
  OPTION_SEED = 's',
  OPTION_THREADS = 'j',
  OPTION_SIZE = 256,
  OPTION_SPLITS,
  OPTION_PER_SHARD,
  OPTION_CLASS_MAPS,
  OPTION_SHEET,
  OPTION_QUALITY,
  OPTION_FORMAT
};
enum { SHEET_COLUMNS = 10, SHEET_ROWS = 6, PIXELS_MAX = 4096 };

static const struct argp_option option_table[] = {
    {"out", OPTION_OUT, "DIR", 0, "Directory for shards and lists (made if absent)", 0},
    {"samples", OPTION_SAMPLES, "N", 0, "Training scenes; val gets N/10 (at most 1000), pairs N/20 (at most 500)", 0},
    {"splits", OPTION_SPLITS, "LIST", 0,
     "Scenes per split, as in train:24000,val:1000,test:1000,pairs:500; in place of --samples", 0},
    {"seed", OPTION_SEED, "S", 0, "Number that fixes every scene (default 0)", 0},
    {"size", OPTION_SIZE, "PIXELS", 0, "Width and height of the pictures (default 96)", 0},
    {"samples-per-shard", OPTION_PER_SHARD, "N", 0, "Scenes per shard (default 1000)", 0},
    {"format", OPTION_FORMAT, "tar|csv", 0,
     "WebDataset shards (default), or loose files and SPLIT.csv (filepath, title)", 0},
    {"quality", OPTION_QUALITY, "Q", 0, "JPEG quality, 1 to 100 (default 92)", 0},
    {"class-maps", OPTION_CLASS_MAPS, NULL, 0, "Add KEY.class.png: the class of every pixel", 0},
    {"contact-sheet", OPTION_SHEET, "FILE", 0, "Write the first 60 training pictures as one PNG; needs no --out", 0},
    {"threads", OPTION_THREADS, "N", 0,
     "Drawing threads (default: the cores at hand); the output does not depend on it", 0},
    {0},
};

struct command {
  struct scene_options options;
  struct scene_counts counts;
  int64_t samples;
  const char *splits, *sheet;
  int threads;
};

/* "train:24000,val:1000" */
static void parse_splits(const char *list, struct scene_counts *counts, struct argp_state *state) {
  char *copy = memory_copy_string(list, "splits"), *rest = copy;
  for (char *item; (item = strsep(&rest, ",")) != NULL;) {
    char *colon = strchr(item, ':');
    int split = SPLIT_COUNT;
    if (colon != NULL) {
      *colon = '\0';
      for (split = 0; split < SPLIT_COUNT && strcmp(item, scene_split_names[split]) != 0; split++)
        continue;
    }
    if (split == SPLIT_COUNT)
      argp_error(state, "--splits: '%s' is not of the form train:N, val:N, test:N or pairs:N", item);
    else
      counts->samples[split] = option_number(colon + 1, "splits", 0, INT32_MAX, state);
  }
  memory_release(copy);
}

static enum scene_format parse_format(const char *name, struct argp_state *state) {
  for (int format = 0; format < FORMAT_COUNT; format++)
    if (strcmp(name, scene_format_names[format]) == 0)
      return (enum scene_format)format;
  argp_error(state, "--format: '%s' is neither tar nor csv", name);
  return FORMAT_TAR;
}

static int64_t at_most(int64_t value, int64_t bound) {
  return value < bound ? value : bound;
}

static void finish_parse(struct command *command, struct argp_state *state) {
  if (command->options.directory == NULL && command->sheet == NULL)
    argp_error(state, "--out DIR is missing (or --contact-sheet FILE)");
  if (command->splits != NULL && command->samples > 0)
    argp_error(state, "give --samples or --splits, not both");
  if (command->splits != NULL)
    parse_splits(command->splits, &command->counts, state);
  else {
    command->counts.samples[SPLIT_TRAIN] = command->samples;
    command->counts.samples[SPLIT_VAL] = at_most(command->samples / 10, 1000);
    command->counts.samples[SPLIT_PAIRS] = at_most(command->samples / 20, 500);
  }
  int64_t total = 0;
  for (int split = 0; split < SPLIT_COUNT; split++)
    total += command->counts.samples[split];
  if (command->options.directory != NULL && total == 0)
    argp_error(state, "say how many scenes: --samples N or --splits train:N,val:N");
}

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct command *command = state->input;
  struct scene_options *options = &command->options;
  switch (key) {
  case OPTION_OUT:
    options->directory = argument;
    return 0;
  case OPTION_SAMPLES:
    command->samples = option_number(argument, "samples", 1, INT32_MAX, state);
    return 0;
  case OPTION_SPLITS:
    command->splits = argument;
    return 0;
  case OPTION_SEED:
    options->seed = (uint64_t)option_number(argument, "seed", 0, INT64_MAX, state);
    return 0;
  case OPTION_SIZE:
    options->pixels = (int)option_number(argument, "size", 16, PIXELS_MAX, state);
    return 0;
  case OPTION_PER_SHARD:
    options->samples_per_shard = option_number(argument, "samples-per-shard", 1, INT32_MAX, state);
    return 0;
  case OPTION_QUALITY:
    options->quality = (int)option_number(argument, "quality", 1, 100, state);
    return 0;
  case OPTION_FORMAT:
    options->format = parse_format(argument, state);
    return 0;
  case OPTION_CLASS_MAPS:
    options->class_maps = true;
    return 0;
  case OPTION_SHEET:
    command->sheet = argument;
    return 0;
  case OPTION_THREADS:
    command->threads = (int)option_number(argument, "threads", 1, 1024, state);
    return 0;
  case ARGP_KEY_ARG:
    argp_error(state, "unexpected argument '%s'", argument);
    return 0;
  case ARGP_KEY_END:
    finish_parse(command, state);
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

/* Shards are the work items; each is a pure function of its number, so threads take them in any order. */
struct work {
  const struct scene_options *options;
  struct scene_shard *shards;
  int count;
  atomic_int next;
  pthread_mutex_t lock; /* guards status and message */
  enum status status;
  char *message;
};

static void *run_worker(void *argument) {
  struct work *work = argument;
  for (int i; (i = atomic_fetch_add(&work->next, 1)) < work->count;) {
    enum status status = scene_shard_write(work->options, &work->shards[i]);
    if (status == STATUS_OK)
      continue;
    pthread_mutex_lock(&work->lock);
    if (work->status == STATUS_OK) {
      work->status = status;
      work->message = memory_copy_string(error_message(), "message");
    }
    pthread_mutex_unlock(&work->lock);
    atomic_store(&work->next, work->count);
  }
  return NULL;
}

static struct scene_shard *list_shards(const struct command *command, int *count) {
  int64_t per_shard = command->options.samples_per_shard;
  *count = 0;
  for (int split = 0; split < SPLIT_COUNT; split++)
    *count += (int)((command->counts.samples[split] + per_shard - 1) / per_shard);
  struct scene_shard *shards = memory_allocate((size_t)*count * sizeof shards[0] + 1, "scene shards");
  int next = 0;
  for (int split = 0; split < SPLIT_COUNT; split++)
    for (int64_t first = 0; first < command->counts.samples[split]; first += per_shard, next++) {
      int64_t left = command->counts.samples[split] - first;
      shards[next] = (struct scene_shard){.split = (enum scene_split)split,
                                          .index = first / per_shard,
                                          .first = first,
                                          .count = (int)at_most(per_shard, left)};
    }
  return shards;
}

static enum status write_shards(const struct command *command, struct scene_shard *shards, int count) {
  struct work work = {
      .options = &command->options, .shards = shards, .count = count, .lock = PTHREAD_MUTEX_INITIALIZER};
  int threads = (int)at_most(command->threads, count);
  pthread_t *handles = memory_allocate((size_t)threads * sizeof handles[0], "threads");
  for (int i = 0; i < threads; i++)
    thread_start(&handles[i], "scenes", run_worker, &work);
  for (int i = 0; i < threads; i++)
    pthread_join(handles[i], NULL);
  memory_release(handles);
  if (work.status != STATUS_OK)
    error_set(work.status, "%s", work.message);
  memory_release(work.message);
  return work.status;
}

static enum status write_world(const struct command *command) {
  TRY(file_make_directories(command->options.directory));
  int count;
  struct scene_shard *shards = list_shards(command, &count);
  enum status status = write_shards(command, shards, count);
  if (status == STATUS_OK)
    status = scene_summary_write(&command->options, &command->counts, shards, count);
  for (int i = 0; i < count; i++)
    text_release(&shards[i].negatives);
  memory_release(shards);
  return status;
}

int main(int argument_count, char **arguments) {
  static const struct argp argp = {
      option_table,
      parse,
      NULL,
      "Draws a world of coloured shapes on scenery, with short and long captions, and writes it as WebDataset shards: "
      "DIR/SPLIT-000000.tar, captions.txt, groups-SPLIT.jsonl, negatives-SPLIT.jsonl, world.json.",
      NULL,
      NULL,
      NULL};
  argp_err_exit_status = STATUS_USAGE;
  struct command command = {.options = {.pixels = 96, .quality = 92, .samples_per_shard = 1000},
                            .threads = thread_count_available()};
  argp_parse(&argp, argument_count, arguments, 0, NULL, &command);
  enum status status = STATUS_OK;
  if (command.sheet != NULL)
    status = scene_sheet_write(command.sheet, command.options.seed, SPLIT_TRAIN, SHEET_COLUMNS, SHEET_ROWS,
                               command.options.pixels);
  if (status == STATUS_OK && command.options.directory != NULL)
    status = write_world(&command);
  if (status != STATUS_OK)
    fprintf(stderr, "memclip-scenes: %s\n", error_message());
  return (int)status;
}

/* memclip-shards: csv, ShareGPT4V json, folders and tars to WebDataset shards. Every rank writes its share. */
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/option.h"
#include "base/text.h"
#include "base/thread.h"
#include "comm/comm.h"
#include "config.h"
#include "shard_job.h"
#include <stdint.h>
#include <argp.h>
#include <stdio.h>

const char *argp_program_version = "memclip-shards " PACKAGE_VERSION;
enum {
  OPTION_PER_SHARD = 256,
  OPTION_JOIN,
  OPTION_SPLIT,
  OPTION_ROOT,
  OPTION_STRIP,
  OPTION_EVERY_ROW,
  OPTION_SEPARATOR,
  OPTION_IMAGE_COLUMN,
  OPTION_CAPTION_COLUMN,
  OPTION_IMAGE,
  OPTION_CAPTION
};

static const struct argp_option option_table[] = {
    {"out", 'o', "DIR", 0, "Directory of the shards (made if absent)", 0},
    {"samples-per-shard", OPTION_PER_SHARD, "N", 0, "Samples of a shard (default 10000)", 0},
    {"join", OPTION_JOIN, "N", 0, "One shard from every N input tars, names kept", 0},
    {"split-first", OPTION_SPLIT, "N", 0, "The first N samples go to DIR/val, the others to DIR/train", 0},
    {"root", OPTION_ROOT, "DIR", 0, "Put before image paths that are not absolute", 0},
    {"strip-prefix", OPTION_STRIP, "TEXT", 0, "Taken from the beginning of image paths before --root is put there", 0},
    {"every-row", OPTION_EVERY_ROW, NULL, 0, "Keep all rows of an image path, not only the first", 0},
    {"csv-separator", OPTION_SEPARATOR, "C", 0, "Default: tab", 0},
    {"image-column", OPTION_IMAGE_COLUMN, "NAME", 0, "Default: filepath", 0},
    {"caption-column", OPTION_CAPTION_COLUMN, "NAME", 0, "Default: title", 0},
    {"image", OPTION_IMAGE, "SUFFIXES", 0, "Of tar members (default jpg;jpeg;png;webp)", 0},
    {"caption", OPTION_CAPTION, "SUFFIXES", 0, "Of tar members, or json:KEY (default txt)", 0},
    {"index-directory", 'd', "DIR", 0, "Where indices of input tars go when their folder cannot be written", 0},
    {"threads", 'j', "N", 0, "Shards written at a time by a rank (default: the cores at hand)", 0},
    {0},
};

struct command {
  struct input_options input;
  const char **paths;
  const char *out;
  int64_t per_shard, split_first;
  int join;
};

static void check_command(const struct command *command, struct argp_state *state) {
  if (!command->out)
    argp_error(state, "--out DIR is missing");
  if (command->join > 0 && command->split_first > 0)
    argp_error(state, "--join and --split-first exclude each other");
}

/* Options that only keep their text. */
static const char **text_option(struct command *command, int key) {
  struct source_options *source = &command->input.source;
  switch (key) {
  case 'o':
    return &command->out;
  case 'd':
    return &source->index_directory;
  case OPTION_ROOT:
    return &command->input.root;
  case OPTION_STRIP:
    return &command->input.strip_prefix;
  case OPTION_SEPARATOR:
    return &source->csv_separator;
  case OPTION_IMAGE_COLUMN:
    return &source->csv_image;
  case OPTION_CAPTION_COLUMN:
    return &source->csv_caption;
  case OPTION_IMAGE:
    return &source->image;
  case OPTION_CAPTION:
    return &source->caption;
  default:
    return NULL;
  }
}

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct command *command = state->input;
  const char **text = text_option(command, key);
  if (text) {
    *text = argument;
    return 0;
  }
  switch (key) {
  case OPTION_PER_SHARD:
    command->per_shard = option_number(argument, "samples-per-shard", 1, UINT32_MAX, state);
    return 0;
  case OPTION_JOIN:
    command->join = (int)option_number(argument, "join", 1, INT32_MAX, state);
    return 0;
  case OPTION_SPLIT:
    command->split_first = option_number(argument, "split-first", 1, INT64_MAX, state);
    return 0;
  case OPTION_EVERY_ROW:
    command->input.every_row = true;
    return 0;
  case 'j':
    command->input.source.threads = (int)option_number(argument, "threads", 1, 1024, state);
    return 0;
  case ARGP_KEY_ARG:
    command->paths[command->input.source.path_count++] = argument;
    return 0;
  case ARGP_KEY_NO_ARGS:
    argp_usage(state);
    return 0;
  case ARGP_KEY_END:
    check_command(command, state);
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

struct work {
  struct shard_input *input;
  const struct shard_plan *plan;
  const char *directory;
};

/* Rank r writes shards r, r + R, ... */
static enum status run_item(void *argument, int item) {
  const struct work *work = argument;
  return shard_job_run(work->input, &work->plan->jobs[comm_rank() + item * comm_size()], work->directory);
}

static enum status make_directories(const char *directory) {
  static const char *const folders[] = {"", "/val", "/train"};
  enum status status = STATUS_OK;
  for (int i = 0; i < 3 && status == STATUS_OK; i++) {
    char *path = text_format("%s%s", directory, folders[i]);
    status = file_make_directories(path);
    memory_release(path);
  }
  return status;
}

static void print_notes(const struct shard_input *input) {
  const char *notes;
  shard_input_left_out(input, &notes);
  for (size_t length; *notes != '\0'; notes += length + 1) {
    length = strcspn(notes, "\n");
    fprintf(stderr, "memclip-shards: %.*s\n", (int)length, notes);
  }
}

static enum status write_shards(const struct command *command, struct shard_input *input) {
  struct shard_plan plan;
  TRY(comm_agree(shard_plan_make(input, command->per_shard, command->split_first, command->join, &plan)));
  if (comm_rank() == 0) {
    print_notes(input);
    shard_input_check_stats(input);
  }
  enum status status = command->split_first > 0 ? make_directories(command->out) : file_make_directories(command->out);
  int share = (plan.count - comm_rank() + comm_size() - 1) / comm_size();
  struct work work = {.input = input, .plan = &plan, .directory = command->out};
  if (status == STATUS_OK)
    status = thread_for_each(command->input.source.threads, share, run_item, &work);
  status = comm_agree(status);
  if (status == STATUS_OK && comm_rank() == 0)
    status = shard_plan_summarise(input, &plan, command->out);
  shard_plan_release(&plan);
  return comm_agree(status);
}

int main(int argument_count, char **arguments) {
  static const struct argp argp = {
      option_table,
      parse,
      "INPUT...",
      "Writes WebDataset shards (KEY.jpg, KEY.txt; bytes are copied, never re-encoded) from a csv or tsv, a ShareGPT4V "
      "json, folders of images with .txt beside them, or tars. Shards that are finished are left as they are.",
      NULL,
      NULL,
      NULL};
  argp_err_exit_status = STATUS_USAGE;
  struct command command = {.per_shard = 10000,
                            .paths = memory_allocate((size_t)argument_count * sizeof(char *), "inputs")};
  command.input.source.threads = thread_count_available();
  argp_parse(&argp, argument_count, arguments, 0, NULL, &command);
  command.input.source.paths = command.paths;
  enum status status = comm_start(&argument_count, &arguments);
  if (status != STATUS_OK) {
    fprintf(stderr, "memclip-shards: %s\n", error_message());
    return (int)status;
  }
  struct shard_input *input = NULL;
  status = comm_agree(shard_input_open(&command.input, &input));
  if (status == STATUS_OK)
    status = write_shards(&command, input);
  if (status != STATUS_OK && comm_rank() == 0)
    fprintf(stderr, "memclip-shards: %s\n", error_message());
  if (input)
    shard_input_close(input);
  memory_release(command.paths);
  comm_stop();
  return (int)status;
}

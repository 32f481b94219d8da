/* memclip-index: makes or checks the index of shards and says what they hold. Ranks share the work. */
#include "base/error.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/thread.h"
#include "comm/comm.h"
#include "config.h"
#include "data/source.h"
#include <argp.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

const char *argp_program_version = "memclip-index " PACKAGE_VERSION;
enum { OPTION_IMAGE = 256, OPTION_CAPTION, OPTION_LIST };

static const struct argp_option option_table[] = {
    {"index-directory", 'd', "DIR", 0, "Where an index goes when the shard's folder cannot be written", 0},
    {"image", OPTION_IMAGE, "SUFFIXES", 0,
     "Suffixes of images, the first one present counts (default jpg;jpeg;png;webp)", 0},
    {"caption", OPTION_CAPTION, "SUFFIXES", 0, "Suffix of captions, or json:KEY (default txt)", 0},
    {"threads", 'j', "N", 0, "Shards read at a time (default: the cores at hand)", 0},
    {"list", OPTION_LIST, NULL, 0, "Print every shard with its samples", 0},
    {0},
};

struct command {
  struct source_options options;
  const char **patterns;
  bool list;
};

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct command *command = state->input;
  switch (key) {
  case 'd':
    command->options.index_directory = argument;
    return 0;
  case OPTION_IMAGE:
    command->options.image = argument;
    return 0;
  case OPTION_CAPTION:
    command->options.caption = argument;
    return 0;
  case 'j':
    command->options.threads = atoi(argument);
    if (command->options.threads < 1)
      argp_error(state, "--threads: '%s' is not a number from 1 on", argument);
    return 0;
  case OPTION_LIST:
    command->list = true;
    return 0;
  case ARGP_KEY_ARG:
    command->patterns[command->options.path_count++] = argument;
    return 0;
  case ARGP_KEY_NO_ARGS:
    argp_usage(state);
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

/* Collective: ranks made indices of different shards. */
static void print_source(const struct source *source, bool list) {
  char *const *paths;
  const char *const *reasons;
  int shards, built, sentences;
  const int64_t *bounds = source_shard_bounds(source, &paths, &shards, &built);
  int64_t indexed = built;
  comm_all_reduce(&indexed, 1, DTYPE_I64, COMM_SUM);
  if (comm_rank() != 0)
    return;
  for (int i = 0; list && i < shards; i++)
    printf("%s %" PRId64 "\n", paths[i], bounds[i + 1] - bounds[i]);
  int64_t skipped = source_skipped(source, &reasons, &sentences);
  for (int i = 0; i < sentences; i++)
    fprintf(stderr, "memclip-index: %s\n", reasons[i]);
  printf("shards %d\nindexed_now %" PRId64 "\nsamples %" PRId64 "\nleft_out %" PRId64 "\nfingerprint %016" PRIx64 "\n",
         shards, indexed, source_count(source), skipped, source_fingerprint(source));
}

int main(int argument_count, char **arguments) {
  static const struct argp argp = {option_table,
                                   parse,
                                   "SHARDS...",
                                   "Makes the index of tar shards (SHARD.tar.idx beside each) or checks the one that "
                                   "is there, and prints counts; under mpirun the ranks share the work. SHARDS are "
                                   "paths or brace lists such as 'shards/{000000..000125}.tar'.",
                                   NULL,
                                   NULL,
                                   NULL};
  argp_err_exit_status = STATUS_USAGE;
  struct command command = {.options = {.format = "webdataset", .threads = thread_count_available()},
                            .patterns = memory_allocate((size_t)argument_count * sizeof(char *), "patterns")};
  argp_parse(&argp, argument_count, arguments, 0, NULL, &command);
  command.options.paths = command.patterns;
  struct source *source = NULL;
  enum status status = comm_start(&argument_count, &arguments);
  if (status != STATUS_OK) {
    fprintf(stderr, "memclip-index: %s\n", error_message());
    return (int)status;
  }
  status = source_open(&command.options, &source);
  if (status == STATUS_OK)
    print_source(source, command.list);
  else if (comm_rank() == 0)
    fprintf(stderr, "memclip-index: %s\n", error_message());
  source_close(source);
  memory_release(command.patterns);
  comm_stop();
  return (int)status;
}

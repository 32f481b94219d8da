/* memclip-import: weights of open_clip, OpenAI, Hugging Face and the thesis into our HDF5 form. */
#include "base/clock.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/option.h"
#include "config.h"
#include "released.h"
#include "transfer_progress.h"
#include "weight_import.h"
#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *argp_program_version = "memclip-import " PACKAGE_VERSION;
enum { OPTION_KNN = 256, OPTION_SKIP, OPTION_KEY, OPTION_RELEASED };

static const struct argp_option option_table[] = {
    {"out", 'o', "WEIGHTS.h5", 0, "The file to write", 0},
    {"config", 'c', "NAME or FILE.json", 0,
     "The model's configuration: a built-in name (ViT-B-16, ViT-B-16-quickgelu, ...) or a JSON file in open_clip's or "
     "Hugging Face's form. Default: open_clip_config.json or config.json beside the weights, else what shapes say. "
     "Another image_size or context_length than the weights' resamples the positional tables",
     0},
    {"activation", 'a', "gelu or quickgelu", 0, "The activation, where no configuration says it", 0},
    {"knn", OPTION_KNN, "N", 0, "Slots that each head of a memory reads, where no configuration says it", 0},
    {"key", OPTION_KEY, "NAME", 0, "Of a training checkpoint, which tensors (default state_dict; state_dict_ema)", 0},
    {"skip", OPTION_SKIP, "PATTERN", 0, "Tensors without a place in the model that may be left out; may be repeated",
     0},
    {"quiet", 'q', NULL, 0, "Print the summary alone, not a line per tensor", 0},
    {"released", OPTION_RELEASED, NULL, 0, "Print which published weights have which activation, and stop", 0},
    {0},
};

struct command {
  struct import_request request;
  const char **skip;
  bool quiet;
};

static void print_released(void) {
  struct text table = {0};
  released_print(&table);
  fputs(table.data, stdout);
  exit(STATUS_OK);
}

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct command *command = state->input;
  switch (key) {
  case 'o':
    command->request.out = argument;
    return 0;
  case 'c':
    command->request.config.config = argument;
    return 0;
  case 'a':
    if (strcmp(argument, "gelu") != 0 && strcmp(argument, "quickgelu") != 0)
      argp_error(state, "--activation: '%s' is neither gelu nor quickgelu", argument);
    command->request.config.activation = argument;
    return 0;
  case 'q':
    command->quiet = true;
    return 0;
  case OPTION_KNN:
    command->request.config.knn = (int)option_number(argument, "knn", 1, 256, state);
    return 0;
  case OPTION_KEY:
    command->request.key = argument;
    return 0;
  case OPTION_SKIP:
    command->skip[command->request.skip_count++] = argument;
    return 0;
  case OPTION_RELEASED:
    print_released();
    return 0;
  case ARGP_KEY_ARG:
    if (command->request.source)
      argp_error(state, "one SOURCE at a time; '%s' is a second one", argument);
    command->request.source = argument;
    return 0;
  case ARGP_KEY_END:
    if (!command->request.source || !command->request.out)
      argp_error(state, "name the weights and, with --out, the file to write");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

int main(int argument_count, char **arguments) {
  static const struct argp argp = {
      option_table,
      parse,
      "SOURCE",
      "Turns weights into the HDF5 file that memclip reads. SOURCE is a safetensors file or the index of several, a "
      "torch .pt or .bin (a bare state dict or a training checkpoint), an archive of OpenAI's, or a folder with "
      "weights and a configuration under open_clip's or Hugging Face's names. Nothing in a file is run. Every tensor "
      "is accounted for; one that is missing or has no place is an error.",
      NULL,
      NULL,
      NULL};
  argp_err_exit_status = STATUS_USAGE;
  struct command command = {.skip = memory_allocate((size_t)argument_count * sizeof(char *), "skip patterns")};
  struct import_summary summary;
  struct text report = {0};
  argp_parse(&argp, argument_count, arguments, 0, NULL, &command);
  command.request.skip = command.skip;
  command.request.progress = transfer_progress();
  const double start = clock_seconds();
  const enum status status = weight_import(&command.request, &summary, &report);
  if (!command.quiet && report.data)
    fputs(report.data, stdout);
  if (status == STATUS_OK)
    printf("%s: %.3f M parameters; %d tensors taken, %d renamed, %d resampled, %d passed over, %d skipped; %.3f GB in "
           "%.1f s\n",
           command.request.out, 1e-6 * (double)summary.parameters, summary.taken, summary.renamed, summary.resampled,
           summary.passed_over, summary.skipped, 1e-9 * (double)summary.bytes, clock_seconds() - start);
  else
    fprintf(stderr, "memclip-import: %s\n", error_message());
  text_release(&report);
  memory_release(command.skip);
  return (int)status;
}

/* memclip-plot: the curves of one or several runs as PNG and SVG pictures. */
#include <config.h>
#include "base/file.h"
#include "base/memory.h"
#include "figure.h"
#include <argp.h>
#include <stdio.h>

const char *argp_program_version = "memclip-plot " PACKAGE_VERSION;
enum { OPTION_OUT = 'o', OPTION_DARK = 'd' };

static const struct argp_option option_table[] = {
    {"out", OPTION_OUT, "DIR", 0, "Directory for the pictures, made if absent (default: plots)", 0},
    {"dark", OPTION_DARK, NULL, 0, "Light curves on dark ground", 0},
    {0},
};

struct command {
  char **runs;
  int run_count;
  const char *out;
  bool dark;
};

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct command *command = state->input;
  switch (key) {
  case OPTION_OUT:
    command->out = argument;
    return 0;
  case OPTION_DARK:
    command->dark = true;
    return 0;
  case ARGP_KEY_ARGS:
    command->runs = state->argv + state->next;
    command->run_count = state->argc - state->next;
    return 0;
  case ARGP_KEY_NO_ARGS:
    argp_error(state, "name the directory of a run, or of several");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static enum status draw_figure(const struct command *command, const struct figure *figure) {
  for (enum figure_format format = FIGURE_PNG; format <= FIGURE_SVG; format++) {
    char *path = text_format("%s/%s.%s", command->out, figure->name, format == FIGURE_PNG ? "png" : "svg");
    enum status status = figure_draw(figure, format, command->dark, path);
    if (status == STATUS_OK)
      puts(path);
    memory_release(path);
    TRY(status);
  }
  return STATUS_OK;
}

static enum status draw_runs(const struct command *command, const struct run_series *runs) {
  struct figure *figures;
  int count;
  enum status status = STATUS_OK;
  figure_list(runs, command->run_count, &figures, &count);
  if (count == 0)
    status = error_set(STATUS_INPUT, "%s has reported nothing yet", command->runs[0]);
  if (status == STATUS_OK)
    status = file_make_directories(command->out);
  for (int f = 0; status == STATUS_OK && f < count; f++)
    status = draw_figure(command, &figures[f]);
  figure_release(figures, count);
  return status;
}

static enum status run(const struct command *command) {
  struct run_series *runs = memory_allocate((size_t)command->run_count * sizeof *runs, "runs");
  enum status status = STATUS_OK;
  for (int r = 0; status == STATUS_OK && r < command->run_count; r++)
    status = series_read_run(command->runs[r], &runs[r]);
  if (status == STATUS_OK)
    status = draw_runs(command, runs);
  for (int r = 0; r < command->run_count; r++)
    series_release_run(&runs[r]);
  memory_release(runs);
  return status;
}

int main(int argument_count, char **arguments) {
  static const struct argp argp = {option_table,
                                   parse,
                                   "RUN...",
                                   "Draws what runs reported (loss, learning rate, throughput, recalls, ...) over "
                                   "their steps, several runs in one picture, as "
                                   "DIR/NAME.png and DIR/NAME.svg. Needs gnuplot.",
                                   NULL,
                                   NULL,
                                   NULL};
  argp_err_exit_status = STATUS_USAGE;
  struct command command = {.out = "plots"};
  argp_parse(&argp, argument_count, arguments, 0, NULL, &command);
  enum status status = run(&command);
  if (status != STATUS_OK)
    fprintf(stderr, "memclip-plot: %s\n", error_message());
  return (int)status;
}

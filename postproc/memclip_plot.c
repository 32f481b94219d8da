/* memclip-plot: the curves of one or several runs as PNG and SVG pictures. */
#include <config.h>
#include "base/file.h"
#include "base/memory.h"
#include "figure.h"
#include "result_figures.h"
#include <argp.h>
#include <stdio.h>
#include <string.h>

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

static bool holds(const char *run, const char *name) {
  char *path = text_join_path(run, name);
  const bool there = file_exists(path);
  memory_release(path);
  return there;
}

/* The features of all runs that hold some, and those named alone. */
static enum status read_results(const struct command *command, struct report_result **results, int *count) {
  enum status status = STATUS_OK;
  for (int r = 0; status == STATUS_OK && r < command->run_count; r++) {
    char **paths = NULL;
    int files = 0;
    if (file_is_directory(command->runs[r]) && !holds(command->runs[r], "features"))
      continue;
    status = features_list_files(&command->runs[r], 1, &paths, &files);
    *results = memory_resize(*results, (size_t)(*count + files + 1) * sizeof **results, "results");
    for (int f = 0; f < files; f++) {
      if (status == STATUS_OK) {
        (*results)[*count] = (struct report_result){0};
        status = result_read(paths[f], MEASURE_DRAWS, &(*results)[*count]);
        *count += status == STATUS_OK;
      }
      memory_release(paths[f]);
    }
    memory_release(paths);
  }
  return status;
}

static void add_result_figures(const struct report_result *results, int result_count, struct figure **figures,
                               int *count) {
  for (int r = 0; r < result_count; r++) {
    bool seen = false;
    for (int earlier = 0; earlier < r; earlier++)
      seen |= strcmp(result_data_set(&results[earlier]), result_data_set(&results[r])) == 0;
    if (!seen)
      result_figures(results, result_count, result_data_set(&results[r]), figures, count);
  }
}

static enum status draw_all(const struct command *command, const struct run_series *runs, int run_count,
                            const struct report_result *results, int result_count) {
  struct figure *figures;
  int count;
  enum status status = STATUS_OK;
  figure_list(runs, run_count, &figures, &count);
  add_result_figures(results, result_count, &figures, &count);
  if (count == 0)
    status = error_set(STATUS_INPUT, "%s has reported nothing yet: neither metrics.jsonl nor features/ are there",
                       command->runs[0]);
  if (status == STATUS_OK)
    status = file_make_directories(command->out);
  for (int f = 0; status == STATUS_OK && f < count; f++)
    status = draw_figure(command, &figures[f]);
  figure_release(figures, count);
  return status;
}

/* A run has curves, features, or both; what has neither is told as a run without curves. */
static enum status run(const struct command *command) {
  struct run_series *runs = memory_allocate((size_t)command->run_count * sizeof *runs, "runs");
  struct report_result *results = NULL;
  int result_count = 0, run_count = 0;
  enum status status = STATUS_OK;
  for (int r = 0; status == STATUS_OK && r < command->run_count; r++) {
    const char *name = command->runs[r];
    if (text_ends_with(name, ".h5") || (holds(name, "features") && !holds(name, "metrics.jsonl")))
      continue;
    status = series_read_run(name, &runs[run_count]);
    run_count += status == STATUS_OK;
  }
  if (status == STATUS_OK)
    status = read_results(command, &results, &result_count);
  if (status == STATUS_OK)
    status = draw_all(command, runs, run_count, results, result_count);
  for (int r = 0; r < run_count; r++)
    series_release_run(&runs[r]);
  for (int r = 0; r < result_count; r++)
    result_release(&results[r]);
  memory_release(results);
  memory_release(runs);
  return status;
}

int main(int argument_count, char **arguments) {
  static const struct argp argp = {option_table,
                                   parse,
                                   "RUN|FEATURES.h5...",
                                   "Draws what runs reported (loss, learning rate, throughput, recalls, ...) over "
                                   "their steps, several runs in one picture, and of their evaluations recall by "
                                   "caption length and the distribution of ranks, as DIR/NAME.png and DIR/NAME.svg. "
                                   "Needs gnuplot.",
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

/* memclip-report: one self-contained HTML page about runs. */
#include <config.h>
#include "base/file.h"
#include "base/memory.h"
#include "base/option.h"
#include "io/store.h"
#include "report.h"
#include <argp.h>
#include <stdio.h>
#include <string.h>

const char *argp_program_version = "memclip-report " PACKAGE_VERSION;
enum {
  OPTION_OUT = 'o',
  OPTION_IMAGES = 'i',
  OPTION_HEADLINE = 256,
  OPTION_TITLE,
  OPTION_TABLE,
  OPTION_WORLD,
  OPTION_QUERIES,
  OPTION_BASELINE,
  OPTION_MODEL,
  OPTION_DRAWS
};

static const struct argp_option option_table[] = {
    {"out", OPTION_OUT, "DIR", 0, "Directory for report.html, made if absent (default: report)", 0},
    {"images", OPTION_IMAGES, "SHARDS|DIR", 0,
     "Shards, or the folder of a benchmark's images, for the gallery; may be given several times", 0},
    {"queries", OPTION_QUERIES, "N", 0,
     "Right and wrong queries of each direction in the gallery (default 3, 0: no gallery)", 0},
    {"headline", OPTION_HEADLINE, "TEXT", 0, "The sentence on top, in place of one made from the results", 0},
    {"title", OPTION_TITLE, "TEXT", 0, "Title of the page", 0},
    {"table", OPTION_TABLE, "FILE.json", 0,
     "A further table: {\"title\", \"columns\": [...], \"rows\": [[...]], \"better\": [\"\", \"high\", \"low\"], "
     "\"note\"}",
     0},
    {"world", OPTION_WORLD, "FILE.json", 0, "world.json of drawn scenes, for the ceiling of short captions", 0},
    {"model", OPTION_MODEL, "LABEL", 0, "The model that headline and gallery are about (default: the last)", 0},
    {"baseline", OPTION_BASELINE, "LABEL", 0, "The model that differences are from (default: the first)", 0},
    {"draws", OPTION_DRAWS, "N", 0, "Bootstrap draws over images (default 1000)", 0},
    {0},
};

enum { PATTERNS_MAX = 64, COUNT_MAX = 1000000 };
struct command {
  char **names;
  int name_count;
  char *shards[PATTERNS_MAX];
  int shard_count;
  const char *out, *headline, *title, *table, *world, *baseline, *model;
  int queries, draws;
};

static void add_shards(struct command *command, char *argument, struct argp_state *state) {
  if (command->shard_count == PATTERNS_MAX)
    argp_error(state, "--images: more than %d; use a brace list", PATTERNS_MAX);
  else
    command->shards[command->shard_count++] = argument;
}

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct command *command = state->input;
  switch (key) {
  case OPTION_OUT:
    command->out = argument;
    return 0;
  case OPTION_IMAGES:
    add_shards(command, argument, state);
    return 0;
  case OPTION_QUERIES:
    command->queries = (int)option_number(argument, "queries", 0, COUNT_MAX, state);
    return 0;
  case OPTION_DRAWS:
    command->draws = (int)option_number(argument, "draws", 0, COUNT_MAX, state);
    return 0;
  case OPTION_MODEL:
    command->model = argument;
    return 0;
  case OPTION_BASELINE:
    command->baseline = argument;
    return 0;
  case OPTION_HEADLINE:
    command->headline = argument;
    return 0;
  case OPTION_TITLE:
    command->title = argument;
    return 0;
  case OPTION_TABLE:
    command->table = argument;
    return 0;
  case OPTION_WORLD:
    command->world = argument;
    return 0;
  case ARGP_KEY_ARGS:
    command->names = state->argv + state->next;
    command->name_count = state->argc - state->next;
    return 0;
  case ARGP_KEY_NO_ARGS:
    argp_error(state, "name the directory of a run or a features file, or several");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static enum status read_json(const char *path, json_t **json) {
  json_error_t error;
  *json = json_load_file(path, 0, &error);
  return *json ? STATUS_OK : error_set(STATUS_INPUT, "%s:%d: %s", path, error.line, error.text);
}

/* Of the run's newest checkpoint; a run without one (eval) has none. */
static char *read_provenance(const char *directory) {
  struct store *store;
  char *path = text_join_path(directory, "checkpoints/latest.h5"), *words = NULL;
  if (file_exists(path) && store_open(path, &store) == STATUS_OK) {
    if (store_read_text(store, "run/provenance", &words) != STATUS_OK)
      words = NULL;
    store_close(store);
  }
  memory_release(path);
  return words;
}

static enum status read_run(const char *directory, struct report_run *run) {
  char *metrics = text_join_path(directory, "metrics.jsonl"), *used = text_join_path(directory, "used.nml"),
       *state = text_join_path(directory, "status.json");
  struct text settings = {0};
  enum status status = STATUS_OK;
  run->path = memory_copy_string(directory, "path");
  run->provenance = read_provenance(directory);
  if (file_exists(metrics))
    status = series_read_run(directory, &run->series);
  if (status == STATUS_OK && file_exists(used))
    status = file_read(used, &settings);
  if (status == STATUS_OK && file_exists(state))
    status = read_json(state, &run->status);
  if (settings.data)
    run->settings = memory_copy_string(settings.data, "settings");
  char *bare = memory_copy_string(directory, "label");
  for (size_t n = strlen(bare); n > 1 && bare[n - 1] == '/'; n--)
    bare[n - 1] = '\0';
  run->label = memory_copy_string(text_base_name(bare), "label");
  memory_release(bare);
  text_release(&settings);
  memory_release(metrics);
  memory_release(used);
  memory_release(state);
  return status;
}

static bool holds_features(const char *directory) {
  char *folder = text_join_path(directory, "features");
  bool holds = file_is_directory(folder);
  memory_release(folder);
  return holds;
}

/* A directory is a run, which may hold features files too; anything else is a features file. */
static enum status read_name(char *name, int draws, struct report *report) {
  char **paths;
  int count;
  if (file_is_directory(name)) {
    report->runs = memory_resize(report->runs, (size_t)(report->run_count + 1) * sizeof *report->runs, "runs");
    TRY(read_run(name, &report->runs[report->run_count++]));
    if (!holds_features(name))
      return STATUS_OK;
  }
  TRY(features_list_files(&name, 1, &paths, &count));
  enum status status = STATUS_OK;
  report->results =
      memory_resize(report->results, (size_t)(report->result_count + count) * sizeof *report->results, "results");
  for (int i = 0; i < count; i++) {
    if (status == STATUS_OK)
      status = result_read(paths[i], draws, &report->results[report->result_count++]);
    memory_release(paths[i]);
  }
  memory_release(paths);
  return status;
}

/* By data set, otherwise as named (insertion sort is stable). */
static void sort_results(struct report_result *results, int count) {
  for (int i = 1; i < count; i++) {
    struct report_result moved = results[i];
    int place = i;
    for (; place > 0 && strcmp(result_data_set(&moved), result_data_set(&results[place - 1])) < 0; place--)
      results[place] = results[place - 1];
    results[place] = moved;
  }
}

static enum status check_label(const struct report *report, const char *label, const char *option) {
  const char **labels = memory_allocate((size_t)(report->result_count + 1) * sizeof *labels, "labels"), *nearest;
  bool found = !label;
  for (int r = 0; r < report->result_count; r++) {
    labels[r] = report->results[r].features.label;
    found |= label && strcmp(labels[r], label) == 0;
  }
  nearest = label ? text_nearest(label, labels, (size_t)report->result_count) : NULL;
  memory_release(labels);
  return found ? STATUS_OK
               : error_set(STATUS_INPUT, "--%s: no features of a model '%s'%s%s%s", option, label,
                           nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
}

static enum status read_inputs(struct command *command, struct report *report) {
  for (int i = 0; i < command->name_count; i++)
    TRY(read_name(command->names[i], command->draws, report));
  sort_results(report->results, report->result_count);
  TRY(check_label(report, report->model, "model"));
  TRY(check_label(report, report->baseline, "baseline"));
  if (command->table)
    TRY(read_json(command->table, &report->table));
  if (command->world)
    TRY(read_json(command->world, &report->world));
  if (command->shard_count > 0)
    TRY(pictures_open(command->shards, command->shard_count, &report->pictures));
  return STATUS_OK;
}

static enum status write_page(const struct report *report, const char *out) {
  struct text body = {0}, page = {0};
  char *path = text_join_path(out, "report.html");
  report_headline(report, &body);
  enum status status = report_given_table(report, &body);
  if (status == STATUS_OK) {
    report_results(report, &body);
    report_comparisons(report, &body);
  }
  if (status == STATUS_OK)
    status = report_gallery(report, &body);
  if (status == STATUS_OK)
    status = report_curves(report, &body);
  if (status == STATUS_OK)
    status = report_memory(report, &body);
  if (status == STATUS_OK) {
    report_settings(report, &body);
    report_page(report, &body, &page);
    status = file_make_directories(out);
  }
  if (status == STATUS_OK)
    status = file_write_atomic(path, page.data, page.length);
  if (status == STATUS_OK)
    puts(path);
  memory_release(path);
  text_release(&body);
  text_release(&page);
  return status;
}

static void release_report(struct report *report) {
  for (int r = 0; r < report->run_count; r++) {
    memory_release(report->runs[r].path);
    memory_release(report->runs[r].label);
    memory_release(report->runs[r].settings);
    memory_release(report->runs[r].provenance);
    json_decref(report->runs[r].status);
    series_release_run(&report->runs[r].series);
  }
  for (int r = 0; r < report->result_count; r++)
    result_release(&report->results[r]);
  memory_release(report->runs);
  memory_release(report->results);
  json_decref(report->table);
  json_decref(report->world);
  pictures_close(report->pictures);
}

int main(int argument_count, char **arguments) {
  static const struct argp argp = {option_table,
                                   parse,
                                   "RUN|FEATURES.h5...",
                                   "Writes DIR/report.html about runs and features files: results with intervals, "
                                   "curves, a gallery of queries, settings. The page "
                                   "holds everything it shows. Curves need gnuplot.",
                                   NULL,
                                   NULL,
                                   NULL};
  argp_err_exit_status = STATUS_USAGE;
  struct command command = {.out = "report", .title = "memclip report", .queries = 3, .draws = MEASURE_DRAWS};
  argp_parse(&argp, argument_count, arguments, 0, NULL, &command);
  struct report report = {.title = command.title,
                          .headline = command.headline,
                          .queries = command.queries,
                          .draws = command.draws,
                          .baseline = command.baseline,
                          .model = command.model};
  enum status status = read_inputs(&command, &report);
  if (status == STATUS_OK)
    status = write_page(&report, command.out);
  release_report(&report);
  if (status != STATUS_OK)
    fprintf(stderr, "memclip-report: %s\n", error_message());
  return (int)status;
}

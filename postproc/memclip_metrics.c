/* memclip-metrics: retrieval results of features files, side by side, with bootstrap intervals. */
#include <config.h>
#include "result_figures.h"
#include "base/memory.h"
#include "base/option.h"
#include "base/text.h"
#include <argp.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *argp_program_version = "memclip-metrics " PACKAGE_VERSION;
enum { OPTION_JSON = 'j', OPTION_DRAWS = 'd', OPTION_SEED = 's' };
enum { DRAWS_MAX = 1000000, NAME_COLUMN = 38, VALUE_COLUMN = 24 };

static const struct argp_option option_table[] = {
    {"json", OPTION_JSON, NULL, 0,
     "Print one flat JSON object (a list for several files), fractions in place of percent", 0},
    {"draws", OPTION_DRAWS, "N", 0, "Bootstrap draws over images (default 1000; 0 leaves the intervals out)", 0},
    {"seed", OPTION_SEED, "S", 0, "Number that fixes the draws (default 1)", 0},
    {0},
};

struct command {
  char **names;
  int name_count;
  int draws;
  uint64_t seed;
  bool json;
};

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct command *command = state->input;
  switch (key) {
  case OPTION_JSON:
    command->json = true;
    return 0;
  case OPTION_DRAWS:
    command->draws = (int)option_number(argument, "draws", 0, DRAWS_MAX, state);
    return 0;
  case OPTION_SEED:
    command->seed = (uint64_t)option_number(argument, "seed", 0, INT64_MAX, state);
    return 0;
  case ARGP_KEY_ARGS:
    command->names = state->argv + state->next;
    command->name_count = state->argc - state->next;
    return 0;
  case ARGP_KEY_NO_ARGS:
    argp_error(state, "name one features file or run directory, or several");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static json_t *describe_result(const struct report_result *result, bool intervals) {
  json_t *object = json_object();
  json_object_set_new(object, "file", json_string(result->features.path));
  if (result->features.data_set)
    json_object_set_new(object, "data_set", json_string(result->features.data_set));
  json_object_set_new(object, "images", json_integer(result->features.set.image_count));
  json_object_set_new(object, "texts", json_integer(result->features.set.text_count));
  for (int m = 0; m < result->measures.count; m++) {
    const struct measure *measure = &result->measures.items[m];
    char name[MEASURE_NAME_BYTES + 8];
    json_object_set_new(object, measure->name, json_real(measure->value));
    if (measure->by_length || measure->by_truncation) {
      snprintf(name, sizeof name, "%s_count", measure->name);
      json_object_set_new(object, name, json_integer(measure->count));
    }
    if (!intervals)
      continue;
    snprintf(name, sizeof name, "%s_low", measure->name);
    json_object_set_new(object, name, json_real(measure->interval.low));
    snprintf(name, sizeof name, "%s_high", measure->name);
    json_object_set_new(object, name, json_real(measure->interval.high));
  }
  return object;
}

static void print_json(const struct report_result *results, int count, bool intervals) {
  json_t *list = json_array();
  for (int i = 0; i < count; i++)
    json_array_append_new(list, describe_result(&results[i], intervals));
  char *words = json_dumps(count == 1 ? json_array_get(list, 0) : list, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
  puts(words);
  free(words);
  json_decref(list);
}

/* "69.4 [66.1, 72.5]": percent, or a rank */
static void format_value(const struct measure *measure, bool intervals, char *cell, size_t size) {
  double scale = measure->rank ? 1 : 100;
  if (intervals)
    snprintf(cell, size, "%.1f [%.1f, %.1f]", scale * measure->value, scale * measure->interval.low,
             scale * measure->interval.high);
  else
    snprintf(cell, size, "%.1f", scale * measure->value);
}

static void print_row(const struct report_result *results, int count, const char *name, bool intervals) {
  printf("%-*s", NAME_COLUMN, name);
  for (int i = 0; i < count; i++) {
    char cell[96] = "-";
    const struct measure *measure = measure_find(&results[i].measures, name);
    if (measure)
      format_value(measure, intervals, cell, sizeof cell);
    printf("  %*s", VALUE_COLUMN, cell);
  }
  putchar('\n');
}

static bool named_before(const struct report_result *results, int count, const char *name) {
  for (int i = 0; i < count; i++)
    if (measure_find(&results[i].measures, name))
      return true;
  return false;
}

/* The rows of one part of the table, in the order of the first file that has them. */
static void print_part(const struct report_result *results, int count, const char *title,
                       bool (*belongs)(const struct measure *measure), bool intervals) {
  bool head = false;
  for (int i = 0; i < count; i++)
    for (int m = 0; m < results[i].measures.count; m++) {
      const struct measure *measure = &results[i].measures.items[m];
      if (!belongs(measure) || named_before(results, i, measure->name))
        continue;
      if (!head && title)
        printf("\n%s\n", title);
      head = true;
      print_row(results, count, measure->name, intervals);
    }
}

static bool is_plain(const struct measure *measure) {
  return !measure->by_length && !measure->by_truncation;
}

static bool is_by_length(const struct measure *measure) {
  return measure->by_length;
}

static bool is_by_truncation(const struct measure *measure) {
  return measure->by_truncation;
}

/* What the numbers are of. */
static void print_origins(const struct report_result *results, int count) {
  for (int i = 0; i < count; i++) {
    const struct features *features = &results[i].features;
    bool told = false;
    for (int j = 0; j < i; j++)
      told |= features->data_set && results[j].features.data_set &&
              strcmp(features->data_set, results[j].features.data_set) == 0;
    if (features->note && !told)
      printf("%s (%s): %s\n", features->data_set, features->protocol ? features->protocol : "flair", features->note);
    if (features->in_training && !told && atoll(features->in_training) > 0)
      printf("%s: %s of its images occur in the training data\n", features->data_set, features->in_training);
  }
}

static void print_table(const struct report_result *results, int count, bool intervals) {
  printf("%-*s", NAME_COLUMN, "");
  for (int i = 0; i < count; i++)
    printf("  %*.*s", VALUE_COLUMN, VALUE_COLUMN, results[i].features.label);
  printf("\n%-*s", NAME_COLUMN, "data set");
  for (int i = 0; i < count; i++)
    printf("  %*.*s", VALUE_COLUMN, VALUE_COLUMN, results[i].features.data_set ? results[i].features.data_set : "-");
  printf("\n%-*s", NAME_COLUMN, "images / texts");
  for (int i = 0; i < count; i++) {
    char cell[64];
    snprintf(cell, sizeof cell, "%" PRId64 " / %" PRId64, results[i].features.set.image_count,
             results[i].features.set.text_count);
    printf("  %*s", VALUE_COLUMN, cell);
  }
  putchar('\n');
  print_part(results, count, NULL, is_plain, intervals);
  print_part(results, count, "by tokens of the caption (start and end included; an image: mean of its captions)",
             is_by_length, intervals);
  print_part(results, count, "captions within the context, and cut at it", is_by_truncation, intervals);
  putchar('\n');
  print_origins(results, count);
  printf("Recalls and shares in percent%s.\n", intervals ? "; in brackets 95 % bootstrap intervals over images" : "");
}

static enum status measure_files(const struct command *command, char **paths, struct report_result *results,
                                 int count) {
  for (int i = 0; i < count; i++) {
    TRY(features_read(paths[i], &results[i].features));
    struct measure_extras extras = features_extras(&results[i].features);
    if (results[i].features.normalized_here)
      fprintf(stderr, "memclip-metrics: %s: features were not of length 1 and have been normalised\n", paths[i]);
    measure_retrieval(&results[i].features.set, &extras, command->draws, command->seed, &results[i].measures);
  }
  return STATUS_OK;
}

static enum status run(const struct command *command) {
  char **paths;
  int count;
  TRY(features_list_files(command->names, command->name_count, &paths, &count));
  struct report_result *results = memory_allocate((size_t)count * sizeof *results, "results");
  enum status status = measure_files(command, paths, results, count);
  if (status == STATUS_OK)
    (command->json ? print_json : print_table)(results, count, command->draws > 0);
  if (status == STATUS_OK && (fflush(stdout) != 0 || ferror(stdout)))
    status = error_set(STATUS_SYSTEM, "the results could not be written to the standard output");
  for (int i = 0; i < count; i++) {
    result_release(&results[i]);
    memory_release(paths[i]);
  }
  memory_release(results);
  memory_release(paths);
  return status;
}

int main(int argument_count, char **arguments) {
  static const struct argp argp = {option_table,
                                   parse,
                                   "FEATURES.h5|RUN...",
                                   "Recall at 1, 5 and 10, mean and median rank of images and texts in both "
                                   "directions, and what else the features files "
                                   "allow (pictures of one group, wrong captions), side by side.",
                                   NULL,
                                   NULL,
                                   NULL};
  argp_err_exit_status = STATUS_USAGE;
  struct command command = {.draws = MEASURE_DRAWS, .seed = MEASURE_SEED};
  argp_parse(&argp, argument_count, arguments, 0, NULL, &command);
  enum status status = run(&command);
  if (status != STATUS_OK)
    fprintf(stderr, "memclip-metrics: %s\n", error_message());
  return (int)status;
}

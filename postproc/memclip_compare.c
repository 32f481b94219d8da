/* memclip-compare: differences of two models on the same queries, with paired bootstrap intervals. */
#include <config.h>
#include "base/memory.h"
#include "base/text.h"
#include "paired.h"
#include <argp.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *argp_program_version = "memclip-compare " PACKAGE_VERSION;
enum { OPTION_JSON = 'j', OPTION_DRAWS = 'd', OPTION_SEED = 's' };
enum { DRAWS_MIN = 100, DRAWS_MAX = 1000000 };

static const struct argp_option option_table[] = {
    {"json", OPTION_JSON, NULL, 0, "Print one flat JSON object, fractions in place of percent", 0},
    {"draws", OPTION_DRAWS, "N", 0, "Bootstrap draws over images (default 10000)", 0},
    {"seed", OPTION_SEED, "S", 0, "Number that fixes the draws (default 1)", 0},
    {0},
};

struct command {
  char *names[2];
  int name_count, draws;
  uint64_t seed;
  bool json;
};

static int64_t parse_number(const char *argument, const char *name, int64_t low, int64_t high,
                            struct argp_state *state) {
  char *end;
  int64_t value = strtoll(argument, &end, 10);
  if (*argument == '\0' || *end != '\0' || value < low || value > high)
    argp_error(state, "--%s: '%s' is not a number from %" PRId64 " to %" PRId64, name, argument, low, high);
  return value;
}

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct command *command = state->input;
  switch (key) {
  case OPTION_JSON:
    command->json = true;
    return 0;
  case OPTION_DRAWS:
    command->draws = (int)parse_number(argument, "draws", DRAWS_MIN, DRAWS_MAX, state);
    return 0;
  case OPTION_SEED:
    command->seed = (uint64_t)parse_number(argument, "seed", 0, INT64_MAX, state);
    return 0;
  case ARGP_KEY_ARG:
    if (command->name_count == 2)
      argp_error(state, "two are compared; '%s' is one too many", argument);
    else
      command->names[command->name_count++] = argument;
    return 0;
  case ARGP_KEY_END:
    if (command->name_count < 2)
      argp_error(state, "name two features files or run directories");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static const char *verdict_of(const struct paired *pair) {
  if (pair->adjusted_p > PAIRED_LEVEL)
    return "not distinguishable";
  return (pair->difference > 0) == !pair->rank ? "better" : "worse";
}

static void print_table(const struct features *a, const struct features *b, const struct paired *pairs, int count) {
  printf("B - A on %" PRId64 " images and %" PRId64 " texts of %s\nA  %s\nB  %s\n\n", a->set.image_count,
         a->set.text_count, a->data_set ? a->data_set : "the same data", a->path, b->path);
  printf("%-34s %8s %8s %8s  %-18s %8s  %s\n", "", "A", "B", "B - A", "95 % interval", "p", "B is");
  for (int i = 0; i < count; i++) {
    double scale = pairs[i].rank ? 1 : 100;
    char interval[48];
    snprintf(interval, sizeof interval, "[%+.1f, %+.1f]", scale * pairs[i].interval.low,
             scale * pairs[i].interval.high);
    printf("%-34s %8.1f %8.1f %+8.1f  %-18s %8.4f  %s\n", pairs[i].name, scale * pairs[i].a, scale * pairs[i].b,
           scale * pairs[i].difference, interval, pairs[i].adjusted_p, verdict_of(&pairs[i]));
  }
  printf("\nRecalls and shares in percent. Images are drawn with replacement, the same for A and B; p after Holm for "
         "%d comparisons, level "
         "%.2f.\n",
         count, PAIRED_LEVEL);
}

static void put_number(json_t *object, const char *name, const char *suffix, double value) {
  char *key = text_format("%s%s", name, suffix);
  json_object_set_new(object, key, json_real(value));
  memory_release(key);
}

static void print_json(const struct features *a, const struct features *b, const struct paired *pairs, int count) {
  json_t *object = json_object();
  json_object_set_new(object, "a", json_string(a->path));
  json_object_set_new(object, "b", json_string(b->path));
  for (int i = 0; i < count; i++) {
    put_number(object, pairs[i].name, "_a", pairs[i].a);
    put_number(object, pairs[i].name, "_b", pairs[i].b);
    put_number(object, pairs[i].name, "_difference", pairs[i].difference);
    put_number(object, pairs[i].name, "_difference_low", pairs[i].interval.low);
    put_number(object, pairs[i].name, "_difference_high", pairs[i].interval.high);
    put_number(object, pairs[i].name, "_p", pairs[i].adjusted_p);
    char *key = text_format("%s_verdict", pairs[i].name);
    json_object_set_new(object, key, json_string(verdict_of(&pairs[i])));
    memory_release(key);
  }
  char *words = json_dumps(object, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
  puts(words);
  free(words);
  json_decref(object);
}

static enum status compare_files(const struct command *command, const char *path_a, const char *path_b) {
  struct features a, b;
  struct paired *pairs;
  int count;
  TRY(features_read(path_a, &a));
  enum status status = features_read(path_b, &b);
  if (status == STATUS_OK) {
    status = paired_compare(&a, &b, command->draws, command->seed, &pairs, &count);
    if (status == STATUS_OK) {
      (command->json ? print_json : print_table)(&a, &b, pairs, count);
      memory_release(pairs);
    }
    features_release(&b);
  }
  features_release(&a);
  return status;
}

/* Of run directories the first data set that both have, by the name of the file. */
static bool find_same(char **a, int a_count, char **b, int b_count, int *first, int *second) {
  for (*first = 0; *first < a_count; (*first)++)
    for (*second = 0; *second < b_count; (*second)++)
      if (strcmp(text_base_name(a[*first]), text_base_name(b[*second])) == 0)
        return true;
  *first = *second = 0;
  return a_count == 1 && b_count == 1;
}

static void release_paths(char **paths, int count) {
  for (int i = 0; i < count; i++)
    memory_release(paths[i]);
  memory_release(paths);
}

static enum status run(struct command *command) {
  char **a, **b;
  int a_count, b_count, first, second;
  TRY(features_list_files(&command->names[0], 1, &a, &a_count));
  enum status status = features_list_files(&command->names[1], 1, &b, &b_count);
  if (status == STATUS_OK) {
    if (find_same(a, a_count, b, b_count, &first, &second))
      status = compare_files(command, a[first], b[second]);
    else
      status = error_set(STATUS_INPUT, "%s and %s hold no features files of the same name; name the two files",
                         command->names[0], command->names[1]);
    release_paths(b, b_count);
  }
  release_paths(a, a_count);
  return status;
}

int main(int argument_count, char **arguments) {
  static const struct argp argp = {option_table,
                                   parse,
                                   "A B",
                                   "Compares two features files, or those of two run directories, that were made from "
                                   "the same images and texts: differences B - A "
                                   "with 95 % intervals, and whether they can be told from chance.",
                                   NULL,
                                   NULL,
                                   NULL};
  argp_err_exit_status = STATUS_USAGE;
  struct command command = {.draws = 10000, .seed = MEASURE_SEED};
  argp_parse(&argp, argument_count, arguments, 0, NULL, &command);
  enum status status = run(&command);
  if (status == STATUS_OK && (fflush(stdout) != 0 || ferror(stdout)))
    status = error_set(STATUS_SYSTEM, "the results could not be written to the standard output");
  if (status != STATUS_OK)
    fprintf(stderr, "memclip-compare: %s\n", error_message());
  return (int)status;
}

/* memclip-compare: differences of two models on the same queries, with paired bootstrap intervals. */
#include <config.h>
#include "base/file.h"
#include "base/memory.h"
#include "base/option.h"
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
    {"json", OPTION_JSON, NULL, 0,
     "Print one flat JSON object (a list for several data sets), fractions in place of percent", 0},
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

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct command *command = state->input;
  switch (key) {
  case OPTION_JSON:
    command->json = true;
    return 0;
  case OPTION_DRAWS:
    command->draws = (int)option_number(argument, "draws", DRAWS_MIN, DRAWS_MAX, state);
    return 0;
  case OPTION_SEED:
    command->seed = (uint64_t)option_number(argument, "seed", 0, INT64_MAX, state);
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

static void print_table(const struct comparison *comparison) {
  const struct features *a = &comparison->a, *b = &comparison->b;
  printf("B - A on %" PRId64 " images and %" PRId64 " texts of %s\nA  %s  %s\nB  %s  %s\n\n", a->set.image_count,
         a->set.text_count, comparison->data_set, a->label, a->path, b->label, b->path);
  printf("%-34s %8s %8s %8s  %-18s %8s  %s\n", "", "A", "B", "B - A", "95 % interval", "p", "B is");
  for (int i = 0; i < comparison->count; i++) {
    const struct paired *pair = &comparison->pairs[i];
    double scale = pair->rank ? 1 : 100;
    char interval[48];
    snprintf(interval, sizeof interval, "[%+.1f, %+.1f]", scale * pair->interval.low, scale * pair->interval.high);
    printf("%-34s %8.1f %8.1f %+8.1f  %-18s %8.4f  %s\n", pair->name, scale * pair->a, scale * pair->b,
           scale * pair->difference, interval, pair->adjusted_p, paired_verdict(pair));
  }
  putchar('\n');
}

static void print_tables(const struct comparison *comparisons, int count) {
  for (int c = 0; c < count; c++)
    print_table(&comparisons[c]);
  printf(
      "Recalls and shares in percent. Images are drawn with replacement, the same for A and B, and all queries of an "
      "image with it; the\ngallery is held fixed, so this is about queries like these among these candidates. p is "
      "two-sided%s; level %.2f.\n",
      count > 1 ? ", after Holm over the data sets for each measure" : "", PAIRED_LEVEL);
}

static void put_number(json_t *object, const char *name, const char *suffix, double value) {
  char *key = text_format("%s%s", name, suffix);
  json_object_set_new(object, key, json_real(value));
  memory_release(key);
}

static json_t *describe(const struct comparison *comparison) {
  json_t *object = json_object();
  json_object_set_new(object, "data_set", json_string(comparison->data_set));
  json_object_set_new(object, "a", json_string(comparison->a.path));
  json_object_set_new(object, "b", json_string(comparison->b.path));
  for (int i = 0; i < comparison->count; i++) {
    const struct paired *pair = &comparison->pairs[i];
    put_number(object, pair->name, "_a", pair->a);
    put_number(object, pair->name, "_b", pair->b);
    put_number(object, pair->name, "_difference", pair->difference);
    put_number(object, pair->name, "_difference_low", pair->interval.low);
    put_number(object, pair->name, "_difference_high", pair->interval.high);
    put_number(object, pair->name, "_p", pair->adjusted_p);
    char *key = text_format("%s_verdict", pair->name);
    json_object_set_new(object, key, json_string(paired_verdict(pair)));
    memory_release(key);
  }
  return object;
}

static void print_json(const struct comparison *comparisons, int count) {
  json_t *list = json_array();
  for (int c = 0; c < count; c++)
    json_array_append_new(list, describe(&comparisons[c]));
  char *words = json_dumps(count == 1 ? json_array_get(list, 0) : list, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
  puts(words);
  free(words);
  json_decref(list);
}

/* "val.student.h5" -> "val"; "val.student.h5" is of the label "student" (data sets have no dots in their names). */
static bool same_set(const char *path_a, const char *path_b) {
  const char *a = text_base_name(path_a), *b = text_base_name(path_b);
  const size_t length = strcspn(a, ".");
  return length == strcspn(b, ".") && strncmp(a, b, length) == 0;
}

static bool has_label(const char *path, const char *label) {
  const char *name = text_base_name(path);
  char *end = text_format(".%s.h5", label);
  const bool is = name[strcspn(name, ".")] && strcmp(name + strcspn(name, "."), end) == 0;
  memory_release(end);
  return is;
}

struct side { /* the files that one name stands for */
  char **paths;
  int count;
};

static void release_side(struct side *side) {
  for (int i = 0; i < side->count; i++)
    memory_release(side->paths[i]);
  memory_release(side->paths);
}

/* A file, a run's directory, or DIRECTORY:LABEL for one model of a run that evaluated several. */
static enum status open_side(char *name, struct side *side) {
  char *copy = memory_copy_string(name, "name"), *colon = strrchr(copy, ':'), *label = NULL;
  if (!file_exists(name) && colon) {
    *colon = '\0';
    label = colon + 1;
  }
  enum status status = features_list_files(&copy, 1, &side->paths, &side->count);
  int kept = 0;
  for (int i = 0; status == STATUS_OK && i < side->count; i++) {
    if (label && !has_label(side->paths[i], label))
      memory_release(side->paths[i]);
    else
      side->paths[kept++] = side->paths[i];
  }
  if (status == STATUS_OK) {
    side->count = kept;
    if (kept == 0)
      status = error_set(STATUS_INPUT, "%s holds no features of the label '%s'", copy, label);
  }
  memory_release(copy);
  return status;
}

/* One file of each data set. */
static enum status check_side(const char *name, const struct side *side) {
  for (int i = 0; i < side->count; i++)
    for (int j = 0; j < i; j++)
      if (same_set(side->paths[i], side->paths[j]))
        return error_set(STATUS_INPUT, "%s holds several models on the same data (%s, %s); name one as DIRECTORY:LABEL",
                         name, text_base_name(side->paths[j]), text_base_name(side->paths[i]));
  return STATUS_OK;
}

static enum status compare_files(const struct command *command, const char *path_a, const char *path_b,
                                 struct comparison *comparison) {
  TRY(features_read(path_a, &comparison->a));
  TRY(features_read(path_b, &comparison->b));
  comparison->data_set = comparison->a.data_set ? comparison->a.data_set : "the same data";
  return paired_compare(&comparison->a, &comparison->b, command->draws, command->seed, &comparison->pairs,
                        &comparison->count);
}

static enum status compare_sides(const struct command *command, const struct side *a, const struct side *b,
                                 struct comparison *comparisons, int *count) {
  *count = 0;
  if (a->count == 1 && b->count == 1)
    return compare_files(command, a->paths[0], b->paths[0], &comparisons[(*count)++]);
  for (int i = 0; i < a->count; i++)
    for (int j = 0; j < b->count; j++)
      if (same_set(a->paths[i], b->paths[j]))
        TRY(compare_files(command, a->paths[i], b->paths[j], &comparisons[(*count)++]));
  return *count > 0 ? STATUS_OK
                    : error_set(STATUS_INPUT, "%s and %s hold no features of the same data set", command->names[0],
                                command->names[1]);
}

static enum status compare(const struct command *command, const struct side *a, const struct side *b) {
  int count;
  struct comparison *comparisons = memory_allocate((size_t)a->count * sizeof *comparisons, "comparisons");
  enum status status = compare_sides(command, a, b, comparisons, &count);
  if (status == STATUS_OK) {
    paired_adjust(comparisons, count);
    (command->json ? print_json : print_tables)(comparisons, count);
  }
  for (int c = 0; c < count; c++) {
    features_release(&comparisons[c].a);
    features_release(&comparisons[c].b);
    memory_release(comparisons[c].pairs);
  }
  memory_release(comparisons);
  return status;
}

static enum status run(const struct command *command) {
  struct side a = {0}, b = {0};
  enum status status = open_side(command->names[0], &a);
  if (status == STATUS_OK)
    status = open_side(command->names[1], &b);
  if (status == STATUS_OK)
    status = check_side(command->names[0], &a);
  if (status == STATUS_OK)
    status = check_side(command->names[1], &b);
  if (status == STATUS_OK)
    status = compare(command, &a, &b);
  release_side(&a);
  release_side(&b);
  return status;
}

int main(int argument_count, char **arguments) {
  static const struct argp argp = {option_table,
                                   parse,
                                   "A B",
                                   "Compares two features files, or those of two run directories (RUN:LABEL for one "
                                   "model of several), that were made from the same images and texts: differences "
                                   "B - A with 95 % intervals, and whether they can be told from chance.",
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

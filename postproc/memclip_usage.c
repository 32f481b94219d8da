/* memclip-usage: how the memories of a model are used, from the counts that eval wrote. */
#include <config.h>
#include "base/memory.h"
#include "base/text.h"
#include "usage.h"
#include <argp.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *argp_program_version = "memclip-usage " PACKAGE_VERSION;
enum { OPTION_JSON = 'j', OPTION_AGAINST = 'a' };

static const struct argp_option option_table[] = {
    {"json", OPTION_JSON, NULL, 0, "Print one object per block, class of tokens and head, as a JSON list", 0},
    {"against", OPTION_AGAINST, "USAGE.h5|RUN", 0,
     "An earlier checkpoint's counts on the same images: what changed since", 0},
    {0},
};

struct command {
  const char *name, *against;
  bool json;
};

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct command *command = state->input;
  switch (key) {
  case OPTION_JSON:
    command->json = true;
    return 0;
  case OPTION_AGAINST:
    command->against = argument;
    return 0;
  case ARGP_KEY_ARG:
    if (command->name)
      argp_error(state, "one run or usage file is expected, '%s' is a second one", argument);
    command->name = argument;
    return 0;
  case ARGP_KEY_END:
    if (!command->name)
      argp_error(state, "name a run's directory or a usage file");
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

static void print_number(double value, int width, int digits) {
  if (isfinite(value))
    printf(" %*.*f", width, digits, value);
  else
    printf(" %*s", width, "-");
}

static void print_row(const struct usage_layer *layer, int class, int64_t head) {
  const struct usage_summary summary = usage_summarize(layer, class, head);
  if (summary.reads == 0)
    return;
  printf("%5d  %-7s %4" PRId64 " %12" PRId64 " %8" PRId64, layer->block, usage_class_names[class], head, summary.reads,
         summary.used);
  print_number(100 * summary.dead_share, 7, 1);
  print_number(summary.effective, 9, 1);
  print_number(summary.effective_weighted, 9, 1);
  print_number(summary.kl, 7, 3);
  print_number(summary.margin, 8, 4);
  printf("  ");
  for (int i = 0; i < USAGE_TOP && summary.top[i] >= 0; i++)
    printf(" %" PRId64 " (%.1f %%)", summary.top[i], 100 * summary.top_share[i]);
  putchar('\n');
}

static void print_file(const struct usage_file *file) {
  printf("%s on %s: %" PRId64 " slots a block, %" PRId64 " heads, %" PRId64 " slots read per token and head  (%s)\n",
         file->label, file->data_set, file->layers[0].slots, file->layers[0].heads, file->layers[0].knn, file->path);
  printf("%5s  %-7s %4s %12s %8s %7s %9s %9s %7s %8s   %s\n", "block", "tokens", "head", "reads", "used", "dead %",
         "effective", "weighted", "KL", "margin", "most read");
  for (int i = 0; i < file->count; i++)
    for (int class = 0; class < USAGE_CLASSES; class ++)
      for (int64_t head = 0; head < file->layers[i].heads; head++)
        print_row(&file->layers[i], class, head);
}

static void print_change(const struct usage_file *before, const struct usage_file *after) {
  printf("\nsince %s (%s)\n%5s %8s %9s %8s %14s\n", before->label, before->path, "block", "churn %", "moved %", "drift",
         "bf16 changed %");
  for (int i = 0; i < after->count; i++) {
    const struct usage_change change = usage_compare(before, after, i);
    printf("%5d", after->layers[i].block);
    print_number(100 * change.churn, 8, 1);
    print_number(100 * change.distance, 9, 1);
    print_number(change.drift, 8, 4);
    print_number(100 * change.bf16_changed, 14, 2);
    putchar('\n');
  }
}

static void put_number(json_t *object, const char *name, double value) {
  json_object_set_new(object, name, isfinite(value) ? json_real(value) : json_null());
}

static json_t *describe_head(const struct usage_layer *layer, int class, int64_t head) {
  const struct usage_summary summary = usage_summarize(layer, class, head);
  json_t *object = json_object(), *top = json_array();
  json_object_set_new(object, "block", json_integer(layer->block));
  json_object_set_new(object, "tokens", json_string(usage_class_names[class]));
  json_object_set_new(object, "head", json_integer(head));
  json_object_set_new(object, "slots", json_integer(layer->slots));
  json_object_set_new(object, "reads", json_integer(summary.reads));
  json_object_set_new(object, "used", json_integer(summary.used));
  put_number(object, "dead_share", summary.dead_share);
  put_number(object, "effective_slots", summary.effective);
  put_number(object, "effective_slots_weighted", summary.effective_weighted);
  put_number(object, "kl_to_uniform", summary.kl);
  put_number(object, "median_margin", summary.margin);
  for (int i = 0; i < USAGE_TOP && summary.top[i] >= 0; i++)
    json_array_append_new(top, json_integer(summary.top[i]));
  json_object_set_new(object, "top_slots", top);
  return object;
}

static json_t *describe_file(const struct usage_file *file, const struct usage_file *before) {
  json_t *list = json_array();
  for (int i = 0; i < file->count; i++) {
    for (int class = 0; class < USAGE_CLASSES; class ++)
      for (int64_t head = 0; head < file->layers[i].heads; head++) {
        json_t *object = describe_head(&file->layers[i], class, head);
        json_object_set_new(object, "model", json_string(file->label));
        json_object_set_new(object, "data_set", json_string(file->data_set));
        if (before) {
          const struct usage_change change = usage_compare(before, file, i);
          put_number(object, "churn", change.churn);
          put_number(object, "reads_moved", change.distance);
          put_number(object, "value_drift", change.drift);
          put_number(object, "bf16_changed", change.bf16_changed);
        }
        json_array_append_new(list, object);
      }
  }
  return list;
}

static void explain(void) {
  printf("\neffective: exp(entropy) of the counts, weighted: of the weights; KL: to uniform reads, in nats; margin: "
         "median score of the last slot\n"
         "taken less that of the next one. In a pooled last block only CLS is computed.\n");
}

static enum status show(const struct command *command, char *const *paths, int count, const struct usage_file *before) {
  json_t *list = json_array();
  enum status status = STATUS_OK;
  for (int i = 0; status == STATUS_OK && i < count; i++) {
    struct usage_file file;
    status = usage_read(paths[i], &file);
    if (status != STATUS_OK)
      break;
    json_t *objects = describe_file(&file, before);
    json_array_extend(list, objects);
    json_decref(objects);
    if (!command->json) {
      print_file(&file);
      if (before)
        print_change(before, &file);
      if (i + 1 < count)
        putchar('\n');
    }
    usage_release(&file);
  }
  if (status == STATUS_OK && command->json) {
    char *words = json_dumps(list, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    puts(words);
    free(words);
  } else if (status == STATUS_OK) {
    explain();
  }
  json_decref(list);
  return status;
}

static void release_paths(char **paths, int count) {
  for (int i = 0; i < count; i++)
    memory_release(paths[i]);
  memory_release(paths);
}

static enum status read_before(const char *name, struct usage_file *before) {
  char **paths;
  int count;
  TRY(usage_list_files(name, &paths, &count));
  enum status status = count == 1 ? usage_read(paths[0], before)
                                  : error_set(STATUS_INPUT, "%s holds %d usage files; name one of them, such as %s",
                                              name, count, paths[0]);
  release_paths(paths, count);
  return status;
}

static enum status run(const struct command *command) {
  struct usage_file before = {0};
  char **paths;
  int count;
  if (command->against)
    TRY(read_before(command->against, &before));
  enum status status = usage_list_files(command->name, &paths, &count);
  if (status == STATUS_OK) {
    status = show(command, paths, count, command->against ? &before : NULL);
    release_paths(paths, count);
  }
  usage_release(&before);
  return status;
}

int main(int argument_count, char **arguments) {
  static const struct argp argp = {option_table,
                                   parse,
                                   "RUN|USAGE.h5",
                                   "Which memory slots a model reads, per block, class of tokens and head: slots used, "
                                   "dead share, effective number, distance from uniform, margins, and the slots most "
                                   "read, from the counts that the stage eval wrote with memory_usage=.true.",
                                   NULL,
                                   NULL,
                                   NULL};
  argp_err_exit_status = STATUS_USAGE;
  struct command command = {0};
  argp_parse(&argp, argument_count, arguments, 0, NULL, &command);
  enum status status = run(&command);
  if (status == STATUS_OK && (fflush(stdout) != 0 || ferror(stdout)))
    status = error_set(STATUS_SYSTEM, "the results could not be written to the standard output");
  if (status != STATUS_OK)
    fprintf(stderr, "memclip-usage: %s\n", error_message());
  return (int)status;
}

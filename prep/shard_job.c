#include "shard_job.h"
#include "base/file.h"
#include "base/memory.h"
#include <glob.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_jobs(struct shard_plan *plan, const char *folder, int64_t first, int64_t end, int64_t per_shard) {
  int64_t shards = (end - first + per_shard - 1) / per_shard;
  plan->jobs = memory_resize(plan->jobs, (size_t)(plan->count + shards + 1) * sizeof plan->jobs[0], "shard plan");
  for (int64_t i = 0; i < shards; i++) {
    int64_t from = first + i * per_shard;
    plan->jobs[plan->count++] = (struct shard_job){.name = text_format("%s%06" PRId64, folder, i),
                                                   .first = from,
                                                   .count = end - from < per_shard ? end - from : per_shard};
  }
}

enum status shard_plan_make(const struct shard_input *input, int64_t per_shard, int64_t split_first, int join,
                            struct shard_plan *plan) {
  int64_t count = shard_input_count(input);
  *plan = (struct shard_plan){0};
  if (split_first > count)
    return error_set(STATUS_INPUT, "--split-first %" PRId64 ": the input holds %" PRId64 " samples", split_first,
                     count);
  if (join == 0 && split_first == 0)
    add_jobs(plan, "", 0, count, per_shard);
  else if (join == 0) {
    add_jobs(plan, "val/", 0, split_first, per_shard);
    add_jobs(plan, "train/", split_first, count, per_shard);
  } else {
    char *const *paths;
    int tars;
    const int64_t *bounds = shard_input_bounds(input, &paths, &tars);
    if (!bounds)
      return error_set(STATUS_INPUT, "--join: the input is no list of tars");
    plan->jobs = memory_allocate((size_t)(tars + 1) * sizeof plan->jobs[0], "shard plan");
    for (int from = 0; from < tars; from += join) {
      int to = tars - from < join ? tars : from + join;
      plan->jobs[plan->count] = (struct shard_job){
          .name = text_format("%06d", plan->count), .first = bounds[from], .count = bounds[to] - bounds[from]};
      plan->count++;
    }
  }
  return STATUS_OK;
}

void shard_plan_release(struct shard_plan *plan) {
  for (int i = 0; i < plan->count; i++)
    memory_release(plan->jobs[i].name);
  memory_release(plan->jobs);
}

static char *file_of(const char *directory, const char *name, const char *ending) {
  return text_format("%s/%s%s", directory, name, ending);
}

/* Statistics of the shard DIRECTORY/NAME.tar, NULL when there are none. */
static json_t *read_stats(const char *directory, const char *name) {
  char *stem = text_join_path(directory, name), *path = text_format("%s_stats.json", stem);
  memory_release(stem);
  json_t *stats = json_load_file(path, 0, NULL);
  memory_release(path);
  return stats;
}

static bool is_finished(const struct shard_input *input, const struct shard_job *job, const char *directory) {
  char *path = file_of(directory, job->name, ".tar"), print[17];
  json_t *stats = read_stats(directory, job->name);
  const char *of = json_string_value(json_object_get(stats, "input"));
  snprintf(print, sizeof print, "%016" PRIx64, shard_input_fingerprint(input));
  bool finished = file_exists(path) && of && strcmp(of, print) == 0 &&
                  json_integer_value(json_object_get(stats, "first")) == job->first &&
                  json_integer_value(json_object_get(stats, "count")) == job->count;
  json_decref(stats);
  memory_release(path);
  return finished;
}

static enum status write_archive(struct shard_input *input, const struct shard_job *job, const char *path,
                                 int64_t *bad) {
  struct tar_writer *writer;
  TRY(tar_writer_open(path, &writer));
  for (int64_t i = 0; i < job->count; i++) {
    enum status status = shard_input_copy(input, job->first + i, writer);
    if (status == STATUS_INPUT) {
      fprintf(stderr, "memclip-shards: left out: %s\n", error_message());
      ++*bad;
    } else if (status != STATUS_OK) {
      tar_writer_abandon(writer);
      return status;
    }
  }
  return tar_writer_finish(writer);
}

static enum status write_stats(const struct shard_input *input, const struct shard_job *job, const char *directory,
                               int64_t bad) {
  char *path = file_of(directory, job->name, "_stats.json");
  char *stats = text_format("{\"count\": %" PRId64 ", \"successes\": %" PRId64 ", \"left_out\": %" PRId64
                            ", \"first\": %" PRId64 ", \"input\": \"%016" PRIx64 "\"}\n",
                            job->count, job->count - bad, bad, job->first, shard_input_fingerprint(input));
  enum status status = file_write_atomic(path, stats, strlen(stats));
  memory_release(stats);
  memory_release(path);
  return status;
}

enum status shard_job_run(struct shard_input *input, const struct shard_job *job, const char *directory) {
  if (is_finished(input, job, directory))
    return STATUS_OK;
  int64_t bad = 0;
  char *path = file_of(directory, job->name, ".tar");
  enum status status = write_archive(input, job, path, &bad);
  memory_release(path);
  return status == STATUS_OK ? write_stats(input, job, directory, bad) : status;
}

static bool is_planned(const struct shard_plan *plan, const char *name) {
  size_t length = strlen(name) - strlen(".tar");
  for (int i = 0; i < plan->count; i++)
    if (strlen(plan->jobs[i].name) == length && strncmp(plan->jobs[i].name, name, length) == 0)
      return true;
  return false;
}

/* Shards of an earlier run with other options would be read along with these. */
static void warn_of_others(const struct shard_plan *plan, const char *directory) {
  static const char *const folders[] = {"", "val/", "train/"};
  for (int f = 0; f < 3; f++) {
    char *pattern = text_format("%s/%s*.tar", directory, folders[f]), *first = NULL;
    glob_t found = {0};
    int others = 0;
    glob(pattern, 0, NULL, &found);
    for (size_t i = 0; i < found.gl_pathc; i++)
      if (!is_planned(plan, found.gl_pathv[i] + strlen(directory) + 1)) {
        others++;
        first = first ? first : found.gl_pathv[i];
      }
    if (others > 0)
      fprintf(stderr,
              "memclip-shards: %s, %d in all: not written by this run; remove them, or do not read them along\n", first,
              others);
    globfree(&found);
    memory_release(pattern);
  }
}

enum status shard_plan_summarise(const struct shard_input *input, const struct shard_plan *plan,
                                 const char *directory) {
  const char *notes;
  int64_t samples = 0, bad = shard_input_left_out(input, &notes);
  struct text summary = {0};
  for (int i = 0; i < plan->count; i++) {
    json_t *stats = read_stats(directory, plan->jobs[i].name);
    samples += json_integer_value(json_object_get(stats, "successes"));
    bad += json_integer_value(json_object_get(stats, "left_out"));
    text_append_format(&summary, "%s    \"%s.tar\": %" PRId64, i > 0 ? ",\n" : "", plan->jobs[i].name,
                       (int64_t)json_integer_value(json_object_get(stats, "successes")));
    json_decref(stats);
  }
  char *path = file_of(directory, "summary", ".json");
  char *whole =
      text_format("{\n  \"input\": \"%016" PRIx64 "\",\n  \"shards\": %d,\n  \"samples\": %" PRId64
                  ",\n  \"left_out\": %" PRId64 ",\n  \"sizes\": {\n%s\n  }\n}\n",
                  shard_input_fingerprint(input), plan->count, samples, bad, summary.data ? summary.data : "");
  enum status status = file_write_atomic(path, whole, strlen(whole));
  printf("shards %d\nsamples %" PRId64 "\nleft_out %" PRId64 "\n", plan->count, samples, bad);
  warn_of_others(plan, directory);
  memory_release(whole);
  memory_release(path);
  text_release(&summary);
  return status;
}

int shard_input_check_stats(const struct shard_input *input) {
  char *const *paths;
  int tars, different = 0;
  const int64_t *bounds = shard_input_bounds(input, &paths, &tars);
  for (int i = 0; bounds && i < tars; i++) {
    char *stem = text_format("%.*s", (int)strlen(paths[i]) - 4, paths[i]);
    json_t *stats = text_ends_with(paths[i], ".tar") ? read_stats("", stem) : NULL;
    const json_t *successes = json_object_get(stats, "successes");
    if (json_is_integer(successes) && json_integer_value(successes) != bounds[i + 1] - bounds[i]) {
      fprintf(stderr, "memclip-shards: %s holds %" PRId64 " samples, its _stats.json says %" PRId64 "\n", paths[i],
              bounds[i + 1] - bounds[i], (int64_t)json_integer_value(successes));
      different++;
    }
    json_decref(stats);
    memory_release(stem);
  }
  return different;
}

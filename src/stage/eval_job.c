#include "stage/eval_job.h"
#include "base/file.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "report/lines.h"
#include "report/report.h"
#include <stdlib.h>
#include <string.h>

const char *eval_plan_weights(const struct settings *settings, int checkpoint) {
  return settings->eval.checkpoints.count ? settings->eval.checkpoints.items[checkpoint] : settings->model.weights;
}

bool eval_same_file(const char *a, const char *b) {
  char *real_a = realpath(a, NULL), *real_b = realpath(b, NULL);
  const bool same = real_a && real_b && strcmp(real_a, real_b) == 0;
  free(real_a);
  free(real_b);
  return same;
}

/* "runs/teacher/checkpoints/latest.h5" -> "teacher", other files by their own name without suffix. */
static char *label_of_path(const char *path) {
  char *copy = memory_copy_string(path, "label"), *slash = strrchr(copy, '/');
  char *name = slash ? slash + 1 : copy;
  if (text_ends_with(name, ".h5"))
    name[strlen(name) - 3] = '\0';
  if (slash && slash - copy > 12 && strncmp(slash - 12, "/checkpoints", 12) == 0) {
    slash[-12] = '\0';
    name = (char *)text_base_name(copy);
  }
  char *label = memory_copy_string(name, "label");
  memory_release(copy);
  return label;
}

enum status eval_plan_label(const struct settings *settings, struct eval_plan *plan) {
  const struct eval_settings *eval = &settings->eval;
  *plan = (struct eval_plan){0};
  plan->model_count = eval->checkpoints.count ? eval->checkpoints.count : 1;
  plan->labels = memory_allocate((size_t)plan->model_count * sizeof *plan->labels, "labels");
  for (int i = 0; i < plan->model_count; i++)
    plan->labels[i] = eval->labels.count        ? memory_copy_string(eval->labels.items[i], "label")
                      : eval->checkpoints.count ? label_of_path(eval->checkpoints.items[i])
                                                : memory_copy_string("model", "label");
  for (int i = 0; i < plan->model_count; i++)
    for (int j = 0; j < i; j++)
      if (strcmp(plan->labels[i], plan->labels[j]) == 0)
        return error_set(STATUS_INPUT, "eval.labels: two models would be called '%s'; give each checkpoint a label",
                         plan->labels[i]);
  return STATUS_OK;
}

static bool asks_for(const struct eval_settings *eval, const char *text) {
  for (int i = 0; i < eval->text.count; i++)
    if (strcmp(eval->text.items[i], text) == 0)
      return true;
  return eval->text.count == 0 && strcmp(text, "own") == 0;
}

static void describe_file(const char *path, struct text *out) {
  int64_t bytes = 0, modified = 0;
  if (file_stat(path, &bytes, &modified) != STATUS_OK)
    bytes = -1;
  text_append_format(out, "%s %lld %lld\n", path, (long long)bytes, (long long)modified);
}

/* Everything that the numbers depend on, in words. */
static char *identity_of(const struct settings *settings, const struct eval_job *job) {
  struct text words = {0};
  describe_file(eval_plan_weights(settings, job->checkpoint), &words);
  if (settings->teacher.weights[0])
    describe_file(settings->teacher.weights, &words);
  text_append_format(&words, "%s text, %s %s %lld x %lld %08x, %s, batch %lld, activation %s, vocabulary %s, leak %lld",
                     job->teacher_text ? "teacher" : "own", settings->eval.protocol, job->set->name,
                     (long long)job->set->image_count, (long long)job->set->text_count, job->set->checksum,
                     settings->run.precision, (long long)settings->eval.batch_size, settings->model.activation,
                     settings->data.vocabulary, (long long)job->set->in_training);
  char *identity = memory_copy_string(words.data, "identity");
  text_release(&words);
  return identity;
}

static void add_jobs(const struct session *session, const struct eval_set *sets, int set_count, int checkpoint,
                     bool teacher_text, struct eval_plan *plan) {
  const struct settings *settings = session->settings;
  for (int s = 0; s < set_count; s++) {
    struct eval_job *job = &plan->jobs[plan->count++];
    *job = (struct eval_job){.checkpoint = checkpoint, .teacher_text = teacher_text, .set = &sets[s], .set_number = s};
    job->label = text_format("%s%s", plan->labels[checkpoint], teacher_text ? "-teacher-text" : "");
    job->identity = identity_of(settings, job);
  }
  plan->label_count++;
}

/* The teacher among the checkpoints has the teacher's text tower anyway. */
void eval_plan_make(const struct session *session, const struct eval_set *sets, int set_count, struct eval_plan *plan) {
  const struct settings *settings = session->settings;
  const bool own = asks_for(&settings->eval, "own"), teacher = asks_for(&settings->eval, "teacher");
  plan->jobs = memory_allocate((size_t)(2 * plan->model_count * set_count + 1) * sizeof *plan->jobs, "jobs");
  for (int i = 0; i < plan->model_count; i++) {
    const bool is_teacher = eval_same_file(eval_plan_weights(settings, i), settings->teacher.weights);
    if (own || is_teacher)
      add_jobs(session, sets, set_count, i, false, plan);
    if (teacher && !is_teacher)
      add_jobs(session, sets, set_count, i, true, plan);
  }
}

static bool features_are_there(const struct session *session, const struct eval_job *job) {
  if (!session->settings->eval.save_features)
    return true;
  char *name = text_format("features/%s.%s.h5", job->set->name, job->label), *path = run_path(session->run, name);
  const bool there = file_exists(path);
  memory_release(name);
  memory_release(path);
  return there;
}

static void take_over(struct eval_plan *plan, const struct session *session, json_t *record) {
  const char *label = json_string_value(json_object_get(record, "label")),
             *set = json_string_value(json_object_get(record, "set")),
             *identity = json_string_value(json_object_get(record, "identity"));
  for (int i = 0; label && set && identity && i < plan->count; i++) {
    struct eval_job *job = &plan->jobs[i];
    if (strcmp(job->label, label) != 0 || strcmp(job->set->name, set) != 0 || strcmp(job->identity, identity) != 0 ||
        !features_are_there(session, job))
      continue;
    json_decref(job->record);
    job->record = json_incref(record);
    job->done = true;
  }
}

/* Lines that no job takes over are of other weights or data, or half written: they go. */
static enum status read_records(struct eval_plan *plan, const struct session *session) {
  struct text lines = {0}, kept = {0};
  if (!file_exists(plan->path))
    return STATUS_OK;
  TRY(file_read(plan->path, &lines));
  char *rest = lines.data;
  for (char *line; rest && (line = strsep(&rest, "\n")) != NULL;) {
    json_t *record = json_loads(line, 0, NULL);
    if (record)
      take_over(plan, session, record);
    json_decref(record);
  }
  for (int i = 0; i < plan->count; i++)
    if (plan->jobs[i].done) {
      char *line = json_dumps(plan->jobs[i].record, JSON_COMPACT);
      text_append_format(&kept, "%s\n", line);
      free(line);
    }
  enum status status = file_write_atomic(plan->path, kept.data ? kept.data : "", kept.length);
  text_release(&lines);
  text_release(&kept);
  return status;
}

enum status eval_plan_resume(struct eval_plan *plan, const struct session *session) {
  plan->path = run_path(session->run, "evaluation.jsonl");
  TRY(comm_agree(comm_rank() == 0 ? read_records(plan, session) : STATUS_OK));
  int finished = 0;
  for (int i = 0; i < plan->count; i++) {
    comm_broadcast(&plan->jobs[i].done, sizeof plan->jobs[i].done, 0);
    finished += plan->jobs[i].done;
  }
  if (finished)
    report_message("%d of %d evaluations were finished by an earlier start", finished, plan->count);
  return STATUS_OK;
}

enum status eval_job_finish(struct eval_plan *plan, struct eval_job *job, json_t *record) {
  job->record = record;
  return lines_append(plan->path, json_incref(record));
}

void eval_plan_release(struct eval_plan *plan) {
  for (int i = 0; i < plan->count; i++) {
    memory_release(plan->jobs[i].label);
    memory_release(plan->jobs[i].identity);
    json_decref(plan->jobs[i].record);
  }
  for (int i = 0; i < plan->model_count; i++)
    memory_release(plan->labels[i]);
  memory_release(plan->labels);
  memory_release(plan->jobs);
  memory_release(plan->path);
}

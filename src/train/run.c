#include "train/run.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "input/keys.h"
#include "io/checkpoint.h"
#include "report/lock.h"
#include "report/report.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

char *run_path(const struct run *run, const char *name) {
  return text_join_path(run->settings->run.directory, name);
}

static bool is_word(const char *value, const char *word) {
  return strcmp(value, word) == 0;
}

/* Did an earlier run leave something that another input must not mix with: a checkpoint or results? A start that failed
 * before them did not. */
static enum status has_results(const struct run *run, bool *found) {
  char *results = run_path(run, "results.json"), *checkpoints = run_path(run, "checkpoints");
  int64_t count = 0;
  const enum status status = checkpoint_count(checkpoints, &count);
  *found = file_exists(results) || count > 0;
  memory_release(results);
  memory_release(checkpoints);
  return status;
}

static enum status compare_with_earlier(const struct run *run) {
  char *used = run_path(run, "used.nml");
  struct text then = {0};
  enum status status = file_exists(used) ? file_read(used, &then) : STATUS_OK;
  if (status == STATUS_OK && then.length > 0)
    status = input_compare_for_resume(run->settings, then.data, report_warning_text);
  text_release(&then);
  memory_release(used);
  return status;
}

static enum status find_checkpoint(struct run *run, int64_t before) {
  char *checkpoints = run_path(run, "checkpoints");
  memory_release(run->checkpoint);
  const enum status status =
      checkpoint_find_newest(checkpoints, before, &run->checkpoint, &run->checkpoint_step, report_warning_text);
  memory_release(checkpoints);
  return status;
}

/* An earlier run here: its input must fit, and its newest checkpoint is where to go on. */
static enum status look_for_earlier(struct run *run) {
  bool found;
  TRY(has_results(run, &found));
  if (!found)
    return STATUS_OK;
  if (is_word(run->settings->run.resume, "no"))
    return error_set(STATUS_INPUT,
                     "run.resume = 'no', but %s holds checkpoints or results of an earlier run: take another "
                     "run.directory, or remove them",
                     run->settings->run.directory);
  TRY(compare_with_earlier(run));
  return find_checkpoint(run, INT64_MAX);
}

/* run.resume names another run's checkpoint, or its directory. */
static enum status look_for_branch(struct run *run) {
  const char *resume = run->settings->run.resume;
  if (run->checkpoint || is_word(resume, "auto") || is_word(resume, "no") || !resume[0])
    return STATUS_OK;
  run->branched = true;
  if (!file_exists(resume))
    return error_set(STATUS_INPUT,
                     "run.resume: %s does not exist; it takes 'auto', 'no', a checkpoint or a run's directory", resume);
  if (!file_is_directory(resume)) {
    run->checkpoint = memory_copy_string(resume, "checkpoint path");
    return STATUS_OK;
  }
  char *checkpoints = text_join_path(resume, "checkpoints");
  enum status status =
      checkpoint_find_newest(checkpoints, INT64_MAX, &run->checkpoint, &run->checkpoint_step, report_warning_text);
  if (status == STATUS_OK && !run->checkpoint)
    status = error_set(STATUS_INPUT, "run.resume: %s holds no checkpoint that verifies", checkpoints);
  memory_release(checkpoints);
  return status;
}

static enum status write_inputs(struct run *run) {
  char *input = run_path(run, "input.nml"), *used = run_path(run, "used.nml");
  enum status status = file_write_atomic(input, run->input.data ? run->input.data : "", run->input.length);
  if (status == STATUS_OK)
    status = file_write_atomic(used, run->used.data, run->used.length);
  memory_release(input);
  memory_release(used);
  return status;
}

static enum status prepare(struct run *run) {
  char *checkpoints = run_path(run, "checkpoints");
  enum status status = file_make_directories(checkpoints);
  memory_release(checkpoints);
  TRY(status);
  TRY(lock_take(run->settings->run.directory, &lock_rules_default, report_warning_text, &run->lock));
  TRY(look_for_earlier(run));
  TRY(look_for_branch(run));
  return write_inputs(run);
}

static void share_checkpoint(struct run *run) {
  int64_t head[3] = {run->checkpoint ? (int64_t)strlen(run->checkpoint) + 1 : 0, run->checkpoint_step, run->branched};
  comm_broadcast(head, sizeof head, 0);
  run->checkpoint_step = head[1];
  run->branched = head[2] != 0;
  if (comm_rank() != 0) {
    memory_release(run->checkpoint);
    run->checkpoint = head[0] > 0 ? memory_allocate((size_t)head[0], "checkpoint path") : NULL;
  }
  if (head[0] > 0)
    comm_broadcast(run->checkpoint, (size_t)head[0], 0);
  const bool own = head[0] > 0 && !run->branched;
  run->step = own ? run->checkpoint_step : 0;
  run->saved_step = own ? run->checkpoint_step : -1;
}

/* A branch starts its own metrics; a run without a checkpoint starts anew. */
static enum status open_report(const struct run *run) {
  return comm_rank() == 0 ? report_open(run->settings->run.directory, run->saved_step, isatty(STDERR_FILENO))
                          : STATUS_OK;
}

/* Rank 0: the newest checkpoint that `check` accepts. */
static enum status pass_over(struct run *run, enum status (*check)(const char *path, void *argument), void *argument) {
  enum status status;
  while ((status = check(run->checkpoint, argument)) != STATUS_OK && !run->branched) {
    char *refusal = memory_copy_string(error_message(), "refusal");
    char *refused = memory_copy_string(run->checkpoint, "checkpoint path");
    const enum status found = find_checkpoint(run, run->checkpoint_step);
    const bool older = found == STATUS_OK && run->checkpoint;
    if (older)
      report_warning("the checkpoint %s does not fit this run and is passed over: %s", refused, refusal);
    else if (found == STATUS_OK)
      error_set(status, "%s", refusal);
    memory_release(refused);
    memory_release(refusal);
    if (!older)
      return found == STATUS_OK ? status : found;
  }
  return status;
}

enum status run_settle_checkpoint(struct run *run, enum status (*check)(const char *path, void *argument),
                                  void *argument) {
  if (!run->checkpoint)
    return STATUS_OK;
  const int64_t before = run->checkpoint_step;
  TRY(comm_agree(comm_rank() == 0 ? pass_over(run, check, argument) : STATUS_OK));
  share_checkpoint(run);
  return run->checkpoint_step == before ? STATUS_OK : comm_agree(open_report(run));
}

bool run_resets(const struct run *run, const char *what) {
  return run->branched && strstr(run->settings->run.resume_reset, what);
}

void run_report_status(const struct run *run, const char *state, enum status status, const char *message) {
  if (comm_rank() != 0)
    return;
  char *name = checkpoint_file_name(run->saved_step), *path = text_join_path("checkpoints", name);
  report_status(state, (int)status, run->step, run->saved_step < 0 ? "" : path, message);
  memory_release(path);
  memory_release(name);
}

static const char *running_directory; /* of the run whose end fatal() tells */

/* By the rank that fails, since the others are about to be killed. Where the directory cannot be written, the message
 * on stderr is all there is. */
static void tell_failure(const char *message) {
  report_failure(running_directory, message);
}

/* The job's own end, which Slurm tells, or the minutes that were asked for. */
static double time_limit(const struct settings *settings) {
  const char *job_end = getenv("SLURM_JOB_END_TIME");
  if (settings->run.time_limit_minutes > 0)
    return clock_seconds() + 60 * settings->run.time_limit_minutes;
  if (!job_end)
    return 0;
  return clock_seconds() + difftime((time_t)strtoll(job_end, NULL, 10), time(NULL));
}

enum status run_open(struct run *run, const struct settings *settings, const char *input_path,
                     const struct text *input) {
  *run = (struct run){.settings = settings,
                      .input_path = input_path,
                      .started = clock_seconds(),
                      .end = time_limit(settings),
                      .saved_step = -1};
  text_append(&run->input, input->data ? input->data : "", input->length);
  input_write_used(settings, &run->used);
  TRY(comm_agree(comm_rank() == 0 ? prepare(run) : STATUS_OK));
  share_checkpoint(run);
  running_directory = settings->run.directory;
  fatal_listen(tell_failure);
  return comm_agree(open_report(run));
}

void run_close(struct run *run) {
  fatal_listen(NULL);
  lock_release(run->lock);
  memory_release(run->checkpoint);
  text_release(&run->input);
  text_release(&run->used);
}

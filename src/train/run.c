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

/* An earlier run here: its input must fit, and its newest checkpoint is where to go on. */
static enum status look_for_earlier(struct run *run) {
  char *used = run_path(run, "used.nml"), *checkpoints = run_path(run, "checkpoints");
  struct text then = {0};
  enum status status = STATUS_OK;
  if (file_exists(used) && !is_word(run->settings->run.resume, "no")) {
    status = file_read(used, &then);
    if (status == STATUS_OK)
      status = input_compare_for_resume(run->settings, then.data ? then.data : "", report_warning_text);
    if (status != STATUS_OK)
      status =
          error_context(status, "%s belongs to another input; name another run.directory, or give the earlier values",
                        run->settings->run.directory);
    if (status == STATUS_OK && file_is_directory(checkpoints))
      status = checkpoint_find_newest(checkpoints, &run->checkpoint, &run->checkpoint_step, report_warning_text);
  }
  text_release(&then);
  memory_release(used);
  memory_release(checkpoints);
  return status;
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
      checkpoint_find_newest(checkpoints, &run->checkpoint, &run->checkpoint_step, report_warning_text);
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
  if (head[0] == 0)
    return;
  if (comm_rank() != 0)
    run->checkpoint = memory_allocate((size_t)head[0], "checkpoint path");
  comm_broadcast(run->checkpoint, (size_t)head[0], 0);
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
  *run = (struct run){
      .settings = settings, .input_path = input_path, .started = clock_seconds(), .end = time_limit(settings)};
  text_append(&run->input, input->data ? input->data : "", input->length);
  input_write_used(settings, &run->used);
  TRY(comm_agree(comm_rank() == 0 ? prepare(run) : STATUS_OK));
  share_checkpoint(run);
  if (comm_rank() == 0) /* a branch starts its own metrics; a run without a checkpoint starts anew */
    TRY(report_open(settings->run.directory, run->checkpoint && !run->branched ? run->checkpoint_step : -1,
                    isatty(STDERR_FILENO)));
  return STATUS_OK;
}

void run_close(struct run *run) {
  lock_release(run->lock);
  memory_release(run->checkpoint);
  text_release(&run->input);
  text_release(&run->used);
}

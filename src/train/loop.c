#include "train/loop.h"
#include "base/clock.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "io/checkpoint.h"
#include "report/report.h"
#include "train/bad_samples.h"
#include "train/choices.h"
#include "train/optimizer.h"
#include "train/record.h"
#include "train/schedule.h"
#include "train/snapshot.h"
#include "train/validate.h"
#include <math.h>

enum { BUCKET_BYTES = 16 << 20 };

struct loop {
  struct session *session;
  const struct objective *objective;
  struct optimizer optimizer;
  struct schedule schedule, value_schedule; /* of the value tables; base 0: that of all */
  struct reducer *reducer;
  struct validation *validation;
  struct snapshot *snapshot;        /* rank 0 */
  struct checkpoint_writer *writer; /* rank 0 */
  struct progress progress;
  int64_t last_checkpoint; /* step */
  double last_checkpoint_time;
  /* since the last report */
  double loss_sum, waiting, reducing, since, norm;
  int64_t steps_since;
  double bad;                  /* samples of all ranks */
  struct device_counts counts; /* inside steps */
  uint64_t allocations;        /* inside steps, on the host, of all threads: none after the first */
  int64_t new_products; /* inside steps, that the device had to choose an algorithm for: none after the warm-up */
  double recent_rate;   /* samples per second, for the progress line */
};

/* What the ranks exchange after every step: sums, then maxima. */
struct step_sums {
  double loss, waiting, reducing, bad, seen, empty;
};

static void open_optimizer(struct loop *loop) {
  const struct session *session = loop->session;
  const struct optim_settings *optim = &session->settings->optim;
  const struct memory_settings *memory = &session->settings->memory;
  loop->optimizer = (struct optimizer){.squares = session->loss + 1,
                                       .beta1 = optim->beta1,
                                       .beta2 = optim->beta2,
                                       .eps = optim->eps,
                                       .weight_decay = optim->weight_decay,
                                       .clip_norm = optim->clip_norm,
                                       .value_clip_norm = memory->value_clip_norm,
                                       .bf16_values = session_keeps_values_in_bf16(session->settings)};
  loop->schedule = (struct schedule){.kind = schedule_kind_of(optim->schedule),
                                     .base = optim->lr,
                                     .warmup = optim->warmup_steps,
                                     .total = session->total_steps,
                                     .cooldown = optim->cooldown_epochs * session->steps_per_epoch,
                                     .cooldown_power = optim->cooldown_power,
                                     .cooldown_end = optim->cooldown_end};
  loop->value_schedule = loop->schedule;
  loop->value_schedule.base = memory->value_lr;
  optimizer_open(&loop->optimizer, session->model);
}

static const char *monitored_metric(const struct session *session) {
  const char *metric = session->settings->early_stop.metric;
  if (strcmp(metric, "auto") != 0)
    return metric;
  return session->teacher ? "val/similarity_mean" : "val/R@1_mean";
}

static enum status restore(struct loop *loop) {
  struct session *session = loop->session;
  const struct run *run = session->run;
  loop->progress = (struct progress){.best = NAN, .last_validation = -1};
  if (!run->checkpoint)
    return STATUS_OK;
  TRY(comm_agree(snapshot_restore(run->checkpoint, session, &loop->progress)));
  report_message("going on from %s at step %lld of %lld", run->checkpoint, (long long)loop->progress.step,
                 (long long)session->total_steps);
  return STATUS_OK;
}

static enum status open_loop(struct loop *loop, struct session *session, const struct objective *objective,
                             bool short_captions) {
  *loop = (struct loop){.session = session, .objective = objective};
  open_optimizer(loop);
  TRY(restore(loop));
  TRY(choices_save(session));
  loop->reducer = reducer_open(session->model, session->ranks, BUCKET_BYTES, session->settings->debug.overlap);
  if (session->val)
    TRY(validation_open(session, short_captions, &loop->validation));
  if (comm_rank() == 0) {
    char *directory = run_path(session->run, "checkpoints");
    loop->snapshot = snapshot_open(session);
    loop->writer = checkpoint_writer_open(directory, (int)session->settings->checkpoint.keep);
    memory_release(directory);
  }
  loop->last_checkpoint = session->run->saved_step;
  loop->last_checkpoint_time = loop->since = clock_seconds();
  loader_seek(session->loader, loop->progress.epoch, loop->progress.epoch_step * session->accumulation,
              session->steps_per_epoch * session->accumulation);
  return STATUS_OK;
}

static void close_loop(struct loop *loop) {
  validation_close(loop->validation);
  optimizer_close(&loop->optimizer);
  reducer_close(loop->reducer);
  if (loop->writer)
    checkpoint_writer_close(loop->writer);
  snapshot_close(loop->snapshot);
}

/* The bad samples of all ranks: the run goes on while their share stays below the limit. */
static enum status check_bad_samples(struct loop *loop, const struct step_sums *sums) {
  if (sums->bad > loop->bad)
    bad_samples_share();
  loop->bad = sums->bad;
  if (sums->empty > 0)
    return error_set(STATUS_INPUT,
                     "no good sample was found for %.0f places of a batch, in 100 tries each: see bad_samples.jsonl in "
                     "the run directory, and whether data.train and data.image name the pictures",
                     sums->empty);
  return bad_samples_check(sums->bad, sums->seen, loop->session->settings->data.bad_sample_limit, "data.train");
}

static void update(struct loop *loop, bool want_norm) {
  struct session *session = loop->session;
  struct device *device = session->device;
  const int64_t step = loop->progress.step;
  if (loop->value_schedule.base > 0)
    loop->optimizer.value_rate = schedule_rate(&loop->value_schedule, step);
  device->op->range_begin(device, "optimizer");
  optimizer_prepare(&loop->optimizer, loop->progress.updates, schedule_rate(&loop->schedule, step));
  if (!session_record(session, &(struct record_key){RECORD_OPTIMIZER, NULL, want_norm, 0}, true)) {
    optimizer_step(&loop->optimizer, want_norm);
    session_submit(session);
  }
  device->op->range_end(device);
}

/* All of a step is enqueued before the host waits for it, once, and looks at what came of it. A loss that is not finite
 * has changed the parameters by then, which nobody saves. */
static enum status run_step(struct loop *loop, struct step_sums *sums) {
  struct session *session = loop->session;
  struct device *device = session->device;
  struct step_timing timing = {0};
  const uint64_t allocations = memory_count_allocations();
  const struct device_counts before = device->counts;
  const int64_t products = choices_count(session);
  const int64_t done = loop->progress.step + 1;
  const bool reports = done % session->settings->run.log_every == 0 || done == session->total_steps;
  device->op->zero(device, session->loss, sizeof *session->loss);
  loop->objective->gradients(loop->objective->state, session, loop->reducer, loop->progress.step, &timing);
  device->op->range_begin(device, "reduce");
  const double reducing = reducer_finish(loop->reducer);
  device->op->range_end(device);
  update(loop, reports);
  if (done < session->total_steps)
    session_fetch_ahead(session, done, 0);
  *sums = (struct step_sums){.waiting = timing.waiting_seconds,
                             .reducing = reducing,
                             .bad = (double)loader_bad_samples(session->loader),
                             .seen = (double)loader_samples(session->loader),
                             .empty = (double)session->rows_without_sample};
  double results[1 + ADAMW_SQUARES];
  device->op->copy_out(device, results, session->loss, (reports ? 1 + ADAMW_SQUARES : 1) * sizeof *results);
  sums->loss = results[0] / loop->objective->loss_factor;
  comm_all_reduce(sums, sizeof *sums / sizeof(double), DTYPE_F64, COMM_SUM);
  TRY(check_bad_samples(loop, sums));
  if (!isfinite(sums->loss))
    return error_set(STATUS_SYSTEM,
                     "the loss is not finite at step %lld: the last checkpoint is intact; lower optim.lr, raise "
                     "warmup_steps or set optim.clip_norm",
                     (long long)loop->progress.step + 1);
  if (reports)
    loop->norm = sqrt(results[1] + results[2]);
  loop->counts.waits += device->counts.waits - before.waits;
  loop->counts.recordings += device->counts.recordings - before.recordings;
  loop->counts.replays += device->counts.replays - before.replays;
  loop->allocations += memory_count_allocations() - allocations;
  loop->counts.allocations += device->counts.allocations - before.allocations;
  loop->new_products += choices_count(session) - products;
  return STATUS_OK;
}

static void advance(struct loop *loop) {
  struct progress *progress = &loop->progress;
  progress->step++;
  progress->updates++;
  progress->samples += loop->session->global_batch;
  if (++progress->epoch_step == loop->session->steps_per_epoch) {
    progress->epoch++;
    progress->epoch_step = 0;
  }
}

static double epoch_of(const struct loop *loop) {
  return (double)loop->progress.epoch + (double)loop->progress.epoch_step / (double)loop->session->steps_per_epoch;
}

static void report_step(struct loop *loop, const struct step_sums *sums) {
  struct session *session = loop->session;
  const double now = clock_seconds(), seconds = fmax(now - loop->since, 1e-9);
  loop->loss_sum += sums->loss;
  loop->waiting += sums->waiting / comm_size();
  loop->reducing += sums->reducing / comm_size();
  loop->steps_since++;
  const double rate = (double)(loop->steps_since * session->global_batch) / seconds;
  report_progress(&(struct report_progress){
      .what = "step",
      .done = loop->progress.step,
      .total = session->total_steps,
      .loss = sums->loss,
      .samples_per_second = loop->steps_since > 2 || loop->recent_rate == 0 ? rate : loop->recent_rate,
      .waiting_share = loop->waiting / seconds});
  if (loop->progress.step % session->settings->run.log_every != 0 && loop->progress.step != session->total_steps)
    return;
  float logit_scale;
  parameter_get(&session->model->parameters, session->model->logit_scale, &logit_scale);
  const struct report_value values[] = {
      {"train/loss", loop->loss_sum / (double)loop->steps_since},
      {"train/lr", schedule_rate(&loop->schedule, loop->progress.step - 1)},
      {"train/grad_norm", loop->norm},
      {"train/logit_scale", exp((double)logit_scale)},
      {"train/samples_per_second", rate},
      {"train/step_seconds", seconds / (double)loop->steps_since},
      {"train/waiting_share", loop->waiting / seconds},
      {"train/communication_share", loop->reducing / seconds},
      {"train/samples", (double)loop->progress.samples},
      {"train/bad_samples", sums->bad},
      {"train/allocations", (double)loop->allocations},
      {"train/device_allocations", (double)loop->counts.allocations},
      {"train/device_waits", (double)loop->counts.waits / (double)loop->steps_since},
      {"train/device_recordings", (double)loop->counts.recordings},
      {"train/device_replays", (double)loop->counts.replays / (double)loop->steps_since},
      {"train/new_products", (double)loop->new_products},
  };
  report_values(loop->progress.step, epoch_of(loop), values, sizeof values / sizeof *values);
  loop->recent_rate = rate;
  loop->loss_sum = loop->waiting = loop->reducing = 0;
  loop->steps_since = 0;
  loop->allocations = 0;
  loop->counts = (struct device_counts){0};
  loop->new_products = 0;
  loop->since = clock_seconds();
}

static bool due(int64_t step, int64_t every) {
  return every > 0 && step % every == 0;
}

static bool epoch_ended(const struct loop *loop, int64_t every) {
  return every > 0 && loop->progress.epoch_step == 0 && loop->progress.epoch % every == 0;
}

static bool is_last(const struct loop *loop) {
  return loop->progress.step >= loop->session->total_steps;
}

/* NaN is worse than anything. */
static bool improves(const struct session *session, double value, double best) {
  const struct early_stop_settings *stop = &session->settings->early_stop;
  if (isnan(value) || isnan(best))
    return !isnan(value);
  return strcmp(stop->mode, "min") == 0 ? value < best - stop->min_delta : value > best + stop->min_delta;
}

static enum status validate(struct loop *loop, bool *improved) {
  struct session *session = loop->session;
  const struct validation_settings *settings = &session->settings->validation;
  const int64_t step = loop->progress.step;
  *improved = false;
  if (!loop->validation ||
      !(due(step, settings->every_steps) || epoch_ended(loop, settings->every_epochs) || is_last(loop)))
    return STATUS_OK;
  session->device->op->range_begin(session->device, "validation");
  const enum status status = validation_run(loop->validation);
  session->device->op->range_end(session->device);
  TRY(status);
  report_values(step, epoch_of(loop), loop->validation->values, loop->validation->value_count);
  const double value = validation_value(loop->validation, monitored_metric(session));
  *improved = improves(session, value, loop->progress.best);
  loop->progress.last_validation = (double)step;
  loop->progress.waits = *improved ? 0 : loop->progress.waits + 1;
  if (*improved) {
    loop->progress.best = value;
    loop->progress.best_step = (double)step;
  }
  report_message("step %lld: %s = %.4f%s", (long long)step, monitored_metric(session), value,
                 *improved ? " (best so far)" : "");
  return STATUS_OK;
}

static bool archived(const struct loop *loop) {
  const struct integer_list *epochs = &loop->session->settings->checkpoint.archive_epochs;
  for (int i = 0; i < epochs->count; i++)
    if (loop->progress.epoch_step == 0 && epochs->items[i] == loop->progress.epoch)
      return true;
  return false;
}

/* Rank 0 decides by its clock; the others learn it with the stop request. */
static bool checkpoint_due(const struct loop *loop) {
  const struct checkpoint_settings *settings = &loop->session->settings->checkpoint;
  return due(loop->progress.step, settings->every_steps) || epoch_ended(loop, settings->every_epochs) ||
         (settings->every_minutes > 0 && clock_seconds() - loop->last_checkpoint_time > 60 * settings->every_minutes);
}

/* The write in progress, if any, has ended well. */
static enum status wait_for_checkpoint(struct loop *loop) {
  struct run *run = loop->session->run;
  if (comm_rank() != 0)
    return STATUS_OK;
  TRY(checkpoint_writer_wait(loop->writer));
  run->longest_checkpoint = fmax(run->longest_checkpoint, checkpoint_writer_last_seconds(loop->writer));
  run->saved_step = loop->last_checkpoint;
  return STATUS_OK;
}

static enum status write_checkpoint(struct loop *loop, bool best) {
  struct run *run = loop->session->run;
  if (comm_rank() != 0)
    return STATUS_OK;
  TRY(wait_for_checkpoint(loop));
  run->step = loop->progress.step;
  run_report_status(run, "running", STATUS_OK, "");
  struct device *device = loop->session->device;
  device->op->range_begin(device, "checkpoint");
  const struct checkpoint_content *content = snapshot_take(loop->snapshot, &loop->progress);
  device->op->range_end(device);
  return checkpoint_writer_submit(loop->writer, content, loop->progress.step, best, archived(loop));
}

static enum status save(struct loop *loop, bool best, bool wait) {
  enum status status = STATUS_OK;
  if (loop->last_checkpoint != loop->progress.step || best)
    status = write_checkpoint(loop, best);
  loop->last_checkpoint = loop->progress.step;
  if (status == STATUS_OK && wait)
    status = wait_for_checkpoint(loop);
  status = comm_agree(status);
  loop->last_checkpoint_time = clock_seconds();
  return status;
}

/* All ranks hear the same: the strongest request, and whether rank 0 wants a checkpoint. */
static enum stop agree_on_stop(struct loop *loop, bool *checkpoint) {
  int64_t words[2] = {run_stop_requested(loop->session->run), comm_rank() == 0 && checkpoint_due(loop)};
  comm_all_reduce(words, 2, DTYPE_I64, COMM_MAX);
  *checkpoint = words[1] != 0;
  return (enum stop)words[0];
}

static bool stopped_early(const struct loop *loop) {
  const int64_t patience = loop->session->settings->early_stop.patience;
  return patience > 0 && loop->progress.waits >= (double)patience;
}

/* Where the result lies, and how long this start took. */
static void tell_end(const struct loop *loop, double start) {
  char *name = checkpoint_file_name(loop->progress.step), time[32];
  clock_format_duration(clock_seconds() - start, time);
  report_message("done: %lld steps, this start took %s; %s/checkpoints/%s", (long long)loop->progress.step, time,
                 loop->session->settings->run.directory, name);
  memory_release(name);
}

static enum status run_steps(struct loop *loop) {
  const struct session *session = loop->session;
  const double start = clock_seconds();
  while (!is_last(loop) && !stopped_early(loop)) {
    struct step_sums sums;
    bool best, checkpoint;
    session->device->op->range_begin(session->device, "step");
    const enum status status = run_step(loop, &sums);
    session->device->op->range_end(session->device);
    TRY(status);
    advance(loop);
    report_step(loop, &sums);
    TRY(validate(loop, &best));
    const enum stop stop = agree_on_stop(loop, &checkpoint);
    const bool last = is_last(loop) || stopped_early(loop) || stop != STOP_NONE;
    if (best || checkpoint || last)
      TRY(save(loop, best, last));
    if (stop != STOP_NONE && !is_last(loop)) {
      report_message("stopped at step %lld of %lld %s", (long long)loop->progress.step, (long long)session->total_steps,
                     stop == STOP_USER ? "by the user" : "at a time limit or signal; start again to go on");
      return stop == STOP_USER ? STATUS_STOPPED : STATUS_REQUEUE;
    }
  }
  if (stopped_early(loop))
    report_message("stopped early: %s has not improved for %lld validations; best %.4f at step %.0f",
                   monitored_metric(session), (long long)session->settings->early_stop.patience, loop->progress.best,
                   loop->progress.best_step);
  tell_end(loop, start);
  return STATUS_OK;
}

enum status train_loop(struct session *session, const struct objective *objective, bool short_captions) {
  struct loop loop;
  enum status status = open_loop(&loop, session, objective, short_captions);
  if (status == STATUS_OK && (is_last(&loop) || stopped_early(&loop)))
    report_message("this run is complete: %lld of %lld steps", (long long)loop.progress.step,
                   (long long)session->total_steps);
  else if (status == STATUS_OK)
    status = run_steps(&loop);
  report_progress_end();
  session->run->step = loop.progress.step;
  close_loop(&loop);
  return status;
}

/* Evaluation: features of both towers over all ranks, retrieval metrics, results.json and features files, for one or
 * several checkpoints, with their own text tower or the teacher's. */
#include "stage/stage.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "report/report.h"
#include "stage/eval_job.h"
#include "stage/eval_usage.h"
#include "train/bad_samples.h"
#include "train/encode.h"
#include <math.h>
#include <stdio.h>

struct evaluation {
  struct session *session;
  struct eval_set *sets;
  int set_count;
  struct eval_plan plan;
  struct eval_features *teacher; /* [set_count], filled when first needed */
  int opened;                    /* number of the checkpoint in session->model; -1: none */
  char *weights_crc;             /* of it */
};

struct job_result { /* what a job measured */
  struct measure_list measures;
  double images_per_second, similarity;
  int64_t bad;
};

static enum status encode_set_images(const struct evaluation *evaluation, struct model *model,
                                     const struct eval_set *set, struct usage *usage, float **images, int64_t *bad) {
  const struct encode_request request = {.session = evaluation->session,
                                         .model = model,
                                         .source = set->source,
                                         .batch = (int)evaluation->session->settings->eval.batch_size,
                                         .progress = true,
                                         .bad_sample = bad_samples_note,
                                         .run = evaluation->session->run,
                                         .watch = usage ? usage_watch(usage) : NULL};
  *images = memory_allocate((size_t)(set->image_count * model->config.embed_dim) * sizeof **images, "image features");
  TRY(encode_images(&request, *images, NULL, bad));
  return bad_samples_check((double)*bad, (double)set->image_count, evaluation->session->settings->data.bad_sample_limit,
                           set->name);
}

static enum status open_teacher(struct session *session) {
  const struct teacher_settings *teacher = &session->settings->teacher;
  if (session->teacher)
    return STATUS_OK;
  return session_open_model(
      session,
      &(struct model_request){
          .config = teacher->config, .weights = teacher->weights, .activation = teacher->activation, .what = "teacher"},
      &session->teacher);
}

/* The teacher's images, and its texts too when they are asked for, once per set. */
static enum status encode_teacher(struct evaluation *evaluation, int set_number, bool texts) {
  struct eval_features *features = &evaluation->teacher[set_number];
  struct eval_set *set = &evaluation->sets[set_number];
  struct session *session = evaluation->session;
  int64_t bad = 0;
  TRY(open_teacher(session));
  features->width = session->teacher->config.embed_dim;
  if (!features->images)
    TRY(encode_set_images(evaluation, session->teacher, set, NULL, &features->images, &bad));
  if (texts && !features->texts)
    TRY(eval_set_encode_texts(set, session, session->teacher, features));
  return STATUS_OK;
}

/* Mean cosine of two sets of unit rows. */
static double similarity(const float *a, const float *b, int64_t count, int64_t width) {
  double sum = 0;
  for (int64_t i = 0; i < count * width; i++)
    sum += (double)a[i] * (double)b[i];
  return sum / (double)count;
}

static void put_number(json_t *values, const char *name, double value) {
  json_object_set_new(values, name, isfinite(value) ? json_real(value) : json_null());
}

static void put_measure(json_t *values, const struct measure *measure) {
  char *low = text_format("%s_low", measure->name), *high = text_format("%s_high", measure->name),
       *count = text_format("%s_count", measure->name);
  put_number(values, measure->name, measure->value);
  put_number(values, low, measure->interval.low);
  put_number(values, high, measure->interval.high);
  if (measure->by_length || measure->by_truncation)
    json_object_set_new(values, count, json_integer(measure->count));
  memory_release(low);
  memory_release(high);
  memory_release(count);
}

static void put_model(json_t *values, const struct model *model) {
  const struct clip_config *config = &model->config;
  const bool pooled = model->switches.pooled_last_block;
  json_object_set_new(values, "parameters", json_integer(parameters_count_elements(&model->parameters, false)));
  put_number(values, "image_gflop", 1e-9 * config_flops_image(config, pooled));
  put_number(values, "text_gflop", 1e-9 * config_flops_text(config, config->context_length, pooled));
  json_object_set_new(values, "epoch", json_integer(0)); /* as the thesis's evaluators write it */
}

static json_t *make_record(const struct evaluation *evaluation, const struct eval_job *job,
                           const struct job_result *result) {
  const struct eval_set *set = job->set;
  json_t *values = json_object();
  put_model(values, evaluation->session->model);
  for (int i = 0; i < result->measures.count; i++)
    put_measure(values, &result->measures.items[i]);
  json_object_set_new(values, "num_image_samples", json_integer(set->image_count));
  json_object_set_new(values, "num_text_samples", json_integer(set->text_count));
  put_number(values, "images_per_second", result->images_per_second);
  put_number(values, "similarity_to_teacher", result->similarity);
  json_object_set_new(values, "bad_images", json_integer(result->bad));
  json_object_set_new(values, "bad_texts", json_integer(set->bad_texts));
  json_object_set_new(values, "truncated_texts", json_integer(set->truncated));
  json_object_set_new(values, "images_in_training",
                      set->in_training < 0 ? json_null() : json_integer(set->in_training));
  return json_pack("{s:s, s:s, s:s, s:s, s:o}", "label", job->label, "set", set->name, "identity", job->identity,
                   "protocol", evaluation->session->settings->eval.protocol, "values", values);
}

static enum status save_features(const struct evaluation *evaluation, const struct eval_job *job,
                                 const struct eval_features *features) {
  const struct settings *settings = evaluation->session->settings;
  char *name = text_format("features/%s.%s.h5", job->set->name, job->label),
       *path = run_path(evaluation->session->run, name), *directory = run_path(evaluation->session->run, "features"),
       *npy_name = text_format("npy/%s.%s", job->set->name, job->label),
       *npy = run_path(evaluation->session->run, npy_name);
  const struct eval_origin origin = {.label = job->label,
                                     .text = job->teacher_text ? "teacher" : "own",
                                     .protocol = settings->eval.protocol,
                                     .checkpoint = eval_plan_weights(settings, job->checkpoint),
                                     .weights_crc = evaluation->weights_crc};
  enum status status = STATUS_OK;
  if (settings->eval.save_features) {
    status = file_make_directories(directory);
    if (status == STATUS_OK)
      status = eval_set_write_features(path, job->set, features, &origin);
  }
  if (status == STATUS_OK && settings->eval.save_npy)
    status = eval_set_write_npy(npy, job->set, features);
  char *names[] = {name, path, directory, npy_name, npy};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    memory_release(names[i]);
  return status;
}

static void tell(const struct eval_job *job, const struct job_result *result) {
  report_message("%s of %s: text to image R@1 %.1f %%, image to text R@1 %.1f %%; %.0f images/s", job->set->name,
                 job->label, 100 * measure_find(&result->measures, "text_to_image_R@1")->value,
                 100 * measure_find(&result->measures, "image_to_text_R@1")->value, result->images_per_second);
}

/* Measures with images and texts that are there, and keeps what came out. */
static enum status finish_job(struct evaluation *evaluation, struct eval_job *job, const struct eval_features *features,
                              struct job_result *result) {
  eval_set_measure(job->set, features, &result->measures);
  enum status status = STATUS_OK;
  if (comm_rank() == 0) {
    tell(job, result);
    status = save_features(evaluation, job, features);
    if (status == STATUS_OK)
      status = eval_job_finish(&evaluation->plan, job, make_record(evaluation, job, result));
    if (status == STATUS_OK)
      status = eval_write_results(evaluation->session, &evaluation->plan);
  }
  measure_release(&result->measures);
  job->done = true;
  return comm_agree(status);
}

static enum status check_widths(const struct session *session) {
  const int own = session->model->config.embed_dim, teacher = session->teacher->config.embed_dim;
  return own == teacher
             ? STATUS_OK
             : error_set(STATUS_INPUT, "eval.text='teacher': the teacher's embeddings have %d values, the model's %d",
                         teacher, own);
}

/* Texts of a job: the model's own, or the teacher's; `own` is what the model's tower made. */
static enum status run_job(struct evaluation *evaluation, struct eval_job *job, struct eval_features *own,
                           struct job_result *result) {
  struct session *session = evaluation->session;
  struct eval_set *set = &evaluation->sets[job->set_number];
  struct eval_features *teacher = &evaluation->teacher[job->set_number];
  const struct model *model = session->model;
  if (job->teacher_text)
    TRY(check_widths(session));
  else if (!own->texts)
    TRY(eval_set_encode_texts(set, session, session->model, own));
  const struct model *text_model = job->teacher_text ? session->teacher : model;
  eval_set_tokenize(set, session, text_model->config.context_length); /* the lengths that belong to these texts */
  const struct eval_features features = {.images = own->images,
                                         .texts = job->teacher_text ? teacher->texts : own->texts,
                                         .negatives = job->teacher_text ? teacher->negatives : own->negatives,
                                         .width = model->config.embed_dim};
  return finish_job(evaluation, job, &features, result);
}

static bool is_pending(const struct evaluation *evaluation, int checkpoint, int set, bool *teacher_text) {
  bool pending = false;
  *teacher_text = false;
  for (int i = 0; i < evaluation->plan.count; i++) {
    const struct eval_job *job = &evaluation->plan.jobs[i];
    if (job->checkpoint != checkpoint || (set >= 0 && job->set_number != set) || job->done)
      continue;
    pending = true;
    *teacher_text |= job->teacher_text;
  }
  return pending;
}

/* Images of one set by the model in use, then every text tower that is asked for. */
static enum status run_set(struct evaluation *evaluation, int checkpoint, int set_number, struct eval_features *own) {
  struct session *session = evaluation->session;
  const struct settings *settings = session->settings;
  struct eval_set *set = &evaluation->sets[set_number];
  bool teacher_text;
  struct job_result result = {.similarity = NAN};
  if (!is_pending(evaluation, checkpoint, set_number, &teacher_text))
    return STATUS_OK;
  if (settings->teacher.weights[0])
    TRY(encode_teacher(evaluation, set_number, teacher_text));
  struct usage *usage = settings->eval.memory_usage ? usage_open(session, session->model) : NULL;
  const double start = clock_seconds();
  enum status status = encode_set_images(evaluation, session->model, set, usage, &own->images, &result.bad);
  result.images_per_second = (double)set->image_count / fmax(clock_seconds() - start, 1e-6);
  if (status == STATUS_OK && usage)
    status = usage_write(usage, set, evaluation->plan.labels[checkpoint], eval_plan_weights(settings, checkpoint));
  usage_close(usage);
  TRY(status);
  own->width = session->model->config.embed_dim;
  if (session->teacher && evaluation->teacher[set_number].width == own->width)
    result.similarity = similarity(evaluation->teacher[set_number].images, own->images, set->image_count, own->width);
  for (int i = 0; i < evaluation->plan.count; i++) {
    struct eval_job *job = &evaluation->plan.jobs[i];
    if (job->checkpoint == checkpoint && job->set_number == set_number && !job->done)
      TRY(run_job(evaluation, job, own, &result));
  }
  return STATUS_OK;
}

/* CRC-32C of all parameters as fp32, in their order: which weights a features file is of. */
static char *checksum_model(struct model *model) {
  struct parameters *list = &model->parameters;
  uint32_t checksum = 0;
  for (int i = 0; i < list->count; i++) {
    const size_t bytes = (size_t)list->items[i]->count * sizeof(float);
    float *values = memory_allocate(bytes + sizeof(float), "weights being checked");
    parameter_get(list, list->items[i], values);
    checksum = checksum_crc32c(checksum, values, bytes);
    memory_release(values);
  }
  return text_format("%08x", checksum);
}

static enum status open_model(struct evaluation *evaluation, int checkpoint) {
  struct session *session = evaluation->session;
  const struct settings *settings = session->settings;
  if (evaluation->opened == checkpoint)
    return STATUS_OK;
  model_release(session->model);
  session->model = NULL;
  evaluation->opened = -1;
  TRY(session_open_model(session,
                         &(struct model_request){.config = settings->model.config,
                                                 .weights = eval_plan_weights(settings, checkpoint),
                                                 .activation = settings->model.activation,
                                                 .what = "model",
                                                 .with_memory = true},
                         &session->model));
  memory_release(evaluation->weights_crc);
  evaluation->weights_crc = checksum_model(session->model);
  evaluation->opened = checkpoint;
  return session->tokenizer ? session_check_tokenizer(session) : session_open_tokenizer(session);
}

static enum status run_model(struct evaluation *evaluation, int checkpoint) {
  bool teacher_text;
  if (!is_pending(evaluation, checkpoint, -1, &teacher_text))
    return STATUS_OK;
  TRY(open_model(evaluation, checkpoint));
  for (int set = 0; set < evaluation->set_count; set++) {
    struct eval_features own = {0};
    enum status status = run_set(evaluation, checkpoint, set, &own);
    eval_features_release(&own);
    TRY(status);
  }
  return STATUS_OK;
}

static enum status run_all(struct evaluation *evaluation) {
  enum status status = eval_plan_resume(&evaluation->plan, evaluation->session);
  for (int i = 0; status == STATUS_OK && i < evaluation->plan.model_count; i++)
    status = run_model(evaluation, i);
  report_progress_end();
  if (status == STATUS_REQUEUE || status == STATUS_STOPPED)
    report_message("stopped %s; what is finished is kept, start again to go on",
                   status == STATUS_STOPPED ? "by the user" : "at a time limit or signal");
  if (status != STATUS_OK || comm_rank() != 0)
    return status;
  TRY(eval_write_results(evaluation->session, &evaluation->plan));
  struct text table = {0};
  eval_table_write(&evaluation->plan, &table);
  fputs(table.data ? table.data : "", stdout);
  text_release(&table);
  return STATUS_OK;
}

static enum status open_all(struct evaluation *evaluation) {
  struct session *session = evaluation->session;
  TRY(eval_plan_label(session->settings, &evaluation->plan));
  TRY(session_open_device(session));
  TRY(open_model(evaluation, 0));
  TRY(eval_sets_open(session, &evaluation->sets, &evaluation->set_count));
  eval_plan_make(session, evaluation->sets, evaluation->set_count, &evaluation->plan);
  evaluation->teacher =
      memory_allocate((size_t)evaluation->set_count * sizeof *evaluation->teacher, "teacher features");
  return STATUS_OK;
}

static void close_all(struct evaluation *evaluation) {
  for (int i = 0; i < evaluation->set_count; i++) {
    if (evaluation->teacher)
      eval_features_release(&evaluation->teacher[i]);
    eval_set_close(&evaluation->sets[i]);
  }
  memory_release(evaluation->teacher);
  memory_release(evaluation->sets);
  memory_release(evaluation->weights_crc);
  eval_plan_release(&evaluation->plan);
}

enum status stage_eval(struct session *session, bool check) {
  struct evaluation evaluation = {.session = session, .opened = -1};
  enum status status = open_all(&evaluation);
  if (status == STATUS_OK && check) {
    for (int i = 0; i < evaluation.set_count && comm_rank() == 0; i++)
      printf("%-17s %lld images, %lld texts\n", evaluation.sets[i].name, (long long)evaluation.sets[i].image_count,
             (long long)evaluation.sets[i].text_count);
    for (int i = 0; i < evaluation.plan.count && comm_rank() == 0; i++)
      printf("evaluation        %s of %s\n", evaluation.plan.jobs[i].set->name, evaluation.plan.jobs[i].label);
  } else if (status == STATUS_OK) {
    status = run_all(&evaluation);
  }
  report_progress_end();
  close_all(&evaluation);
  return status;
}

/* Evaluation: features of both towers over all ranks, retrieval metrics, results.json and features files, for one or
 * several checkpoints. */
#include "stage/stage.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "report/report.h"
#include "stage/eval_table.h"
#include "train/encode.h"
#include "train/plan.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct evaluation {
  struct session *session;
  struct eval_set *sets;
  int set_count;
  json_t *results;        /* rank 0 */
  float **teacher_images; /* per set: unit features of the teacher, NULL without one */
  struct eval_row *rows;
  int row_count;
};

static const char *label_of(const struct settings *settings, int checkpoint) {
  return checkpoint < settings->eval.labels.count ? settings->eval.labels.items[checkpoint] : "model";
}

/* With one checkpoint the keys are the thesis's; with several the label comes first. */
static void put(struct evaluation *evaluation, const char *label, const char *set, const char *name, double value) {
  const bool several = evaluation->session->settings->eval.checkpoints.count > 1;
  if (comm_rank() != 0)
    return;
  char *key = set ? text_format("%s%sretrieval_%s_%s", several ? label : "", several ? "." : "", set, name)
                  : text_format("%s%s%s", several ? label : "", several ? "." : "", name);
  json_object_set_new(evaluation->results, key, isfinite(value) ? json_real(value) : json_null());
  memory_release(key);
}

static void put_measures(struct evaluation *evaluation, const char *label, const struct eval_set *set,
                         const struct measure_list *list) {
  for (int i = 0; i < list->count; i++) {
    const struct measure *measure = &list->items[i];
    put(evaluation, label, set->name, measure->name, measure->value);
    if (measure->rank)
      continue;
    char *low = text_format("%s_low", measure->name), *high = text_format("%s_high", measure->name);
    put(evaluation, label, set->name, low, measure->interval.low);
    put(evaluation, label, set->name, high, measure->interval.high);
    memory_release(low);
    memory_release(high);
  }
  put(evaluation, label, set->name, "num_image_samples", (double)set->image_count);
  put(evaluation, label, set->name, "num_text_samples", (double)set->text_count);
}

/* Mean cosine of the image features to the teacher's. */
static double similarity(const struct evaluation *evaluation, int set, const float *images) {
  const int64_t count = evaluation->sets[set].image_count, width = evaluation->session->model->config.embed_dim;
  const float *teacher = evaluation->teacher_images[set];
  double sum = 0;
  for (int64_t i = 0; i < count * width; i++)
    sum += (double)teacher[i] * (double)images[i];
  return sum / (double)count;
}

static enum status save_features(struct evaluation *evaluation, const char *label, const struct eval_set *set,
                                 const struct eval_features *features) {
  if (comm_rank() != 0 || !evaluation->session->settings->eval.save_features)
    return STATUS_OK;
  char *name = text_format("features/%s.%s.h5", set->name, label), *path = run_path(evaluation->session->run, name),
       *directory = run_path(evaluation->session->run, "features");
  enum status status = file_make_directories(directory);
  if (status == STATUS_OK)
    status = eval_set_write_features(path, set, features, label, evaluation->session->model->config.embed_dim);
  memory_release(name);
  memory_release(path);
  memory_release(directory);
  return status;
}

/* Encodes, measures and keeps one set with the session's model. */
static enum status measure_set(struct evaluation *evaluation, const char *label, int number,
                               struct eval_features *features, struct eval_row *row) {
  struct session *session = evaluation->session;
  struct eval_set *set = &evaluation->sets[number];
  const int64_t width = session->model->config.embed_dim;
  const struct encode_request request = {.session = session,
                                         .model = session->model,
                                         .source = set->source,
                                         .batch = (int)session->settings->eval.batch_size,
                                         .progress = true,
                                         .bad_sample = report_bad_sample};
  int64_t bad = 0;
  const double start = clock_seconds();
  TRY(eval_set_tokenize(set, session));
  TRY(encode_images(&request, features->images, NULL, &bad));
  row->images_per_second = (double)set->image_count / (clock_seconds() - start);
  encode_texts(&request, set->ids, set->end, set->text_count, features->texts);
  if (set->negative_count)
    encode_texts(&request, set->negative_ids, set->negative_end, set->negative_count, features->negatives);
  if (comm_rank() == 0)
    eval_set_measure(set, features, width, &row->measures);
  if (evaluation->teacher_images[number])
    row->similarity = similarity(evaluation, number, features->images);
  put_measures(evaluation, label, set, &row->measures);
  put(evaluation, label, set->name, "images_per_second", row->images_per_second);
  put(evaluation, label, set->name, "similarity_to_teacher", row->similarity);
  put(evaluation, label, set->name, "bad_images", (double)bad);
  put(evaluation, label, set->name, "truncated_texts", (double)set->truncated);
  return save_features(evaluation, label, set, features);
}

static enum status evaluate_set(struct evaluation *evaluation, const char *label, int number) {
  const struct model *model = evaluation->session->model;
  const struct eval_set *set = &evaluation->sets[number];
  struct eval_row *row = &evaluation->rows[evaluation->row_count++];
  struct eval_features features;
  *row = (struct eval_row){.label = label,
                           .set = set->name,
                           .parameters = (double)parameters_count_elements(&model->parameters, false),
                           .image_gflop = 1e-9 * config_flops_image(&model->config, model->switches.pooled_last_block),
                           .similarity = NAN,
                           .images = set->image_count,
                           .texts = set->text_count};
  eval_features_allocate(&features, set, model->config.embed_dim);
  enum status status = comm_agree(measure_set(evaluation, label, number, &features, row));
  eval_features_release(&features);
  return status;
}

static enum status open_model(struct session *session, const char *weights, const char *activation) {
  const struct settings *settings = session->settings;
  return session_open_model(session,
                            &(struct model_request){.config = settings->model.config,
                                                    .weights = weights,
                                                    .activation = activation,
                                                    .what = "model",
                                                    .with_memory = true},
                            &session->model);
}

static void put_model(struct evaluation *evaluation, const char *label) {
  const struct model *model = evaluation->session->model;
  put(evaluation, label, NULL, "parameters", (double)parameters_count_elements(&model->parameters, false));
  put(evaluation, label, NULL, "image_gflop",
      1e-9 * config_flops_image(&model->config, model->switches.pooled_last_block));
  put(evaluation, label, NULL, "text_gflop",
      1e-9 * config_flops_text(&model->config, model->config.context_length, model->switches.pooled_last_block));
}

static enum status evaluate_model(struct evaluation *evaluation, const char *weights, const char *label, bool first) {
  struct session *session = evaluation->session;
  if (!first) {
    model_release(session->model);
    session->model = NULL;
    TRY(open_model(session, weights, session->settings->model.activation));
  }
  put_model(evaluation, label);
  for (int set = 0; set < evaluation->set_count; set++)
    TRY(evaluate_set(evaluation, label, set));
  return STATUS_OK;
}

/* The teacher's image features, once per set. */
static enum status encode_teacher(struct evaluation *evaluation) {
  struct session *session = evaluation->session;
  const struct teacher_settings *teacher = &session->settings->teacher;
  evaluation->teacher_images =
      memory_allocate((size_t)(evaluation->set_count + 1) * sizeof *evaluation->teacher_images, "teacher features");
  if (!teacher->weights[0])
    return STATUS_OK;
  TRY(session_open_model(
      session,
      &(struct model_request){
          .config = teacher->config, .weights = teacher->weights, .activation = teacher->activation, .what = "teacher"},
      &session->teacher));
  if (session->teacher->config.embed_dim != session->model->config.embed_dim ||
      session->teacher->config.image_height != session->model->config.image_height)
    return error_set(STATUS_INPUT, "teacher.weights: its embeddings or images have another size than the model's: "
                                   "similarity to the teacher is not defined");
  for (int set = 0; set < evaluation->set_count; set++) {
    struct encode_request request = {.session = session,
                                     .model = session->teacher,
                                     .source = evaluation->sets[set].source,
                                     .batch = (int)session->settings->eval.batch_size,
                                     .progress = true};
    int64_t bad = 0;
    evaluation->teacher_images[set] =
        memory_allocate((size_t)(evaluation->sets[set].image_count * session->model->config.embed_dim) * sizeof(float),
                        "teacher features");
    TRY(encode_images(&request, evaluation->teacher_images[set], NULL, &bad));
  }
  return STATUS_OK;
}

static enum status write_results(struct evaluation *evaluation) {
  char *path = run_path(evaluation->session->run, "results.json"),
       *table_path = run_path(evaluation->session->run, "results.txt");
  char *json = json_dumps(evaluation->results, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
  struct text table = {0};
  eval_table_write(evaluation->rows, evaluation->row_count, &table);
  report_progress_end();
  fputs(table.data, stdout);
  enum status status = file_write_atomic(path, json, strlen(json));
  if (status == STATUS_OK)
    status = file_write_atomic(table_path, table.data, table.length);
  free(json);
  text_release(&table);
  memory_release(path);
  memory_release(table_path);
  return status;
}

static enum status evaluate_all(struct evaluation *evaluation) {
  struct session *session = evaluation->session;
  const struct eval_settings *eval = &session->settings->eval;
  const int models = eval->checkpoints.count > 0 ? eval->checkpoints.count : 1;
  evaluation->rows =
      memory_allocate((size_t)(models * evaluation->set_count + 1) * sizeof *evaluation->rows, "evaluation rows");
  TRY(encode_teacher(evaluation));
  for (int i = 0; i < models; i++)
    TRY(evaluate_model(evaluation,
                       eval->checkpoints.count ? eval->checkpoints.items[i] : session->settings->model.weights,
                       label_of(session->settings, i), i == 0));
  return comm_agree(comm_rank() == 0 ? write_results(evaluation) : STATUS_OK);
}

static void close_evaluation(struct evaluation *evaluation) {
  for (int i = 0; i < evaluation->set_count; i++) {
    if (evaluation->teacher_images)
      memory_release(evaluation->teacher_images[i]);
    eval_set_close(&evaluation->sets[i]);
  }
  memory_release(evaluation->teacher_images);
  for (int i = 0; i < evaluation->row_count; i++)
    measure_release(&evaluation->rows[i].measures);
  memory_release(evaluation->rows);
  memory_release(evaluation->sets);
  json_decref(evaluation->results);
}

enum status stage_eval(struct session *session, bool check) {
  const struct settings *settings = session->settings;
  struct evaluation evaluation = {.session = session, .results = json_object()};
  if (settings->eval.labels.count > 0 && settings->eval.labels.count < settings->eval.checkpoints.count)
    return error_set(STATUS_INPUT, "eval.labels names %d of %d checkpoints", settings->eval.labels.count,
                     settings->eval.checkpoints.count);
  if (settings->eval.labels.count == 0 && settings->eval.checkpoints.count > 1)
    return error_set(STATUS_INPUT, "eval.labels: with several checkpoints each needs a label");
  TRY(session_open_device(session));
  TRY(open_model(session,
                 settings->eval.checkpoints.count ? settings->eval.checkpoints.items[0] : settings->model.weights,
                 settings->model.activation));
  TRY(session_open_tokenizer(session));
  enum status status = eval_sets_open(session, &evaluation.sets, &evaluation.set_count);
  if (status == STATUS_OK && check)
    for (int i = 0; i < evaluation.set_count && comm_rank() == 0; i++)
      printf("%-17s %lld images, %lld texts\n", evaluation.sets[i].name, (long long)evaluation.sets[i].image_count,
             (long long)evaluation.sets[i].text_count);
  else if (status == STATUS_OK)
    status = evaluate_all(&evaluation);
  report_progress_end();
  close_evaluation(&evaluation);
  return status;
}

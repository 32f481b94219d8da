#include "train/validate.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "data/captions.h"
#include "metric/metric.h"
#include "train/bad_samples.h"
#include "train/encode.h"
#include <math.h>
#include <string.h>

/* What a retrieval reports, below val/ and a prefix; the first index is text to image. */
enum { RETRIEVAL_VALUES = 5 };
struct retrieval_names {
  const char *ranks[2][RETRIEVAL_VALUES], *mean;
};
#define DIRECTION_NAMES(prefix)                                                                                        \
  {                                                                                                                    \
    "val/" prefix "R@1", "val/" prefix "R@5", "val/" prefix "R@10", "val/" prefix "mean_rank",                         \
        "val/" prefix "median_rank"                                                                                    \
  }
#define RETRIEVAL_NAMES(prefix)                                                                                        \
  { {DIRECTION_NAMES(prefix "image_to_text_"), DIRECTION_NAMES(prefix "text_to_image_")}, "val/" prefix "R@1_mean" }
static const struct retrieval_names own_names = RETRIEVAL_NAMES(""), short_names = RETRIEVAL_NAMES("short_"),
                                    teacher_names = RETRIEVAL_NAMES("teacher_"),
                                    student_text_names = RETRIEVAL_NAMES("student_text_");

static void put(struct validation *validation, const char *name, double value) {
  if (validation->value_count < VALIDATION_VALUES_MAX)
    validation->values[validation->value_count++] = (struct report_value){name, value};
}

double validation_value(const struct validation *validation, const char *name) {
  for (int i = 0; i < validation->value_count; i++)
    if (strcmp(validation->values[i].name, name) == 0)
      return validation->values[i].value;
  return NAN;
}

/* A caption that one rank alone cannot read is bad on all: they count alike. */
static void agree_on_good(const struct validation *validation) {
  int32_t *bad = memory_allocate((size_t)validation->count * sizeof *bad, "bad captions");
  for (int64_t i = 0; i < validation->count; i++)
    bad[i] = !validation->good[i];
  comm_all_reduce(bad, (size_t)validation->count, DTYPE_I32, COMM_MAX);
  for (int64_t i = 0; i < validation->count; i++)
    validation->good[i] = !bad[i];
  memory_release(bad);
}

static void read_captions(struct validation *validation) {
  struct session *session = validation->session;
  const int context = session->model->config.context_length;
  struct tokenizer_scratch *scratch = tokenizer_scratch_new();
  struct text caption = {0};
  for (int64_t i = 0; i < validation->count; i++) {
    text_clear(&caption);
    text_append_string(&caption, "");
    validation->good[i] = source_read(session->val, i, NULL, &caption) == STATUS_OK;
    if (!validation->good[i]) {
      bad_samples_note_failure(session->val, i);
      continue;
    }
    tokenizer_encode(session->tokenizer, scratch, caption.data, context, validation->ids + i * context,
                     validation->end + i);
    if (!validation->short_captions)
      continue;
    caption_shorten(&caption);
    tokenizer_encode(session->tokenizer, scratch, caption.data, context, validation->short_ids + i * context,
                     validation->short_end + i);
  }
  text_release(&caption);
  tokenizer_scratch_release(scratch);
  agree_on_good(validation);
}

/* Moves the rows of good samples together. */
static void keep_good(const struct validation *validation, void *rows, size_t row_bytes) {
  const int64_t samples = source_count(validation->session->val);
  char *to = rows;
  for (int64_t i = 0; rows && i < samples; i++)
    if (validation->good[i]) {
      memmove(to, (char *)rows + (size_t)i * row_bytes, row_bytes);
      to += row_bytes;
    }
}

/* The first look at the images: whatever is bad is left out from here on. */
static enum status settle_good(struct validation *validation, const bool *readable) {
  const struct session *session = validation->session;
  const size_t context = (size_t)session->model->config.context_length * sizeof(int32_t);
  const int64_t samples = validation->count;
  validation->count = 0;
  for (int64_t i = 0; i < samples; i++) {
    validation->good[i] = validation->good[i] && readable[i];
    validation->count += validation->good[i];
  }
  validation->bad = samples - validation->count;
  keep_good(validation, validation->ids, context);
  keep_good(validation, validation->end, sizeof(int32_t));
  keep_good(validation, validation->short_ids, context);
  keep_good(validation, validation->short_end, sizeof(int32_t));
  if (validation->bad > 0)
    report_warning("data.val: %lld of %lld samples are bad and left out: see bad_samples.jsonl",
                   (long long)validation->bad, (long long)samples);
  TRY(bad_samples_check((double)validation->bad, (double)samples, session->settings->data.bad_sample_limit,
                        "data.val"));
  return validation->count > 0 ? STATUS_OK : error_set(STATUS_INPUT, "data.val: every sample is bad");
}

/* Features of the good samples' images; raw may be NULL. */
static enum status encode_good(struct validation *validation, struct encode_request request, float *unit, float *raw) {
  const size_t row = (size_t)request.model->config.embed_dim * sizeof *unit;
  const int64_t samples = source_count(validation->session->val);
  int64_t bad = 0;
  bool *readable = memory_allocate((size_t)samples * sizeof *readable, "readable images");
  request.readable = readable;
  request.bad_sample = validation->bad < 0 ? bad_samples_note : NULL;
  enum status status = encode_images(&request, unit, raw, &bad);
  if (status == STATUS_OK && validation->bad < 0)
    status = settle_good(validation, readable);
  keep_good(validation, unit, row);
  keep_good(validation, raw, row);
  memory_release(readable);
  return status;
}

enum status validation_open(struct session *session, bool short_captions, struct validation **out) {
  struct validation *validation = memory_allocate(sizeof *validation, "validation");
  const size_t context = (size_t)session->model->config.context_length;
  *validation = (struct validation){
      .session = session, .count = source_count(session->val), .bad = -1, .short_captions = short_captions};
  const size_t count = (size_t)validation->count;
  validation->good = memory_allocate(count * sizeof *validation->good, "good samples");
  validation->ids = memory_allocate(count * context * sizeof(int32_t), "validation ids");
  validation->end = memory_allocate(count * sizeof(int32_t), "validation ids");
  if (short_captions) {
    validation->short_ids = memory_allocate(count * context * sizeof(int32_t), "validation ids");
    validation->short_end = memory_allocate(count * sizeof(int32_t), "validation ids");
  }
  *out = validation;
  read_captions(validation);
  return STATUS_OK;
}

void validation_close(struct validation *validation) {
  if (!validation)
    return;
  void *blocks[] = {validation->ids,         validation->end,         validation->short_ids,   validation->short_end,
                    validation->teacher_raw, validation->fixed_texts, validation->fixed_short, validation->good};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    memory_release(blocks[i]);
  memory_release(validation);
}

/* Each rank counts the ranks of its share of the queries. */
static struct recall_summary ranked(const struct retrieval *set, bool text_to_image) {
  const int64_t count = text_to_image ? set->text_count : set->image_count, ranks = comm_size();
  const int64_t first = count * comm_rank() / ranks, end = count * (comm_rank() + 1) / ranks;
  int64_t *all = memory_allocate((size_t)count * sizeof *all, "ranks");
  (text_to_image ? metric_text_to_image_ranks : metric_image_to_text_ranks)(set, first, end - first, all + first);
  comm_all_reduce(all, (size_t)count, DTYPE_I64, COMM_SUM);
  struct recall_summary summary = metric_summarize_ranks(all, count);
  memory_release(all);
  return summary;
}

static void put_retrieval(struct validation *validation, const float *images, const float *texts,
                          const struct retrieval_names *names) {
  int64_t *owner = memory_allocate((size_t)validation->count * sizeof *owner, "image of text");
  for (int64_t i = 0; i < validation->count; i++)
    owner[i] = i;
  const struct retrieval set = {
      images, texts, validation->count, validation->count, validation->session->model->config.embed_dim, owner};
  double mean = 0;
  for (int direction = 0; direction < 2; direction++) {
    const struct recall_summary summary = ranked(&set, direction == 1);
    const double values[RETRIEVAL_VALUES] = {summary.recall_1, summary.recall_5, summary.recall_10, summary.mean_rank,
                                             summary.median_rank};
    for (int m = 0; m < RETRIEVAL_VALUES; m++)
      put(validation, names->ranks[direction][m], values[m]);
    mean += summary.recall_1 / 2;
  }
  put(validation, names->mean, mean);
  memory_release(owner);
}

static void put_contrastive_loss(struct validation *validation, const float *images, const float *texts) {
  struct model *model = validation->session->model;
  float scale;
  parameter_get(&model->parameters, model->logit_scale, &scale);
  put(validation, "val/clip_loss",
      metric_contrastive_loss(images, texts, validation->count, model->config.embed_dim, exp((double)scale)));
}

static double distill_term(const char *kind, const float *teacher, const float *student, int64_t width, double cosine) {
  double squares = 0;
  for (int64_t i = 0; i < width; i++)
    squares += ((double)teacher[i] - (double)student[i]) * ((double)teacher[i] - (double)student[i]);
  if (strcmp(kind, "mse") == 0)
    return squares / (double)width;
  return strcmp(kind, "l2") == 0 ? sqrt(squares) : 1 - cosine;
}

static double cosine_of(const float *a, const float *b, int64_t width) {
  double ab = 0, aa = 0, bb = 0;
  for (int64_t i = 0; i < width; i++) {
    ab += (double)a[i] * (double)b[i];
    aa += (double)a[i] * (double)a[i];
    bb += (double)b[i] * (double)b[i];
  }
  return ab / sqrt(fmax(aa * bb, 1e-300));
}

static void put_similarity(struct validation *validation, const float *raw) {
  struct session *session = validation->session;
  const int64_t width = session->model->config.embed_dim;
  float *cosine = memory_allocate((size_t)validation->count * sizeof *cosine, "similarities");
  double loss = 0, between = 0;
  for (int64_t i = 0; i < validation->count; i++) {
    const float *teacher = validation->teacher_raw + i * width, *student = raw + i * width;
    const double similarity = cosine_of(teacher, student, width);
    cosine[i] = (float)similarity;
    loss +=
        distill_term(session->settings->loss.distill, teacher, student, width, similarity) / (double)validation->count;
    between += cosine_of(teacher, validation->teacher_raw + (i + 1) % validation->count * width, width) /
               (double)validation->count;
  }
  put(validation, "val/similarity_mean", metric_mean(cosine, validation->count));
  put(validation, "val/similarity_median", metric_median(cosine, validation->count));
  put(validation, "val/similarity_between_images", between);
  put(validation, "val/distill_loss", loss);
  memory_release(cosine);
}

/* Text features of the request's model: computed once when nothing trains its text tower. */
static const float *text_features(struct validation *validation, const struct encode_request *request,
                                  bool short_captions, float *buffer) {
  const struct session *session = validation->session;
  float **fixed = short_captions ? &validation->fixed_short : &validation->fixed_texts;
  const int32_t *ids = short_captions ? validation->short_ids : validation->ids,
                *end = short_captions ? validation->short_end : validation->end;
  const int64_t width = request->model->config.embed_dim;
  const bool is_fixed = request->model == session->teacher || !tower_trains(&session->model->text);
  if (is_fixed && *fixed)
    return *fixed;
  if (encode_texts(request, ids, end, validation->count, buffer) != STATUS_OK) /* no run is asked to stop here */
    fatal("validation texts: %s", error_message());
  if (is_fixed) {
    *fixed = memory_allocate((size_t)(validation->count * width) * sizeof(float), "validation texts");
    memcpy(*fixed, buffer, (size_t)(validation->count * width) * sizeof(float));
  }
  return buffer;
}

/* The teacher's images, once, and how well it retrieves: what a distilled student is judged beside. */
static enum status judge_teacher(struct validation *validation, struct encode_request request, float *unit,
                                 float *buffer) {
  struct session *session = validation->session;
  if (!session->teacher || validation->teacher_raw)
    return STATUS_OK;
  request.model = session->teacher;
  validation->teacher_raw = memory_allocate(
      (size_t)(validation->count * session->model->config.embed_dim) * sizeof(float), "teacher validation features");
  TRY(encode_good(validation, request, unit, validation->teacher_raw));
  put_retrieval(validation, unit, text_features(validation, &request, false, buffer), &teacher_names);
  return STATUS_OK;
}

/* The model's images against texts: of a distilled student the teacher's, and its own as well where they train. */
static void judge_model(struct validation *validation, struct encode_request request, const float *images,
                        float *buffer) {
  struct session *session = validation->session;
  request.model = session->teacher ? session->teacher : session->model;
  const float *texts = text_features(validation, &request, false, buffer);
  put_retrieval(validation, images, texts, &own_names);
  put_contrastive_loss(validation, images, texts);
  if (validation->short_captions)
    put_retrieval(validation, images, text_features(validation, &request, true, buffer), &short_names);
  if (session->teacher && tower_trains(&session->model->text)) {
    request.model = session->model;
    put_retrieval(validation, images, text_features(validation, &request, false, buffer), &student_text_names);
  }
}

enum status validation_run(struct validation *validation) {
  struct session *session = validation->session;
  const size_t bytes = (size_t)(source_count(session->val) * session->model->config.embed_dim) * sizeof(float);
  const struct encode_request request = {
      .session = session, .model = session->model, .source = session->val, .batch = session->batch, .progress = true};
  float *images = memory_allocate(bytes, "validation features"),
        *buffer = memory_allocate(bytes, "validation features");
  float *raw = session->teacher ? memory_allocate(bytes, "validation features") : NULL;
  validation->value_count = 0;
  enum status status = judge_teacher(validation, request, images, buffer);
  if (status == STATUS_OK)
    status = encode_good(validation, request, images, raw);
  if (status == STATUS_OK && raw)
    put_similarity(validation, raw);
  if (status == STATUS_OK && validation->bad > 0)
    put(validation, "val/bad_samples", (double)validation->bad);
  if (status == STATUS_OK)
    judge_model(validation, request, images, buffer);
  memory_release(images);
  memory_release(buffer);
  memory_release(raw);
  return status;
}

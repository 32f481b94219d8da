#include "train/encode.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"
#include "comm/comm.h"
#include "report/report.h"
#include "train/bad_samples.h"
#include <math.h>

struct encoder {
  const struct encode_request *request;
  struct tower_run *run;
  struct device *device;
  float *features; /* device [batch,E] */
  float *host;     /* [batch,E] */
  int64_t width, count;
  int valid; /* rows of the batch that are samples, not padding */
  double started;
};

static void open_encoder(struct encoder *encoder, const struct encode_request *request, struct tower *tower,
                         int64_t count) {
  struct device *device = request->session->device;
  const int64_t width = request->model->config.embed_dim;
  *encoder = (struct encoder){
      .request = request, .device = device, .width = width, .count = count, .started = clock_seconds()};
  encoder->run = tower_run_create(request->model, tower, request->batch, false, 0);
  encoder->features = device->op->allocate(device, (size_t)(request->batch * width) * sizeof(float), "features");
  encoder->host = memory_allocate((size_t)(request->batch * width) * sizeof(float), "features");
}

static void close_encoder(struct encoder *encoder) {
  encoder->device->op->release(encoder->device, encoder->features);
  memory_release(encoder->host);
  tower_run_release(encoder->run);
}

/* Normalised on the host in double: the same bits on every device and for every place in a batch. */
static void normalize_row(const float *raw, float *unit, int64_t width) {
  double sum = 0;
  for (int64_t i = 0; i < width; i++)
    sum += (double)raw[i] * (double)raw[i];
  const double scale = 1 / fmax(sqrt(sum), 1e-12);
  for (int64_t i = 0; i < width; i++)
    unit[i] = (float)((double)raw[i] * scale);
}

/* A forward of the full batch; its valid rows to unit and raw (NULL: not wanted). */
static void encode_batch(struct encoder *encoder, const struct tower_input *input, float *unit, float *raw) {
  const int64_t width = encoder->width;
  tower_forward(encoder->run, input, encoder->features);
  encoder->device->op->copy_out(encoder->device, encoder->host, encoder->features,
                                (size_t)(input->count * width) * sizeof(float));
  for (int i = 0; i < encoder->valid; i++)
    normalize_row(encoder->host + i * width, unit + i * width, width);
  if (raw)
    memcpy(raw, encoder->host, (size_t)(encoder->valid * width) * sizeof *raw);
}

/* Every so many batches the ranks hear the strongest request to stop. */
static enum status check_stop(const struct encoder *encoder, int64_t batch) {
  enum { EVERY = 16 };
  if (!encoder->request->run || batch % EVERY != EVERY - 1)
    return STATUS_OK;
  int64_t stop = run_stop_requested(encoder->request->run);
  comm_all_reduce(&stop, 1, DTYPE_I64, COMM_MAX);
  return stop == STOP_NONE ? STATUS_OK : stop == STOP_USER ? STATUS_STOPPED : STATUS_REQUEUE;
}

static void show(const struct encoder *encoder, const char *what, int64_t done) {
  if (!encoder->request->progress)
    return;
  const int64_t all = done * comm_size() < encoder->count ? done * comm_size() : encoder->count;
  report_progress(
      &(struct report_progress){.what = what,
                                .done = all,
                                .total = encoder->count,
                                .loss = NAN,
                                .samples_per_second = (double)all / fmax(clock_seconds() - encoder->started, 1e-3)});
}

/* Every rank holds zeros where another rank encoded, so a sum gathers exactly. */
static void gather(float *rows, int64_t count, int64_t width) {
  comm_all_reduce(rows, (size_t)(count * width), DTYPE_F32, COMM_SUM);
}

static struct loader *open_images(const struct encode_request *request) {
  const struct settings *settings = request->session->settings;
  const struct loader_options options = {.source = request->source,
                                         .order = {.count = source_count(request->source),
                                                   .samples_per_epoch = source_count(request->source),
                                                   .shuffle = SHUFFLE_NONE},
                                         .images = true,
                                         .transform = session_transform(&request->model->config),
                                         .augment = AUGMENT_NONE,
                                         .limits = session_image_limits(settings),
                                         .batch = request->batch,
                                         .stride = (int64_t)request->batch * comm_size(),
                                         .offset = (int64_t)request->batch * comm_rank(),
                                         .end = source_count(request->source),
                                         .threads = session_loader_threads(settings),
                                         .ring = 4,
                                         .bad_sample = request->bad_sample};
  return loader_open(&options);
}

/* Every rank has marked the unreadable images of its share. */
static void gather_readable(const int32_t *unreadable, int64_t count, bool *readable) {
  comm_all_reduce((void *)unreadable, (size_t)count, DTYPE_I32, COMM_SUM);
  for (int64_t i = 0; readable && i < count; i++)
    readable[i] = unreadable[i] == 0;
}

enum status encode_images(const struct encode_request *request, float *unit, float *raw, int64_t *bad) {
  const int64_t count = source_count(request->source), stride = (int64_t)request->batch * comm_size();
  const size_t pixels = (size_t)request->batch * (size_t)request->model->config.image_height *
                        (size_t)request->model->config.image_width * 3;
  struct encoder encoder;
  double waited = 0;
  struct loader *loader = open_images(request);
  open_encoder(&encoder, request, &request->model->vision, count);
  void *images = encoder.device->op->allocate(encoder.device, pixels, "images");
  memset(unit, 0, (size_t)(count * encoder.width) * sizeof *unit);
  if (raw)
    memset(raw, 0, (size_t)(count * encoder.width) * sizeof *raw);
  int32_t *unreadable = memory_allocate((size_t)count * sizeof *unreadable, "unreadable images");
  const int64_t slots = (count + stride - 1) / stride;
  enum status status = STATUS_OK;
  loader_seek(loader, 0, 0, slots);
  for (int64_t slot = 0; slot < slots && status == STATUS_OK; slot++) {
    const int64_t first = slot * stride + (int64_t)request->batch * comm_rank();
    if (first < count) {
      const struct batch *batch = loader_next(loader, &waited);
      encoder.device->op->copy_in(encoder.device, images, batch->images, pixels);
      encoder.valid = batch->count;
      for (int i = 0; i < batch->count; i++)
        unreadable[first + i] = !batch->valid[i];
      if (request->watch) {
        request->watch->first = first;
        request->watch->valid = batch->count;
      }
      encode_batch(&encoder,
                   &(struct tower_input){.count = request->batch,
                                         .images = images,
                                         .image_dtype = DTYPE_U8,
                                         .watch = request->watch ? &request->watch->memory : NULL},
                   unit + first * encoder.width, raw ? raw + first * encoder.width : NULL);
      show(&encoder, "images", (slot + 1) * request->batch);
    }
    status = check_stop(&encoder, slot);
  }
  bad_samples_share();
  gather_readable(unreadable, count, request->readable);
  memory_release(unreadable);
  *bad = loader_bad_samples(loader);
  comm_all_reduce(bad, 1, DTYPE_I64, COMM_SUM);
  if (status == STATUS_OK)
    gather(unit, count, encoder.width);
  if (status == STATUS_OK && raw)
    gather(raw, count, encoder.width);
  encoder.device->op->release(encoder.device, images);
  loader_close(loader);
  close_encoder(&encoder);
  return status;
}

/* Texts by the columns that they need, otherwise in order: [count] numbers. */
static void order_by_columns(const struct encode_request *request, const int32_t *end, int64_t count, int64_t *order,
                             int *columns) {
  const int context = request->model->config.context_length;
  int64_t *place = memory_allocate((size_t)(context + 2) * sizeof *place, "text order");
  for (int64_t i = 0; i < count; i++) {
    const int needed = session_text_columns(request->session, end + i, 1);
    columns[i] = needed < context ? needed : context;
    place[columns[i] + 1]++;
  }
  for (int c = 0; c <= context; c++)
    place[c + 1] += place[c];
  for (int64_t i = 0; i < count; i++)
    order[place[columns[i]]++] = i;
  memory_release(place);
}

/* Buffers of a batch of texts: on the host and on the device. */
struct text_batch {
  int32_t *ids, *end, *device_ids, *device_end;
  float *unit; /* [batch,E] */
  size_t id_count;
};

static void encode_text_batch(struct encoder *encoder, struct text_batch *batch, const int32_t *ids, const int32_t *end,
                              const int64_t *order, int valid, int columns, float *unit) {
  struct device *device = encoder->device;
  const int context = encoder->request->model->config.context_length, size = encoder->request->batch;
  memset(batch->ids, 0, batch->id_count * sizeof *batch->ids);
  memset(batch->end, 0, (size_t)size * sizeof *batch->end);
  for (int i = 0; i < valid; i++) {
    memcpy(batch->ids + i * context, ids + order[i] * context, (size_t)context * sizeof *ids);
    batch->end[i] = end[order[i]];
  }
  device->op->copy_in(device, batch->device_ids, batch->ids, batch->id_count * sizeof *ids);
  device->op->copy_in(device, batch->device_end, batch->end, (size_t)size * sizeof *end);
  encoder->valid = valid;
  encode_batch(
      encoder,
      &(struct tower_input){.count = size, .ids = batch->device_ids, .end = batch->device_end, .tokens = columns},
      batch->unit, NULL);
  for (int i = 0; i < valid; i++)
    memcpy(unit + order[i] * encoder->width, batch->unit + i * encoder->width, (size_t)encoder->width * sizeof *unit);
}

static void open_text_batch(struct encoder *encoder, struct text_batch *batch) {
  struct device *device = encoder->device;
  const size_t size = (size_t)encoder->request->batch;
  batch->id_count = size * (size_t)encoder->request->model->config.context_length;
  batch->ids = memory_allocate(batch->id_count * sizeof *batch->ids, "token ids");
  batch->end = memory_allocate(size * sizeof *batch->end, "token ids");
  batch->unit = memory_allocate(size * (size_t)encoder->width * sizeof *batch->unit, "features");
  batch->device_ids = device->op->allocate(device, batch->id_count * sizeof *batch->ids, "token ids");
  batch->device_end = device->op->allocate(device, size * sizeof *batch->end, "token ids");
}

static void close_text_batch(struct encoder *encoder, struct text_batch *batch) {
  struct device *device = encoder->device;
  device->op->release(device, batch->device_ids);
  device->op->release(device, batch->device_end);
  memory_release(batch->ids);
  memory_release(batch->end);
  memory_release(batch->unit);
}

enum status encode_texts(const struct encode_request *request, const int32_t *ids, const int32_t *end, int64_t count,
                         float *unit) {
  struct encoder encoder;
  struct text_batch batch;
  int64_t *order = memory_allocate((size_t)(count + 1) * sizeof *order, "text order"), number = 0;
  int *columns = memory_allocate((size_t)(count + 1) * sizeof *columns, "text columns");
  enum status status = STATUS_OK;
  open_encoder(&encoder, request, &request->model->text, count);
  open_text_batch(&encoder, &batch);
  memset(unit, 0, (size_t)(count * encoder.width) * sizeof *unit);
  order_by_columns(request, end, count, order, columns);
  for (int64_t first = 0, next; first < count && status == STATUS_OK; first = next, number++) {
    for (next = first; next < count && next - first < request->batch && columns[order[next]] == columns[order[first]];)
      next++;
    if (number % comm_size() == comm_rank())
      encode_text_batch(&encoder, &batch, ids, end, order + first, (int)(next - first), columns[order[first]], unit);
    show(&encoder, "texts", next / comm_size());
    status = check_stop(&encoder, number);
  }
  if (status == STATUS_OK)
    gather(unit, count, encoder.width);
  close_text_batch(&encoder, &batch);
  close_encoder(&encoder);
  memory_release(order);
  memory_release(columns);
  return status;
}

/* Every rank holds zeros where another rank worked. */
static void gather_ids(int32_t *rows, int64_t count) {
  comm_all_reduce(rows, (size_t)count, DTYPE_I32, COMM_SUM);
}

void encode_tokenize(const struct session *session, const char *const *texts, int64_t count, int context, int32_t *ids,
                     int32_t *end, int32_t *lengths) {
  struct tokenizer_scratch *scratch = tokenizer_scratch_new();
  memset(ids, 0, (size_t)count * (size_t)context * sizeof *ids);
  memset(end, 0, (size_t)count * sizeof *end);
  memset(lengths, 0, (size_t)count * sizeof *lengths);
  for (int64_t i = comm_rank(); i < count; i += comm_size())
    lengths[i] = (int32_t)tokenizer_encode(session->tokenizer, scratch, texts[i], context, ids + i * context, end + i);
  tokenizer_scratch_release(scratch);
  gather_ids(ids, count * context);
  gather_ids(end, count);
  gather_ids(lengths, count);
}

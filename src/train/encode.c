#include "train/encode.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"
#include "comm/comm.h"
#include "report/report.h"
#include <math.h>

struct encoder {
  const struct encode_request *request;
  struct tower_run *run;
  struct device *device;
  float *features; /* device [batch,E] */
  float *host;     /* [batch,E] */
  int64_t width, count;
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

/* A forward of the full batch; rows first .. first+valid-1 of the results. */
static void encode_batch(struct encoder *encoder, const struct tower_input *input, int64_t first, int valid,
                         float *unit, float *raw) {
  tower_forward(encoder->run, input, encoder->features);
  encoder->device->op->copy_out(encoder->device, encoder->host, encoder->features,
                                (size_t)(input->count * encoder->width) * sizeof(float));
  for (int i = 0; i < valid; i++) {
    normalize_row(encoder->host + i * encoder->width, unit + (first + i) * encoder->width, encoder->width);
    if (raw)
      memcpy(raw + (first + i) * encoder->width, encoder->host + i * encoder->width,
             (size_t)encoder->width * sizeof *raw);
  }
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
                                         .image_size = request->model->config.image_height,
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
  const int64_t slots = (count + stride - 1) / stride;
  loader_seek(loader, 0, 0, slots);
  for (int64_t slot = 0; slot < slots; slot++) {
    const int64_t first = slot * stride + (int64_t)request->batch * comm_rank();
    if (first >= count)
      break;
    const struct batch *batch = loader_next(loader, &waited);
    if (!batch)
      fatal("the loader stopped: %s", error_message());
    encoder.device->op->copy_in(encoder.device, images, batch->images, pixels);
    encode_batch(&encoder, &(struct tower_input){.count = request->batch, .images = images, .image_dtype = DTYPE_U8},
                 first, batch->count, unit, raw);
    show(&encoder, "images", (slot + 1) * request->batch);
  }
  *bad = loader_bad_samples(loader);
  comm_all_reduce(bad, 1, DTYPE_I64, COMM_SUM);
  gather(unit, count, encoder.width);
  if (raw)
    gather(raw, count, encoder.width);
  encoder.device->op->release(encoder.device, images);
  loader_close(loader);
  close_encoder(&encoder);
  return STATUS_OK;
}

/* One number of columns for the whole set, so that equal texts give equal features wherever they stand. */
static int columns_of(const struct encode_request *request, const int32_t *end, int64_t count) {
  int most = 8;
  for (int64_t i = 0; i < count; i++) {
    const int columns = session_text_columns(request->session, end + i, 1);
    most = columns > most ? columns : most;
  }
  const int context = request->model->config.context_length;
  return most < context ? most : context;
}

void encode_texts(const struct encode_request *request, const int32_t *ids, const int32_t *end, int64_t count,
                  float *unit) {
  const int context = request->model->config.context_length, batch = request->batch;
  const int64_t stride = (int64_t)batch * comm_size();
  const size_t id_count = (size_t)batch * (size_t)context;
  struct encoder encoder;
  open_encoder(&encoder, request, &request->model->text, count);
  struct device *device = encoder.device;
  int32_t *device_ids = device->op->allocate(device, id_count * sizeof *ids, "token ids"),
          *device_end = device->op->allocate(device, (size_t)batch * sizeof *end, "token ids");
  memset(unit, 0, (size_t)(count * encoder.width) * sizeof *unit);
  const int columns = columns_of(request, end, count);
  for (int64_t first = (int64_t)batch * comm_rank(); first < count; first += stride) {
    const int valid = (int)(count - first < batch ? count - first : batch);
    device->op->zero(device, device_ids, id_count * sizeof *ids);
    device->op->zero(device, device_end, (size_t)batch * sizeof *end);
    device->op->copy_in(device, device_ids, ids + first * context, (size_t)valid * (size_t)context * sizeof *ids);
    device->op->copy_in(device, device_end, end + first, (size_t)valid * sizeof *end);
    encode_batch(&encoder,
                 &(struct tower_input){.count = batch, .ids = device_ids, .end = device_end, .tokens = columns}, first,
                 valid, unit, NULL);
    show(&encoder, "texts", first / comm_size() + batch);
  }
  gather(unit, count, encoder.width);
  device->op->release(device, device_ids);
  device->op->release(device, device_end);
  close_encoder(&encoder);
}

void encode_tokenize(const struct session *session, const char *const *texts, int64_t count, int32_t *ids, int32_t *end,
                     int32_t *lengths) {
  const int context = session->model->config.context_length;
  struct tokenizer_scratch *scratch = tokenizer_scratch_new();
  for (int64_t i = 0; i < count; i++) {
    const int64_t length = tokenizer_encode(session->tokenizer, scratch, texts[i], context, ids + i * context, end + i);
    if (lengths)
      lengths[i] = (int32_t)length;
  }
  tokenizer_scratch_release(scratch);
}

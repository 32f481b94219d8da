#include "bench/pass.h"
#include "base/memory.h"
#include "base/random.h"
#include "train/optimizer.h"

const char *const pass_names[PASS_KINDS] = {"forward", "distill", "cached", "contrastive"};
enum { CAPTION_END = 40 };

struct pass {
  struct pass_request request;
  struct device *device;
  struct model *student, *teacher;
  struct tower_run *run, *teacher_run, *text_run;
  void *images;
  int32_t *ids, *end;
  int caption_tokens;
  float *features[2], *gradient[2], *unit[2], *norm[2], *dunit[2], *normalisers;
  double *loss;
  int64_t step;
  struct optimizer optimizer; /* opened where there are steps to take */
  int shared;                 /* sublayers that teacher and student compute once */
};

struct memory_config pass_reference_memory(const struct tower_config *tower) {
  struct memory_config memory = {.n_keys = 8,
                                 .heads = 2,
                                 .knn = 4,
                                 .k_dim = 256,
                                 .v_dim = 256,
                                 .share_values = true,
                                 .swilu_projection = true,
                                 .meta_init = true};
  for (int i = 2; i < tower->layers - 1; i += 2) {
    memory.layers[i] = true;
    memory.count++;
  }
  return memory;
}

static enum status open_model(const struct pass *pass, const struct memory_config *memory, const char *train,
                              struct model **model) {
  const struct pass_request *request = &pass->request;
  const bool training = train[0] != 0;
  const struct model_switches switches = {.pooled_last_block = true, .skip_frozen = true};
  struct clip_config config = *request->config;
  if (memory)
    config.vision.memory = *memory;
  TRY(model_create(&config, request->device, request->dtype, switches, model));
  TRY(model_set_trainable(*model, &train, training ? 1 : 0));
  parameters_allocate(&(*model)->parameters, training);
  parameters_initialize(&(*model)->parameters, 1);
  return STATUS_OK;
}

static void *take(const struct pass *pass, int64_t count, size_t size) {
  return pass->device->op->allocate(pass->device, (size_t)count * size, "pass");
}

static void fill(const struct pass *pass, void *block, const void *host, int64_t count, size_t size) {
  pass->device->op->copy_in(pass->device, block, host, (size_t)count * size);
  pass->device->op->synchronize(pass->device);
}

static void open_images(struct pass *pass) {
  const struct clip_config *config = &pass->student->config;
  const struct random_key key = {1, 0, RANDOM_TEST, 0};
  const int64_t pixels = (int64_t)pass->request.batch * 3 * config->image_height * config->image_width;
  uint8_t *host = memory_allocate((size_t)pixels, "images");
  for (int64_t i = 0; i < pixels; i += 8) {
    const uint64_t bits = random_bits(&key, (uint64_t)i);
    memcpy(host + i, &bits, (size_t)(pixels - i < 8 ? pixels - i : 8));
  }
  pass->images = take(pass, pixels, 1);
  fill(pass, pass->images, host, pixels, 1);
  memory_release(host);
}

/* Captions of 41 tokens, or half the context. */
static void open_texts(struct pass *pass) {
  const struct clip_config *config = &pass->student->config;
  const int batch = pass->request.batch, context = config->context_length, vocabulary = config->vocab_size,
            last = CAPTION_END < context / 2 + 2 ? CAPTION_END : context / 2;
  const struct random_key key = {1, 0, RANDOM_TEST, 0};
  int32_t *ids = memory_allocate((size_t)(batch * context) * sizeof *ids, "ids"),
          *end = memory_allocate((size_t)batch * sizeof *end, "ids");
  for (int b = 0; b < batch; b++) {
    for (int t = 1; t < last; t++)
      ids[b * context + t] = 1 + (int32_t)random_below(&key, (uint64_t)(b * 100 + t), (uint64_t)(vocabulary - 3));
    ids[b * context] = vocabulary - 2;
    ids[b * context + last] = vocabulary - 1;
    end[b] = last;
  }
  pass->caption_tokens = (last + 8) / 8 * 8 < context ? (last + 8) / 8 * 8 : context;
  pass->ids = take(pass, batch * context, sizeof *ids);
  pass->end = take(pass, batch, sizeof *end);
  fill(pass, pass->ids, ids, batch * context, sizeof *ids);
  fill(pass, pass->end, end, batch, sizeof *end);
  memory_release(ids);
  memory_release(end);
}

static void open_features(struct pass *pass) {
  const int64_t count = (int64_t)pass->request.batch * pass->student->config.embed_dim;
  const struct random_key key = {2, 0, RANDOM_TEST, 0};
  float *host = memory_allocate((size_t)count * sizeof *host, "features");
  for (int64_t i = 0; i < count; i++)
    host[i] = (float)random_normal(&key, (uint64_t)i);
  for (int side = 0; side < 2; side++) {
    pass->features[side] = take(pass, count, sizeof(float));
    pass->gradient[side] = take(pass, count, sizeof(float));
    pass->unit[side] = take(pass, count, sizeof(float));
    pass->norm[side] = take(pass, pass->request.batch, sizeof(float));
    pass->dunit[side] = take(pass, count, sizeof(float));
  }
  fill(pass, pass->features[1], host, count, sizeof *host); /* the teacher's, where they are at hand */
  memory_release(host);
  pass->normalisers = take(pass, 2 * pass->request.batch, sizeof(float));
  pass->loss = take(pass, 1, sizeof *pass->loss);
  pass->device->op->zero(pass->device, pass->loss, sizeof *pass->loss);
}

/* ---- one step of each kind */

static struct tower_input images_of(const struct pass *pass) {
  return (struct tower_input){.count = pass->request.batch, .images = pass->images, .image_dtype = DTYPE_U8};
}

static void step_forward(struct pass *pass) {
  const struct tower_input images = images_of(pass);
  tower_forward(pass->run, &images, pass->features[0]);
}

static void step_optimizer(struct pass *pass) {
  optimizer_prepare(&pass->optimizer, pass->step++, pass->request.rate);
  optimizer_step(&pass->optimizer, false);
}

static void step_distill(struct pass *pass) {
  const struct tower_input images = images_of(pass);
  struct device *device = pass->device;
  for (int a = 0; a < 2; a++) {
    tower_begin(pass->run, &images);
    if (pass->teacher_run) {
      tower_advance(pass->run, pass->shared);
      tower_adopt(pass->teacher_run, pass->run);
      tower_advance(pass->teacher_run, pass->teacher->vision.count);
      tower_finish(pass->teacher_run, pass->features[1]);
    }
    tower_advance(pass->run, pass->student->vision.count);
    tower_finish(pass->run, pass->features[0]);
    device->op->distill(device, &(struct distill){.batch = pass->request.batch,
                                                  .width = pass->student->config.embed_dim,
                                                  .kind = DISTILL_COSINE,
                                                  .scale = 0.5 / pass->request.batch,
                                                  .teacher = pass->features[1],
                                                  .student = pass->features[0],
                                                  .loss = pass->loss,
                                                  .dstudent = pass->gradient[0]});
    tower_backward(pass->run, pass->gradient[0], NULL);
  }
  step_optimizer(pass);
}

static struct normalize normalize_call(const struct pass *pass, int side) {
  return (struct normalize){.rows = pass->request.batch,
                            .width = pass->student->config.embed_dim,
                            .x = pass->features[side],
                            .y = pass->unit[side],
                            .norm = pass->norm[side],
                            .dy = pass->dunit[side],
                            .dx = pass->gradient[side]};
}

static void step_contrastive(struct pass *pass) {
  struct model *model = pass->student;
  struct device *device = pass->device;
  const int batch = pass->request.batch;
  const struct tower_input images = images_of(pass),
                           texts = {.count = batch, .ids = pass->ids, .end = pass->end, .tokens = pass->caption_tokens};
  tower_forward(pass->run, &images, pass->features[0]);
  tower_forward(pass->text_run, &texts, pass->features[1]);
  for (int side = 0; side < 2; side++) {
    const struct normalize call = normalize_call(pass, side);
    device->op->normalize(device, &call);
  }
  const struct contrastive loss = {.global = batch,
                                   .width = model->config.embed_dim,
                                   .count = batch,
                                   .dtype = pass->request.dtype,
                                   .weight = 1,
                                   .images = pass->unit[0],
                                   .texts = pass->unit[1],
                                   .logit_scale = model->logit_scale->master,
                                   .normalisers = pass->normalisers,
                                   .loss = pass->loss,
                                   .dimages = pass->dunit[0],
                                   .dtexts = pass->dunit[1],
                                   .dlogit_scale = model->logit_scale->gradient};
  device->op->contrastive_normalisers(device, &loss);
  device->op->contrastive(device, &loss);
  for (int side = 0; side < 2; side++) {
    const struct normalize call = normalize_call(pass, side);
    device->op->normalize_backward(device, &call);
  }
  tower_backward(pass->text_run, pass->gradient[1], NULL);
  tower_backward(pass->run, pass->gradient[0], NULL);
  step_optimizer(pass);
}

void pass_step(void *opaque) {
  static void (*const steps[PASS_KINDS])(struct pass *) = {step_forward, step_distill, step_distill, step_contrastive};
  struct pass *pass = opaque;
  steps[pass->request.kind](pass);
}

/* ---- opening, results, closing */

static enum status open_models(struct pass *pass) {
  const struct pass_request *request = &pass->request;
  static const char *const train[PASS_KINDS] = {"", "memory", "memory", "all"};
  const bool student = request->kind == PASS_DISTILL || request->kind == PASS_CACHED;
  const struct memory_config reference = pass_reference_memory(&request->config->vision),
                             *memory = request->memory ? request->memory : &reference;
  TRY(open_model(pass, student ? memory : NULL, train[request->kind], &pass->student));
  pass->run = tower_run_create(pass->student, &pass->student->vision, request->batch, request->kind != PASS_FORWARD, 0);
  pass->shared = tower_first_memory(&pass->student->vision);
  if (request->kind == PASS_CONTRASTIVE)
    pass->text_run = tower_run_create(pass->student, &pass->student->text, request->batch, true, 0);
  if (request->kind != PASS_DISTILL)
    return STATUS_OK;
  TRY(open_model(pass, NULL, "", &pass->teacher));
  pass->teacher_run = tower_run_create(pass->teacher, &pass->teacher->vision, request->batch, false, 0);
  return STATUS_OK;
}

enum status pass_open(const struct pass_request *request, struct pass **out) {
  struct pass *pass = memory_allocate(sizeof *pass, "pass");
  *pass = (struct pass){.request = *request,
                        .device = request->device,
                        .optimizer = {.beta1 = 0.9, .beta2 = 0.98, .eps = 1e-6, .weight_decay = 0.1}};
  const enum status status = open_models(pass);
  if (status != STATUS_OK) {
    pass_close(pass);
    return status;
  }
  open_images(pass);
  open_texts(pass);
  open_features(pass);
  if (request->kind != PASS_FORWARD)
    optimizer_open(&pass->optimizer, pass->student);
  *out = pass;
  return STATUS_OK;
}

void pass_close(struct pass *pass) {
  struct device *device = pass->device;
  void *const blocks[] = {pass->images, pass->ids, pass->end, pass->loss, pass->normalisers};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    device->op->release(device, blocks[i]);
  for (int side = 0; side < 2; side++) {
    device->op->release(device, pass->features[side]);
    device->op->release(device, pass->gradient[side]);
    device->op->release(device, pass->unit[side]);
    device->op->release(device, pass->norm[side]);
    device->op->release(device, pass->dunit[side]);
  }
  if (pass->optimizer.model)
    optimizer_close(&pass->optimizer);
  tower_run_release(pass->run);
  tower_run_release(pass->teacher_run);
  tower_run_release(pass->text_run);
  model_release(pass->student);
  model_release(pass->teacher);
  memory_release(pass);
}

int pass_items(const struct pass *pass) {
  return pass->request.kind == PASS_DISTILL || pass->request.kind == PASS_CACHED ? 2 * pass->request.batch
                                                                                 : pass->request.batch;
}

double pass_take_loss(struct pass *pass) {
  double loss;
  pass->device->op->copy_out(pass->device, &loss, pass->loss, sizeof loss);
  pass->device->op->zero(pass->device, pass->loss, sizeof loss);
  return loss;
}

const struct parameters *pass_parameters(const struct pass *pass) {
  return &pass->student->parameters;
}

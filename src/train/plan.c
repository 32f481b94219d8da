#include "train/plan.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"
#include "comm/comm.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* FLOP/s of a square product of the compute dtype, after one call to warm up. */
static double measure_product(struct session *session) {
  enum { SIDE = 1024 };
  struct device *device = session->device;
  const size_t bytes = (size_t)SIDE * SIDE * dtype_size(session->dtype);
  void *block = device->op->allocate(device, 3 * bytes, "measurement");
  device->op->zero(device, block, 3 * bytes);
  const struct linear call = {.rows = SIDE,
                              .in = SIDE,
                              .out = SIDE,
                              .dtype = session->dtype,
                              .y_dtype = session->dtype,
                              .x = block,
                              .weight = (char *)block + bytes,
                              .y = (char *)block + 2 * bytes};
  device->op->linear(device, &call);
  device->op->synchronize(device);
  const double start = clock_seconds();
  int runs = 0;
  do {
    device->op->linear(device, &call);
    device->op->synchronize(device);
    runs++;
  } while (clock_seconds() - start < 0.2);
  const double rate = 2.0 * SIDE * SIDE * SIDE * runs / (clock_seconds() - start);
  device->op->release(device, block);
  return rate;
}

/* FLOP of a sample's training step: forward once, backward twice a forward of what trains. */
static double step_flops(const struct session *session) {
  const struct clip_config *config = &session->model->config;
  const double image = config_flops_image(config, true), text = config_flops_text(config, config->context_length, true);
  if (session->teacher)
    return config_flops_image(&session->teacher->config, true) + 2.3 * image;
  const int texts = (session->settings->loss.long_weight > 0) + (session->settings->loss.short_weight > 0);
  return (tower_trains(&session->model->vision) ? 3 : 1) * image +
         texts * (tower_trains(&session->model->text) ? 3 : 1) * text;
}

/* The smallest free memory and the most ranks on one device count for all, so that all decide alike. */
void plan_open(struct session *session) {
  struct memory_plan *plan = &session->plan;
  uint8_t mine[DEVICE_ID_BYTES], *all = memory_allocate((size_t)comm_size() * DEVICE_ID_BYTES, "device identities");
  session->device->op->memory_free(session->device, &plan->free_bytes, &plan->total_bytes);
  session->device->op->identify(session->device, mine);
  comm_all_gather(mine, all, DEVICE_ID_BYTES);
  int64_t words[2] = {plan->free_bytes > INT64_MAX ? INT64_MAX : (int64_t)plan->free_bytes, 0};
  for (int r = 0; r < comm_size(); r++)
    words[1] -= memcmp(all + r * DEVICE_ID_BYTES, mine, DEVICE_ID_BYTES) == 0;
  comm_all_reduce(words, 2, DTYPE_I64, COMM_MIN);
  plan->free_bytes = (size_t)words[0];
  plan->sharers = (int)-words[1];
  memory_release(all);
}

static size_t planned_bytes(const struct memory_plan *plan) {
  size_t sum = 0;
  for (int i = 0; i < plan->count; i++)
    sum += plan->parts[i].bytes;
  return sum;
}

static double in_gib(size_t bytes) {
  return (double)bytes / (1 << 30);
}

/* "2.10 GiB student, 0.40 GiB activations" */
static void append_parts(struct text *text, const struct memory_plan *plan) {
  for (int i = 0; i < plan->count; i++)
    text_append_format(text, "%s%.2f GiB %s", i ? ", " : "", in_gib(plan->parts[i].bytes), plan->parts[i].what);
}

static enum status refuse(const struct memory_plan *plan) {
  struct text parts = {0};
  append_parts(&parts, plan);
  const enum status status = error_set(
      STATUS_INPUT,
      "this run needs at least %.2f GiB of device memory for each of the %d ranks that share a device (%s), but %.2f "
      "of "
      "its %.2f GiB are free. Lower data.batch_size (with data.global_batch kept, accumulation makes up for it), set "
      "model.gradient_checkpointing, train fewer parameters (model.train) or smaller memories, or use fewer ranks per "
      "device",
      in_gib(planned_bytes(plan)), plan->sharers, parts.data, in_gib(plan->free_bytes), in_gib(plan->total_bytes));
  text_release(&parts);
  return status;
}

enum status plan_memory(struct session *session, const char *what, size_t bytes) {
  struct memory_plan *plan = &session->plan;
  int i = 0;
  while (i < plan->count && strcmp(plan->parts[i].what, what) != 0)
    i++;
  if (i == MEMORY_PLAN_PARTS)
    fatal("the plan of memory has no room for %s", what);
  plan->count = i == plan->count ? i + 1 : plan->count;
  plan->parts[i].what = what;
  plan->parts[i].bytes = bytes;
  if (plan->sharers == 0 || planned_bytes(plan) <= plan->free_bytes / (size_t)plan->sharers)
    return STATUS_OK;
  return refuse(plan);
}

enum status plan_inputs(struct session *session, bool short_captions, bool tokens) {
  const struct clip_config *config = &session->model->config;
  const size_t sets = (size_t)(tokens ? session->accumulation : 1) + 1, batch = (size_t)session->batch;
  const size_t pixels = (size_t)config->image_height * (size_t)config->image_width * 3;
  const size_t ids = ((size_t)tokens + short_captions) * ((size_t)config->context_length + 1) * sizeof(int32_t);
  return plan_memory(session, "inputs", sets * batch * (pixels + ids + sizeof(int64_t)));
}

enum status plan_print(struct session *session) {
  const struct parameters *list = &session->model->parameters;
  const struct memory_plan *plan = &session->plan;
  const double rate = measure_product(session), work = step_flops(session) * (double)session->samples_per_epoch *
                                                       (double)session->total_steps / (double)session->steps_per_epoch;
  const double seconds = work / (0.6 * rate * comm_size());
  struct text parts = {0};
  char time[32];
  clock_format_duration(seconds, time);
  if (comm_rank() != 0)
    return STATUS_OK;
  const double gib = in_gib(planned_bytes(plan)), host = gib + 1;
  append_parts(&parts, plan);
  printf("stage             %s\n", session->settings->run.stage);
  printf("parameters        %.3f M, %.3f M trained\n", 1e-6 * (double)parameters_count_elements(list, false),
         1e-6 * (double)parameters_count_elements(list, true));
  printf("samples           %lld for training, %lld for validation\n", (long long)source_count(session->train),
         session->val ? (long long)source_count(session->val) : 0);
  printf("global batch      %lld = %d per rank x %lld accumulated x %d ranks\n", (long long)session->global_batch,
         session->batch, (long long)session->accumulation, comm_size());
  printf("steps             %lld, %lld per epoch\n", (long long)session->total_steps,
         (long long)session->steps_per_epoch);
  printf("memory of a rank  %.2f GiB: %s\n", gib, parts.data);
  printf("device memory     %.2f of %.2f GiB free, shared by %d rank%s\n", in_gib(plan->free_bytes),
         in_gib(plan->total_bytes), plan->sharers, plan->sharers == 1 ? "" : "s");
  printf("estimated time    %s at 60 %% of the measured %.0f GFLOP/s per rank\n", time, 1e-9 * rate);
  printf("suggested         --ntasks=%d --cpus-per-task=%d --mem=%.0fG --time=%.0f\n", comm_size(),
         thread_count_available(), ceil(host * comm_local_size()), ceil(1.3 * seconds / 60) + 5);
  text_release(&parts);
  return STATUS_OK;
}

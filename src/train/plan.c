#include "train/plan.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"
#include "comm/comm.h"
#include <math.h>
#include <stdio.h>

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

enum status plan_print(struct session *session, size_t activation_bytes) {
  const struct parameters *list = &session->model->parameters;
  const double rate = measure_product(session), work = step_flops(session) * (double)session->samples_per_epoch *
                                                       (double)session->total_steps / (double)session->steps_per_epoch;
  const double seconds = work / (0.6 * rate * comm_size());
  size_t bytes = parameters_bytes(list, true) + activation_bytes;
  char time[32];
  if (session->teacher)
    bytes += parameters_bytes(&session->teacher->parameters, false);
  clock_format_duration(seconds, time);
  if (comm_rank() != 0)
    return STATUS_OK;
  const double gib = (double)bytes / (1 << 30), host = gib + 1;
  printf("stage             %s\n", session->settings->run.stage);
  printf("parameters        %.3f M, %.3f M trained\n", 1e-6 * (double)parameters_count_elements(list, false),
         1e-6 * (double)parameters_count_elements(list, true));
  printf("samples           %lld for training, %lld for validation\n", (long long)source_count(session->train),
         session->val ? (long long)source_count(session->val) : 0);
  printf("global batch      %lld = %d per rank x %lld accumulated x %d ranks\n", (long long)session->global_batch,
         session->batch, (long long)session->accumulation, comm_size());
  printf("steps             %lld, %lld per epoch\n", (long long)session->total_steps,
         (long long)session->steps_per_epoch);
  printf("memory of a rank  %.2f GiB: %.2f weights and optimiser, %.2f activations\n", gib,
         gib - (double)activation_bytes / (1 << 30), (double)activation_bytes / (1 << 30));
  printf("estimated time    %s at 60 %% of the measured %.0f GFLOP/s per rank\n", time, 1e-9 * rate);
  printf("suggested         --ntasks=%d --cpus-per-task=%d --mem=%.0fG --time=%.0f\n", comm_size(),
         thread_count_available(), ceil(host * comm_local_size()), ceil(1.3 * seconds / 60) + 5);
  return STATUS_OK;
}

/* The limits of a device in one run, and what stands beside them: matrix products at the shapes of a ViT-B/16 block
 * (batch 20), a large copy, and the pointwise operations: bench_gemm [threads] [device] [part of a name] Each line:
 * best time of several runs, GFLOP/s of the products, GB/s read and written. */
#include "base/clock.h"
#include "base/memory.h"
#include "device/adamw.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 20 * 197, WIDTH = 768, HIDDEN = 3072, COPY_BYTES = 256 << 20, PAIRS = 2048, EMBEDDING = 512 };

struct bench {
  struct device *device;
  const char *filter;
  enum dtype dtype;
  float *zeros; /* biases, norm parameters */
};

static void *make(const struct bench *bench, enum dtype dtype, int64_t count) {
  float *host = memory_allocate((size_t)count * sizeof *host, "bench");
  uint32_t state = 1;
  for (int64_t i = 0; i < count; i++) {
    state = state * 1664525u + 1013904223u;
    host[i] = (float)((double)(state >> 8) * 0x1p-24 - 0.5);
  }
  void *block = bench->device->op->allocate(bench->device, (size_t)count * dtype_size(dtype), "bench");
  float *wide = bench->device->op->allocate(bench->device, (size_t)count * sizeof *wide, "bench");
  bench->device->op->copy_in(bench->device, wide, host, (size_t)count * sizeof *wide);
  bench->device->op->cast(bench->device, block, dtype, wide, DTYPE_F32, count);
  bench->device->op->synchronize(bench->device);
  bench->device->op->release(bench->device, wide);
  memory_release(host);
  return block;
}

static void report(const struct bench *bench, const char *name, void (*run)(struct device *device, const void *call),
                   const void *call, double flops, double bytes) {
  if (bench->filter && !strstr(name, bench->filter))
    return;
  double best = 1e30, end = clock_seconds() + 0.5;
  for (int i = 0; i < 4 || (clock_seconds() < end && i < 200); i++) {
    double start = clock_seconds();
    run(bench->device, call);
    bench->device->op->synchronize(bench->device);
    double seconds = clock_seconds() - start;
    best = seconds < best ? seconds : best;
  }
  printf("%-30s %-5s %9.3f ms", name, dtype_name(bench->dtype), best * 1e3);
  if (flops > 0)
    printf(" %8.1f GFLOP/s", flops / best * 1e-9);
  printf(" %8.2f GB/s\n", bytes / best * 1e-9);
  fflush(stdout);
}

#define RUN(operation, type)                                                                                           \
  static void run_##operation(struct device *device, const void *call) {                                               \
    device->op->operation(device, (const struct type *)call);                                                          \
  }
RUN(linear, linear)
RUN(linear_data_gradient, linear_data_gradient)
RUN(linear_weight_gradient, linear_weight_gradient)
RUN(activation, activation_call)
RUN(activation_backward, activation_call)
RUN(norm, norm)
RUN(norm_backward, norm_backward)
RUN(adamw, adamw)
RUN(contrastive, contrastive)

struct copy {
  void *to;
  const void *from;
};
static void run_copy(struct device *device, const void *call) {
  const struct copy *copy = call;
  device->op->copy(device, copy->to, copy->from, COPY_BYTES);
}

static void bench_products(const struct bench *bench, const char *name, int64_t in, int64_t out) {
  enum dtype dtype = bench->dtype;
  void *x = make(bench, dtype, ROWS * in), *weight = make(bench, dtype, in * out), *y = make(bench, dtype, ROWS * out);
  float *dweight = make(bench, DTYPE_F32, in * out);
  double flops = 2.0 * ROWS * (double)(in * out),
         bytes = (double)(ROWS * (in + out) + in * out) * (double)dtype_size(dtype);
  struct linear forward = {.rows = ROWS,
                           .in = in,
                           .out = out,
                           .dtype = dtype,
                           .y_dtype = dtype,
                           .x = x,
                           .weight = weight,
                           .bias = bench->zeros,
                           .y = y};
  struct linear_data_gradient data = {
      .rows = ROWS, .in = in, .out = out, .dtype = dtype, .dx_dtype = dtype, .dy = y, .weight = weight, .dx = x};
  struct linear_weight_gradient gradient = {
      .rows = ROWS, .in = in, .out = out, .dtype = dtype, .x = x, .dy = y, .dweight = dweight};
  char line[64];
  for (int frozen = 0; frozen < 2; frozen++) {
    forward.frozen = data.frozen = frozen;
    snprintf(line, sizeof line, "%s %s", name, frozen ? "frozen" : "plain");
    report(bench, line, run_linear, &forward, flops, bytes);
    snprintf(line, sizeof line, "%s data gradient %s", name, frozen ? "frozen" : "plain");
    report(bench, line, run_linear_data_gradient, &data, flops, bytes);
  }
  snprintf(line, sizeof line, "%s weight gradient", name);
  report(bench, line, run_linear_weight_gradient, &gradient, flops, bytes + 4.0 * (double)(in * out));
  void *blocks[] = {x, weight, y, dweight};
  for (int i = 0; i < 4; i++)
    bench->device->op->release(bench->device, blocks[i]);
}

static void bench_activations(const struct bench *bench) {
  int64_t count = (int64_t)ROWS * HIDDEN;
  void *x = make(bench, bench->dtype, count), *y = make(bench, bench->dtype, count);
  double pass = (double)count * (double)dtype_size(bench->dtype);
  for (enum activation kind = ACTIVATION_GELU; kind <= ACTIVATION_QUICKGELU; kind++) {
    struct activation_call call = {.rows = ROWS,
                                   .columns = HIDDEN,
                                   .dtype = bench->dtype,
                                   .kind = kind,
                                   .x = x,
                                   .y = y,
                                   .dy = y,
                                   .dx = y,
                                   .dbias = bench->zeros};
    report(bench, kind == ACTIVATION_GELU ? "GELU" : "QuickGELU", run_activation, &call, 0, 2 * pass);
    report(bench, kind == ACTIVATION_GELU ? "GELU backward" : "QuickGELU backward", run_activation_backward, &call, 0,
           3 * pass);
  }
  bench->device->op->release(bench->device, x);
  bench->device->op->release(bench->device, y);
}

static void bench_norms(const struct bench *bench) {
  int64_t count = (int64_t)ROWS * WIDTH;
  float *x = make(bench, DTYPE_F32, count), *dx = make(bench, DTYPE_F32, count), *mean = make(bench, DTYPE_F32, ROWS),
        *rstd = make(bench, DTYPE_F32, ROWS);
  void *branch = make(bench, bench->dtype, count), *y = make(bench, bench->dtype, count);
  double half = (double)count * (double)dtype_size(bench->dtype), full = 4.0 * (double)count;
  struct norm forward = {.rows = ROWS,
                         .width = WIDTH,
                         .dtype = bench->dtype,
                         .y_dtype = bench->dtype,
                         .x = x,
                         .x_out = x,
                         .branch = branch,
                         .weight = bench->zeros,
                         .bias = bench->zeros,
                         .y = y,
                         .mean = mean,
                         .rstd = rstd};
  struct norm_backward backward = {.rows = ROWS,
                                   .width = WIDTH,
                                   .dtype = bench->dtype,
                                   .dy_dtype = bench->dtype,
                                   .dy = y,
                                   .x = x,
                                   .mean = mean,
                                   .rstd = rstd,
                                   .weight = bench->zeros,
                                   .dx = dx,
                                   .dweight = bench->zeros,
                                   .dbias = bench->zeros,
                                   .dbranch = branch,
                                   .dbranch_bias = bench->zeros};
  report(bench, "add + norm", run_norm, &forward, 0, 2 * half + 2 * full);
  report(bench, "add + norm backward", run_norm_backward, &backward, 0, 2 * half + 3 * full);
  void *blocks[] = {x, dx, mean, rstd, branch, y};
  for (int i = 0; i < 6; i++)
    bench->device->op->release(bench->device, blocks[i]);
}

static void bench_adamw(const struct bench *bench) {
  int64_t count = 8 << 20;
  float *block[4];
  for (int i = 0; i < 4; i++) {
    block[i] = make(bench, DTYPE_F32, count);
    bench->device->op->zero(bench->device, block[i], (size_t)count * sizeof(float));
  }
  bf16 *compute = make(bench, DTYPE_BF16, count);
  const struct adamw_group group = adamw_group_at(1, 1e-4, 0.1, 0.9, 0.98);
  const size_t bytes = (size_t)(count / ADAMW_BLOCK) * sizeof(uint16_t);
  void *group_of = bench->device->op->allocate(bench->device, bytes, "groups");
  bench->device->op->zero(bench->device, group_of, bytes);
  struct adamw call = {.count = count,
                       .group_of = group_of,
                       .groups = &group,
                       .group_count = 1,
                       .parameter = block[0],
                       .gradient = block[1],
                       .first_moment = block[2],
                       .second_moment = block[3],
                       .compute = compute,
                       .beta1 = 0.9,
                       .beta2 = 0.98,
                       .eps = 1e-6};
  report(bench, "AdamW", run_adamw, &call, 0, 30.0 * (double)count);
  bench->device->op->release(bench->device, compute);
  bench->device->op->release(bench->device, group_of);
  for (int i = 0; i < 4; i++)
    bench->device->op->release(bench->device, block[i]);
}

static void bench_contrastive(const struct bench *bench) {
  int64_t count = (int64_t)PAIRS * EMBEDDING;
  float *block[4];
  for (int i = 0; i < 4; i++)
    block[i] = make(bench, DTYPE_F32, count);
  double *loss = bench->device->op->allocate(bench->device, sizeof *loss, "bench");
  bench->device->op->zero(bench->device, loss, sizeof *loss);
  struct contrastive call = {.global = PAIRS,
                             .width = EMBEDDING,
                             .count = PAIRS,
                             .weight = 1,
                             .images = block[0],
                             .texts = block[1],
                             .logit_scale = bench->zeros,
                             .loss = loss,
                             .dimages = block[2],
                             .dtexts = block[3],
                             .dlogit_scale = bench->zeros};
  report(bench, "contrastive 2048 pairs", run_contrastive, &call, 10.0 * PAIRS * PAIRS * EMBEDDING,
         16.0 * (double)count);
  bench->device->op->release(bench->device, loss);
  for (int i = 0; i < 4; i++)
    bench->device->op->release(bench->device, block[i]);
}

static void bench_copy(const struct bench *bench) {
  void *to = bench->device->op->allocate(bench->device, COPY_BYTES, "bench"),
       *from = bench->device->op->allocate(bench->device, COPY_BYTES, "bench");
  report(bench, "large copy", run_copy, &(struct copy){to, from}, 0, 2.0 * COPY_BYTES);
  bench->device->op->release(bench->device, to);
  bench->device->op->release(bench->device, from);
}

int main(int count, char **argument) {
  struct bench bench = {.filter = count > 3 ? argument[3] : NULL};
  if (device_open(count > 2 ? argument[2] : "cpu", count > 1 ? atoi(argument[1]) : 0, &bench.device) != STATUS_OK) {
    fprintf(stderr, "%s\n", error_message());
    return 1;
  }
  printf("%s: %s\n", bench.device->op->name, bench.device->description);
  bench_copy(&bench);
  for (bench.dtype = DTYPE_F32; bench.dtype <= DTYPE_BF16; bench.dtype++) {
    bench.zeros = bench.device->op->allocate(bench.device, HIDDEN * sizeof(float), "bench");
    bench.device->op->zero(bench.device, bench.zeros, HIDDEN * sizeof(float));
    bench_products(&bench, "qkv 768-2304", WIDTH, 3 * WIDTH);
    bench_products(&bench, "out 768-768", WIDTH, WIDTH);
    bench_products(&bench, "fc1 768-3072", WIDTH, HIDDEN);
    bench_products(&bench, "fc2 3072-768", HIDDEN, WIDTH);
    bench_activations(&bench);
    bench_norms(&bench);
    bench.device->op->release(bench.device, bench.zeros);
  }
  bench.dtype = DTYPE_F32;
  bench.zeros = make(&bench, DTYPE_F32, 1);
  bench_adamw(&bench);
  bench_contrastive(&bench);
  bench.device->op->release(bench.device, bench.zeros);
  device_close(bench.device);
  return 0;
}

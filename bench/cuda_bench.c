/* Speed of the device's operations at the sizes of a training step on a GPU: cuda-bench [device] [part of a name].
 * First the two limits, a large product and a large copy, then each operation as time, rate and share of the limit that
 * binds it: bytes are those of operands read and results written once. */
#include "base/clock.h"
#include "base/memory.h"
#include "device/device.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 256, RUNS = 10, SERIES = 5 };

struct bench {
  struct device *device;
  const char *filter;
  double flops, bytes; /* limits, per second */
};

/* One operation and its work. */
struct work {
  const char *name;
  void (*run)(struct device *device, const void *call);
  const void *call;
  double flops, bytes;
};

/* Uniform, variance 1, times `scale`; i32: below `scale`. */
static void *make(const struct bench *bench, enum dtype dtype, int64_t count, double scale) {
  enum { PIECE = 1 << 20 };
  const size_t size = dtype_size(dtype);
  char *host = memory_allocate(PIECE * size, "bench"),
       *block = bench->device->op->allocate(bench->device, (size_t)count * size, "bench");
  uint32_t state = (uint32_t)count;
  for (int64_t first = 0; first < count; first += PIECE) {
    const int64_t length = count - first < PIECE ? count - first : PIECE;
    for (int64_t i = 0; i < length; i++) {
      state = state * 1664525u + 1013904223u;
      const double unit = (double)(state >> 8) * 0x1p-24;
      const float value = (float)(scale * (unit * 3.46 - 1.73));
      const int32_t whole = (int32_t)(unit * scale);
      const bf16 half = bf16_from_float(value);
      const void *from = dtype == DTYPE_BF16 ? (const void *)&half : dtype == DTYPE_I32 ? (const void *)&whole : &value;
      memcpy(host + (size_t)i * size, from, size);
    }
    bench->device->op->copy_in(bench->device, block + (size_t)first * size, host, (size_t)length * size);
    bench->device->op->synchronize(bench->device);
  }
  memory_release(host);
  return block;
}

/* Seconds of one run: the best of a few series, each in flight at once. */
static double measure(const struct bench *bench, const struct work *work) {
  double best = INFINITY;
  work->run(bench->device, work->call);
  for (int series = 0; series < SERIES; series++) {
    bench->device->op->synchronize(bench->device);
    const double start = clock_seconds();
    for (int i = 0; i < RUNS; i++)
      work->run(bench->device, work->call);
    bench->device->op->synchronize(bench->device);
    best = fmin(best, (clock_seconds() - start) / RUNS);
  }
  return best;
}

static void report(const struct bench *bench, const struct work *work) {
  if (bench->filter && !strstr(work->name, bench->filter))
    return;
  const double seconds = measure(bench, work), by_flops = work->flops / bench->flops,
               by_bytes = work->bytes / bench->bytes;
  printf("%-34s %9.3f ms %8.1f TFLOP/s %7.2f TB/s %5.0f %% of the %s\n", work->name, seconds * 1e3,
         work->flops / seconds * 1e-12, work->bytes / seconds * 1e-12, 100 * fmax(by_flops, by_bytes) / seconds,
         by_flops > by_bytes ? "product" : "copy");
  fflush(stdout);
}

#define RUNNER(operation, type)                                                                                        \
  static void run_##operation(struct device *device, const void *call) {                                               \
    device->op->operation(device, (const struct type *)call);                                                          \
  }
RUNNER(linear, linear)
RUNNER(linear_data_gradient, linear_data_gradient)
RUNNER(linear_weight_gradient, linear_weight_gradient)
RUNNER(activation, activation_call)
RUNNER(activation_backward, activation_call)
RUNNER(norm, norm)
RUNNER(norm_backward, norm_backward)
RUNNER(attention, attention)
RUNNER(attention_backward, attention)
RUNNER(memory_select, memory_select)
RUNNER(memory_select_backward, memory_select)
RUNNER(memory_read, memory_read)
RUNNER(memory_read_backward, memory_read)
RUNNER(contrastive, contrastive)
RUNNER(adamw, adamw)

struct copy {
  void *to;
  const void *from;
  size_t bytes;
};
static void run_copy(struct device *device, const void *call) {
  const struct copy *copy = call;
  device->op->copy(device, copy->to, copy->from, copy->bytes);
}

static void measure_limits(struct bench *bench) {
  enum { SIDE = 8192 };
  const int64_t count = (int64_t)SIDE * SIDE;
  void *x = make(bench, DTYPE_BF16, count, 1), *weight = make(bench, DTYPE_BF16, count, 1),
       *y = make(bench, DTYPE_BF16, count, 1);
  const struct linear product = {.rows = SIDE,
                                 .in = SIDE,
                                 .out = SIDE,
                                 .dtype = DTYPE_BF16,
                                 .y_dtype = DTYPE_BF16,
                                 .x = x,
                                 .weight = weight,
                                 .y = y};
  const struct copy copy = {y, x, (size_t)count * 2};
  bench->flops = 2.0 * SIDE * SIDE * SIDE / measure(bench, &(struct work){"", run_linear, &product, 0, 0});
  bench->bytes = 2.0 * (double)copy.bytes / measure(bench, &(struct work){"", run_copy, &copy, 0, 0});
  printf("limits: bf16 product of %d %.1f TFLOP/s, copy %.2f TB/s read and written\n", SIDE, bench->flops * 1e-12,
         bench->bytes * 1e-12);
  bench->device->op->release(bench->device, x);
  bench->device->op->release(bench->device, weight);
  bench->device->op->release(bench->device, y);
}

static void bench_linear(const struct bench *bench, int64_t rows, int64_t in, int64_t out) {
  char name[64];
  const double flops = 2.0 * (double)(rows * in) * (double)out,
               bytes = 2.0 * (double)(rows * in + in * out + rows * out);
  const struct linear forward = {.rows = rows,
                                 .in = in,
                                 .out = out,
                                 .dtype = DTYPE_BF16,
                                 .y_dtype = DTYPE_BF16,
                                 .x = make(bench, DTYPE_BF16, rows * in, 1),
                                 .weight = make(bench, DTYPE_BF16, in * out, 0.05),
                                 .bias = make(bench, DTYPE_F32, out, 1),
                                 .y = make(bench, DTYPE_BF16, rows * out, 1)};
  const struct linear_data_gradient data = {.rows = rows,
                                            .in = in,
                                            .out = out,
                                            .dtype = DTYPE_BF16,
                                            .dx_dtype = DTYPE_BF16,
                                            .dy = forward.y,
                                            .weight = forward.weight,
                                            .dx = (void *)(uintptr_t)forward.x};
  const struct linear_weight_gradient weight = {.rows = rows,
                                                .in = in,
                                                .out = out,
                                                .dtype = DTYPE_BF16,
                                                .x = forward.x,
                                                .dy = forward.y,
                                                .dweight = make(bench, DTYPE_F32, in * out, 0)};
  snprintf(name, sizeof name, "linear %lld -> %lld", (long long)in, (long long)out);
  report(bench, &(struct work){name, run_linear, &forward, flops, bytes});
  snprintf(name, sizeof name, "linear dx %lld -> %lld", (long long)in, (long long)out);
  report(bench, &(struct work){name, run_linear_data_gradient, &data, flops, bytes});
  snprintf(name, sizeof name, "linear dW %lld -> %lld", (long long)in, (long long)out);
  report(bench, &(struct work){name, run_linear_weight_gradient, &weight, flops, bytes});
}

static void bench_activation(const struct bench *bench, int64_t rows, int64_t columns, enum activation kind) {
  const double bytes = 2.0 * (double)(rows * columns);
  const struct activation_call call = {.rows = rows,
                                       .columns = columns,
                                       .dtype = DTYPE_BF16,
                                       .kind = kind,
                                       .x = make(bench, DTYPE_BF16, rows * columns, 2),
                                       .y = make(bench, DTYPE_BF16, rows * columns, 1),
                                       .dy = make(bench, DTYPE_BF16, rows * columns, 1),
                                       .dx = make(bench, DTYPE_BF16, rows * columns, 1),
                                       .dbias = make(bench, DTYPE_F32, columns, 0)};
  report(bench, &(struct work){kind == ACTIVATION_GELU ? "gelu" : "quickgelu", run_activation, &call, 0, 2 * bytes});
  report(bench, &(struct work){kind == ACTIVATION_GELU ? "gelu backward" : "quickgelu backward",
                               run_activation_backward, &call, 0, 3 * bytes});
}

static void bench_norm(const struct bench *bench, int64_t rows, int64_t width) {
  char name[64];
  const int64_t count = rows * width;
  float *x = make(bench, DTYPE_F32, count, 1), *mean = make(bench, DTYPE_F32, rows, 0),
        *rstd = make(bench, DTYPE_F32, rows, 1), *weight = make(bench, DTYPE_F32, width, 1);
  void *branch = make(bench, DTYPE_BF16, count, 1), *y = make(bench, DTYPE_BF16, count, 1);
  const struct norm forward = {.rows = rows,
                               .width = width,
                               .dtype = DTYPE_BF16,
                               .y_dtype = DTYPE_BF16,
                               .x = x,
                               .branch = branch,
                               .weight = weight,
                               .bias = weight,
                               .x_out = x,
                               .y = y,
                               .mean = mean,
                               .rstd = rstd};
  const struct norm_backward backward = {.rows = rows,
                                         .width = width,
                                         .dtype = DTYPE_BF16,
                                         .dy_dtype = DTYPE_BF16,
                                         .dy = y,
                                         .x = x,
                                         .mean = mean,
                                         .rstd = rstd,
                                         .weight = weight,
                                         .dx = make(bench, DTYPE_F32, count, 1),
                                         .dweight = make(bench, DTYPE_F32, width, 0),
                                         .dbias = make(bench, DTYPE_F32, width, 0),
                                         .dbranch = branch,
                                         .dbranch_bias = make(bench, DTYPE_F32, width, 0)};
  snprintf(name, sizeof name, "residual + norm %lld", (long long)width);
  report(bench, &(struct work){name, run_norm, &forward, 0, 12.0 * (double)count});
  snprintf(name, sizeof name, "norm backward %lld", (long long)width);
  report(bench, &(struct work){name, run_norm_backward, &backward, 0, 16.0 * (double)count});
}

static void bench_attention(const struct bench *bench, const char *label, int64_t tokens, int64_t heads, int64_t d,
                            bool causal) {
  char name[64];
  const int64_t width = heads * d, rows = BATCH * tokens;
  const double share = causal ? 0.5 : 1, product = 2.0 * (double)(rows * tokens) * (double)width * share,
               bytes = 2.0 * (double)(rows * width);
  char *qkv = make(bench, DTYPE_BF16, 3 * rows * width, 1), *gradient = make(bench, DTYPE_BF16, 3 * rows * width, 1);
  const struct attention call = {.batch = BATCH,
                                 .tokens = tokens,
                                 .queries = tokens,
                                 .heads = heads,
                                 .head_width = d,
                                 .q_stride = 3 * width,
                                 .kv_stride = 3 * width,
                                 .dtype = DTYPE_BF16,
                                 .causal = causal,
                                 .q = qkv,
                                 .k = qkv + 2 * width,
                                 .v = qkv + 4 * width,
                                 .out = make(bench, DTYPE_BF16, rows * width, 1),
                                 .lse = make(bench, DTYPE_F32, rows * heads, 1),
                                 .dout = make(bench, DTYPE_BF16, rows * width, 1),
                                 .dq = gradient,
                                 .dk = gradient + 2 * width,
                                 .dv = gradient + 4 * width};
  snprintf(name, sizeof name, "attention %s", label);
  report(bench, &(struct work){name, run_attention, &call, 2 * product, 4 * bytes});
  snprintf(name, sizeof name, "attention backward %s", label);
  report(bench, &(struct work){name, run_attention_backward, &call, 5 * product, 8 * bytes});
}

static void bench_memory(const struct bench *bench, int64_t n_keys, int64_t heads, int64_t knn, int64_t half,
                         int64_t width) {
  char name[64];
  const int64_t rows = BATCH * 197, entries = heads * knn, slots = n_keys * n_keys;
  int32_t *index = make(bench, DTYPE_I32, rows * entries, (double)slots);
  float *weight = make(bench, DTYPE_F32, rows * entries, 0.1), *dweight = make(bench, DTYPE_F32, rows * entries, 1);
  const double score = 2.0 * (double)(rows * 2 * heads) * (double)(n_keys * half),
               query_bytes = 4.0 * (double)(rows * heads * half), row_bytes = 2.0 * (double)(rows * width),
               gathered = 2.0 * (double)(rows * entries) * (double)width;
  const struct memory_select select = {.rows = rows,
                                       .heads = heads,
                                       .n_keys = n_keys,
                                       .knn = knn,
                                       .half = half,
                                       .dtype = DTYPE_BF16,
                                       .queries = make(bench, DTYPE_BF16, rows * heads * 2 * half, 1),
                                       .keys = make(bench, DTYPE_BF16, 2 * heads * n_keys * half, 0.1),
                                       .index = index,
                                       .weight = weight,
                                       .dweight = dweight,
                                       .dqueries = make(bench, DTYPE_BF16, rows * heads * 2 * half, 1),
                                       .dkeys = make(bench, DTYPE_F32, 2 * heads * n_keys * half, 0)};
  const struct memory_read read = {.rows = rows,
                                   .entries = entries,
                                   .slots = slots,
                                   .width = width,
                                   .dtype = DTYPE_BF16,
                                   .index = index,
                                   .weight = weight,
                                   .values = make(bench, DTYPE_BF16, slots * width, 1),
                                   .out = make(bench, DTYPE_BF16, rows * width, 1),
                                   .dout = make(bench, DTYPE_BF16, rows * width, 1),
                                   .dweight = dweight,
                                   .dvalues = make(bench, DTYPE_F32, slots * width, 0)};
  const struct work list[] = {{"select", run_memory_select, &select, score, query_bytes},
                              {"select backward", run_memory_select_backward, &select, 0, 2 * query_bytes},
                              {"read", run_memory_read, &read, 0, gathered + row_bytes},
                              {"read backward", run_memory_read_backward, &read, 0, 2 * gathered + 2 * row_bytes}};
  for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
    struct work work = list[i];
    snprintf(name, sizeof name, "memory %lld^2 %s", (long long)n_keys, work.name);
    work.name = name;
    report(bench, &work);
  }
}

static void bench_contrastive(const struct bench *bench, int64_t pairs, int64_t width) {
  const struct contrastive call = {.global = pairs,
                                   .width = width,
                                   .count = pairs,
                                   .weight = 1,
                                   .images = make(bench, DTYPE_F32, pairs * width, 0.04),
                                   .texts = make(bench, DTYPE_F32, pairs * width, 0.04),
                                   .logit_scale = make(bench, DTYPE_F32, 1, 1),
                                   .loss = make(bench, DTYPE_F32, 2, 0),
                                   .dimages = make(bench, DTYPE_F32, pairs * width, 0),
                                   .dtexts = make(bench, DTYPE_F32, pairs * width, 0),
                                   .dlogit_scale = make(bench, DTYPE_F32, 1, 0)};
  report(bench,
         &(struct work){"contrastive loss", run_contrastive, &call, 10.0 * (double)(pairs * pairs) * (double)width, 0});
}

static void bench_adamw(const struct bench *bench, int64_t count) {
  const struct adamw call = {.count = count,
                             .step = 1,
                             .parameter = make(bench, DTYPE_F32, count, 1),
                             .gradient = make(bench, DTYPE_F32, count, 1),
                             .first_moment = make(bench, DTYPE_F32, count, 0),
                             .second_moment = make(bench, DTYPE_F32, count, 0),
                             .compute = make(bench, DTYPE_BF16, count, 1),
                             .lr = 1e-3,
                             .beta1 = 0.9,
                             .beta2 = 0.98,
                             .eps = 1e-6};
  report(bench, &(struct work){"adamw", run_adamw, &call, 0, 30.0 * (double)count});
}

int main(int count, char **argument) {
  struct bench bench = {.filter = count > 2 ? argument[2] : NULL};
  if (device_open(count > 1 ? argument[1] : "cuda", 0, &bench.device) != STATUS_OK) {
    fprintf(stderr, "cuda-bench: %s\n", error_message());
    return STATUS_SYSTEM;
  }
  printf("%s: %s\n", bench.device->op->name, bench.device->description);
  measure_limits(&bench);
  const int64_t rows = BATCH * 197;
  static const int64_t linears[][2] = {{768, 2304}, {768, 768}, {768, 3072}, {3072, 768}};
  for (int i = 0; i < 4; i++)
    bench_linear(&bench, rows, linears[i][0], linears[i][1]);
  bench_activation(&bench, rows, 3072, ACTIVATION_GELU);
  bench_activation(&bench, rows, 3072, ACTIVATION_QUICKGELU);
  bench_norm(&bench, rows, 768);
  bench_attention(&bench, "B/16", 197, 12, 64, false);
  bench_attention(&bench, "text", 77, 8, 64, true);
  bench_attention(&bench, "H/14", 257, 16, 80, false);
  bench_memory(&bench, 8, 2, 4, 128, 256);
  bench_memory(&bench, 1024, 4, 32, 256, 768);
  bench_contrastive(&bench, 16384, 512);
  bench_adamw(&bench, 150000000);
  return 0;
}

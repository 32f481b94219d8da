/* Speed of the device's attention and memory operations at the sizes of ViT-B/16, batch 20, beside a GEMM and a copy of
 * the same run: bench_kernels [threads] [device] [part of a name] Each line: best time of several runs, GFLOP/s, GB/s
 * of the operands read and written once. */
#include "base/clock.h"
#include "base/memory.h"
#include "device/device.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 20, TOKENS = 197, HEADS = 12, HEAD_WIDTH = 64, WIDTH = HEADS * HEAD_WIDTH, ROWS = BATCH * TOKENS };
enum {
  MEMORY_HEADS = 2,
  KEYS = 8,
  KNN = 4,
  HALF = 128,
  VALUE_WIDTH = 256,
  ENTRIES = MEMORY_HEADS * KNN,
  SLOTS = KEYS * KEYS
};
enum {
  BIG_ROWS = 985,
  BIG_HEADS = 4,
  BIG_KEYS = 1024,
  BIG_KNN = 32,
  BIG_HALF = 256,
  BIG_WIDTH = 768,
  BIG_ENTRIES = BIG_HEADS * BIG_KNN
};

struct bench {
  struct device *device;
  enum dtype dtype;
  const char *filter;
};

static void *make(const struct bench *bench, enum dtype dtype, int64_t count, double scale) {
  uint32_t state = (uint32_t)count;
  size_t size = dtype_size(dtype);
  char *host = memory_allocate((size_t)count * size, "bench");
  for (int64_t i = 0; i < count; i++) {
    state = state * 1664525u + 1013904223u;
    float value = (float)(scale * ((double)(state >> 8) * 0x1p-24 * 3.46 - 1.73)); /* uniform, variance 1 */
    bf16 half = bf16_from_float(value);
    memcpy(host + (size_t)i * size, dtype == DTYPE_F32 ? (void *)&value : (void *)&half, size);
  }
  void *block = bench->device->op->allocate(bench->device, (size_t)count * size, "bench");
  bench->device->op->copy_in(bench->device, block, host, (size_t)count * size);
  memory_release(host);
  return block;
}

static void report(const struct bench *bench, const char *name, void (*run)(struct device *device, const void *call),
                   const void *call, double flops, double bytes) {
  if (bench->filter && !strstr(name, bench->filter))
    return;
  double best = 1e30, end = clock_seconds() + 1.0;
  for (int i = 0; i < 5 || (clock_seconds() < end && i < 200); i++) {
    double start = clock_seconds();
    run(bench->device, call);
    bench->device->op->synchronize(bench->device);
    double seconds = clock_seconds() - start;
    best = seconds < best ? seconds : best;
  }
  printf("%-34s %-5s %9.3f ms %8.1f GFLOP/s %8.2f GB/s\n", name, dtype_name(bench->dtype), best * 1e3,
         flops / best * 1e-9, bytes / best * 1e-9);
  fflush(stdout);
}

#define RUN(operation, type)                                                                                           \
  static void run_##operation(struct device *device, const void *call) {                                               \
    device->op->operation(device, (const struct type *)call);                                                          \
  }
RUN(linear, linear)
RUN(attention, attention)
RUN(attention_backward, attention)
RUN(memory_select, memory_select)
RUN(memory_select_backward, memory_select)
RUN(memory_read, memory_read)
RUN(memory_read_backward, memory_read)
RUN(gate, gate)
RUN(gate_backward, gate)

struct copy {
  void *to, *from;
  size_t bytes;
};
static void run_copy(struct device *device, const void *call) {
  const struct copy *copy = call;
  device->op->copy(device, copy->to, copy->from, copy->bytes);
}

static void bench_yardsticks(const struct bench *bench) {
  enum dtype dtype = bench->dtype;
  struct linear mlp = {.rows = ROWS, .in = WIDTH, .out = 4 * WIDTH, .dtype = dtype, .y_dtype = dtype, .frozen = true};
  mlp.x = make(bench, dtype, mlp.rows * mlp.in, 1);
  mlp.weight = make(bench, dtype, mlp.in * mlp.out, 1);
  mlp.y = make(bench, dtype, mlp.rows * mlp.out, 1);
  report(bench, "linear 768 -> 3072, frozen", run_linear, &mlp, 2.0 * ROWS * WIDTH * 4 * WIDTH, 0);
  struct linear query = mlp;
  query.out = MEMORY_HEADS * 2 * HALF;
  query.frozen = false;
  report(bench, "linear 768 -> 512 (query)", run_linear, &query, 2.0 * ROWS * WIDTH * (double)query.out, 0);
  struct copy copy = {mlp.y, make(bench, DTYPE_F32, 16 << 20, 1), 24 << 20};
  if (copy.bytes > (size_t)(mlp.rows * mlp.out) * dtype_size(dtype))
    copy.bytes = (size_t)(mlp.rows * mlp.out) * dtype_size(dtype);
  report(bench, "copy, one thread", run_copy, &copy, 0, 2.0 * (double)copy.bytes);
}

static void bench_attention(const struct bench *bench, const char *name, int64_t batch, int64_t tokens, int64_t heads,
                            bool causal) {
  enum dtype dtype = bench->dtype;
  int64_t width = heads * HEAD_WIDTH, rows = batch * tokens;
  size_t size = dtype_size(dtype);
  char *qkv = make(bench, dtype, rows * 3 * width, 1), *dqkv = make(bench, dtype, rows * 3 * width, 1);
  struct attention call = {.batch = batch,
                           .tokens = tokens,
                           .queries = tokens,
                           .heads = heads,
                           .head_width = HEAD_WIDTH,
                           .q_stride = 3 * width,
                           .kv_stride = 3 * width,
                           .dtype = dtype,
                           .causal = causal,
                           .q = qkv,
                           .k = qkv + (size_t)width * size,
                           .v = qkv + 2 * (size_t)width * size,
                           .out = make(bench, dtype, rows * width, 1),
                           .lse = make(bench, DTYPE_F32, rows * heads, 1),
                           .dout = make(bench, dtype, rows * width, 1),
                           .dq = dqkv,
                           .dk = dqkv + (size_t)width * size,
                           .dv = dqkv + 2 * (size_t)width * size};
  double flops = 4.0 * (double)(rows * tokens * width) * (causal ? 0.5 : 1),
         bytes = (double)(rows * width) * (double)size;
  char label[64];
  snprintf(label, sizeof label, "attention %s", name);
  report(bench, label, run_attention, &call, flops, 4 * bytes);
  snprintf(label, sizeof label, "attention_backward %s", name);
  report(bench, label, run_attention_backward, &call, 2.5 * flops, 7 * bytes);
}

struct memory_sizes {
  const char *name;
  int64_t rows, heads, keys, knn, half, width;
};

static void bench_memory(const struct bench *bench, const struct memory_sizes *m) {
  enum dtype dtype = bench->dtype;
  int64_t entries = m->heads * m->knn, slots = m->keys * m->keys, queries = m->rows * m->heads * 2 * m->half;
  double size = (double)dtype_size(dtype);
  struct memory_select select = {.rows = m->rows,
                                 .heads = m->heads,
                                 .n_keys = m->keys,
                                 .knn = m->knn,
                                 .half = m->half,
                                 .dtype = dtype,
                                 .queries = make(bench, dtype, queries, 1),
                                 .keys = make(bench, dtype, 2 * m->heads * m->keys * m->half, 0.1),
                                 .index = make(bench, DTYPE_F32, m->rows * entries, 0),
                                 .weight = make(bench, DTYPE_F32, m->rows * entries, 1),
                                 .dweight = make(bench, DTYPE_F32, m->rows * entries, 1),
                                 .dqueries = make(bench, dtype, queries, 1),
                                 .dkeys = make(bench, DTYPE_F32, 2 * m->heads * m->keys * m->half, 1)};
  struct memory_read read = {.rows = m->rows,
                             .entries = entries,
                             .slots = slots,
                             .width = m->width,
                             .dtype = dtype,
                             .index = select.index,
                             .weight = select.weight,
                             .values = make(bench, dtype, slots * m->width, 1),
                             .out = make(bench, dtype, m->rows * m->width, 1),
                             .dout = make(bench, dtype, m->rows * m->width, 1),
                             .dweight = (float *)select.dweight,
                             .dvalues = make(bench, DTYPE_F32, slots * m->width, 0)};
  double scores = 2.0 * (double)(queries * m->keys), sums = 2.0 * (double)(m->rows * entries * m->width);
  double rows_bytes = (double)(m->rows * m->width) * size, gathered = (double)(m->rows * entries * m->width) * size;
  char label[64];
  struct part {
    const char *name;
    void (*run)(struct device *device, const void *call);
    const void *call;
    double flops, bytes;
  } parts[] = {{"memory_select", run_memory_select, &select, scores, (double)queries * size},
               {"memory_select_backward", run_memory_select_backward, &select, 0, 2 * (double)queries * size},
               {"memory_read", run_memory_read, &read, sums, gathered + rows_bytes},
               {"memory_read_backward", run_memory_read_backward, &read, 2 * sums, 2 * gathered + rows_bytes}};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    snprintf(label, sizeof label, "%s %s", parts[i].name, m->name);
    if (i == 1) /* its indices come from the forward */
      run_memory_select(bench->device, &select);
    report(bench, label, parts[i].run, parts[i].call, parts[i].flops, parts[i].bytes);
  }
}

static void bench_gate(const struct bench *bench) {
  enum dtype dtype = bench->dtype;
  int64_t count = (int64_t)ROWS * VALUE_WIDTH;
  struct gate call = {.rows = ROWS,
                      .columns = VALUE_WIDTH,
                      .dtype = dtype,
                      .m = make(bench, dtype, count, 1),
                      .g = make(bench, dtype, count, 1),
                      .u = make(bench, dtype, count, 1),
                      .du = make(bench, dtype, count, 1),
                      .dm = make(bench, dtype, count, 1),
                      .dg = make(bench, dtype, count, 1),
                      .dgate_bias = make(bench, DTYPE_F32, VALUE_WIDTH, 1)};
  double bytes = (double)count * (double)dtype_size(dtype);
  report(bench, "gate", run_gate, &call, 0, 3 * bytes);
  report(bench, "gate_backward", run_gate_backward, &call, 0, 5 * bytes);
}

int main(int count, char **argument) {
  struct bench bench = {.filter = count > 3 ? argument[3] : NULL};
  if (device_open(count > 2 ? argument[2] : "cpu", count > 1 ? atoi(argument[1]) : 1, &bench.device) != STATUS_OK) {
    fprintf(stderr, "bench_kernels: %s\n", error_message());
    return 1;
  }
  printf("%s: %s\n", bench.device->op->name, bench.device->description);
  const struct memory_sizes small = {"8x8", ROWS, MEMORY_HEADS, KEYS, KNN, HALF, VALUE_WIDTH};
  const struct memory_sizes large = {"256x256", BIG_ROWS, BIG_HEADS, 256, BIG_KNN, BIG_HALF, BIG_WIDTH};
  static const enum dtype dtypes[] = {DTYPE_BF16, DTYPE_F32};
  for (int i = 0; i < 2; i++) {
    bench.dtype = dtypes[i];
    bench_yardsticks(&bench);
    bench_attention(&bench, "B20 T197", BATCH, TOKENS, HEADS, false);
    bench_attention(&bench, "B20 T77 causal", BATCH, 77, 8, true);
    bench_memory(&bench, &small);
    bench_memory(&bench, &large);
    bench_gate(&bench);
  }
  return 0;
}

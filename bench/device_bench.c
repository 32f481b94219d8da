/* Speed of a device, the GPU's or another: cuda-bench [--device NAME] [--threads N] [--precision bf16|fp32] [--batch N]
 * [--model NAME] [--json] [--tiny] [part of a name].
 * First the two limits, a large product and a large copy. Then every kernel at the shapes of ViT-B/16, CLIP's text
 * tower and ViT-H/14, and the steps of the training stages: time (median, best and worst of a few series), rates, share
 * of the limit (op_limits.h; of a step, the sum over its operations). --json prints one line for bench/beside.py. */
#include "bench/device_bench.h"
#include "base/clock.h"
#include "base/memory.h"
#include "bench/op_times.h"
#include "bench/pass.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- measuring */

static int compare_doubles(const void *a, const void *b) {
  return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

struct spread bench_spread(double seconds[BENCH_SERIES]) {
  qsort(seconds, BENCH_SERIES, sizeof *seconds, compare_doubles);
  return (struct spread){seconds[BENCH_SERIES / 2], seconds[0], seconds[BENCH_SERIES - 1]};
}

static double time_runs(const struct bench *bench, void (*run)(struct device *, const void *), const void *call,
                        int runs) {
  bench->device->op->synchronize(bench->device);
  const double start = clock_seconds();
  for (int i = 0; i < runs; i++)
    run(bench->device, call);
  bench->device->op->synchronize(bench->device);
  return (clock_seconds() - start) / runs;
}

struct spread bench_measure(const struct bench *bench, void (*run)(struct device *device, const void *call),
                            const void *call) {
  const double series_seconds = bench->tiny ? 0 : 0.02;
  enum { RUNS_MAX = 100 };
  double seconds[BENCH_SERIES];
  time_runs(bench, run, call, 1); /* the first one chooses algorithms and takes scratch memory */
  const int runs = (int)fmin(RUNS_MAX, 1 + series_seconds / time_runs(bench, run, call, 1));
  for (int i = 0; i < BENCH_SERIES; i++)
    seconds[i] = time_runs(bench, run, call, runs);
  return bench_spread(seconds);
}

/* ---- operands */

void *bench_make(struct bench *bench, enum dtype dtype, int64_t count, double scale) {
  enum { PIECE = 1 << 20 };
  const int64_t piece = count < PIECE ? count : PIECE;
  const size_t size = dtype_size(dtype);
  char *host = memory_allocate((size_t)piece * size, "bench"),
       *block = bench->device->op->allocate(bench->device, (size_t)count * size, "bench");
  uint32_t state = (uint32_t)count;
  for (int64_t i = 0; i < piece; i++) {
    state = state * 1664525u + 1013904223u;
    const double unit = (double)(state >> 8) * 0x1p-24;
    const float value = (float)(scale * (unit * 3.46 - 1.73));
    const int32_t whole = (int32_t)(unit * scale);
    const bf16 half = bf16_from_float(value);
    const void *from = dtype == DTYPE_BF16 ? (const void *)&half : dtype == DTYPE_I32 ? (const void *)&whole : &value;
    if (dtype == DTYPE_U8)
      host[i] = (char)(state >> 24);
    else if (dtype == DTYPE_F64)
      memset(host + (size_t)i * size, 0, size);
    else
      memcpy(host + (size_t)i * size, from, size);
  }
  for (int64_t first = 0; first < count; first += piece)
    bench->device->op->copy_in(bench->device, block + (size_t)first * size, host,
                               (size_t)(count - first < piece ? count - first : piece) * size);
  bench->device->op->synchronize(bench->device);
  memory_release(host);
  if (bench->block_count == BENCH_BLOCKS_MAX)
    fatal("cuda-bench: more than %d operands at once", BENCH_BLOCKS_MAX);
  return bench->blocks[bench->block_count++] = block;
}

void bench_release(struct bench *bench) {
  for (int i = 0; i < bench->block_count; i++)
    bench->device->op->release(bench->device, bench->blocks[i]);
  bench->block_count = 0;
}

/* ---- telling */

bool bench_wants(const struct bench *bench, const char *name) {
  return !bench->filter || strstr(name, bench->filter);
}

void bench_tell(struct bench *bench, const char *name, struct spread seconds, struct op_limit limit,
                double limit_seconds, const char *rest) {
  const bool by_flops = limit.flops / bench->rates.flops > limit.bytes / bench->rates.bytes;
  const char *binds = limit.bytes <= 0 ? "limit" : by_flops ? "product" : "copy";
  const double tflops = limit.flops / seconds.median * 1e-12, tbytes = limit.bytes / seconds.median * 1e-12,
               share = limit_seconds / seconds.median;
  if (bench->json)
    printf("%s{\"name\": \"%s\", \"ms\": %.5f, \"best\": %.5f, \"worst\": %.5f, \"tflops\": %.3f, \"tbytes\": %.4f, "
           "\"limit_ms\": %.5f, \"binds\": \"%s\", \"share\": %.4f%s}",
           bench->results ? ", " : "", name, seconds.median * 1e3, seconds.best * 1e3, seconds.worst * 1e3, tflops,
           tbytes, limit_seconds * 1e3, binds, share, rest ? rest : "");
  else
    printf("%-40s %9.3f ms (%.3f to %.3f) %9.1f GFLOP/s %7.1f GB/s %4.0f %% of the %s%s\n", name, seconds.median * 1e3,
           seconds.best * 1e3, seconds.worst * 1e3, 1e3 * tflops, 1e3 * tbytes, 100 * share, binds, rest ? rest : "");
  bench->results++;
  fflush(stdout);
}

/* ---- limits */

static void run_linear(struct device *device, const void *call) {
  device->op->linear(device, call);
}

struct copy {
  void *to;
  const void *from;
  size_t bytes;
};
static void run_copy(struct device *device, const void *call) {
  const struct copy *copy = call;
  device->op->copy(device, copy->to, copy->from, copy->bytes);
}

/* Seconds of a product of side x side. */
static double time_product(struct bench *bench, int64_t side) {
  const struct linear product = {.rows = side,
                                 .in = side,
                                 .out = side,
                                 .dtype = bench->dtype,
                                 .y_dtype = bench->dtype,
                                 .x = bench_make(bench, bench->dtype, side * side, 1),
                                 .weight = bench_make(bench, bench->dtype, side * side, 1),
                                 .y = bench_make(bench, bench->dtype, side * side, 1)};
  const double seconds = bench_measure(bench, run_linear, &product).best;
  bench->rates.flops = op_limit_linear(&product).flops / seconds;
  bench_release(bench);
  return seconds;
}

/* The product is as large as a millisecond allows, at most 8192. */
static void measure_limits(struct bench *bench) {
  int64_t side = bench->tiny ? 64 : 2048;
  const int64_t bytes = bench->tiny ? 8192 : 128 << 20;
  while (time_product(bench, side) < 1e-3 && side < 8192 && !bench->tiny)
    side *= 2;
  const struct copy copy = {bench_make(bench, DTYPE_U8, bytes, 1), bench_make(bench, DTYPE_U8, bytes, 1),
                            (size_t)bytes};
  bench->rates.bytes = 2.0 * (double)bytes / bench_measure(bench, run_copy, &copy).best;
  bench_release(bench);
  if (bench->json)
    printf("{\"device\": \"%s\", \"product_tflops\": %.2f, \"copy_tbytes\": %.4f, \"batch\": %lld, \"results\": [",
           bench->device->description, bench->rates.flops * 1e-12, bench->rates.bytes * 1e-12, (long long)bench->batch);
  else
    printf("%s: %s\nlimits: %s product of %lld: %.1f GFLOP/s; copy: %.1f GB/s read and written; batch %lld\n",
           bench->device->op->name, bench->device->description, dtype_name(bench->dtype), (long long)side,
           bench->rates.flops * 1e-9, bench->rates.bytes * 1e-9, (long long)bench->batch);
}

/* ---- steps */

static double time_step(const struct bench *bench, struct pass *pass) {
  bench->device->op->synchronize(bench->device);
  const double start = clock_seconds();
  pass_step(pass);
  bench->device->op->synchronize(bench->device);
  return clock_seconds() - start;
}

/* Where the time of a step goes when each operation is waited for, and how much more these take than their limit. */
static void list_classes(const struct bench *bench, const struct op_times *times, double total, struct text *out) {
  text_append_format(out, bench->json ? ", \"classes\": {" : "; waiting for each:");
  const char *separator = "";
  for (int i = 0; i < OP_CLASSES; i++)
    if (times->seconds[i] > 0) {
      text_append_format(out, bench->json ? "%s\"%s\": [%.4f, %.4f]" : "%s %s %.1f %% (limit %.1f %%)", separator,
                         op_class_name(i), (bench->json ? 1 : 100) * times->seconds[i] / total,
                         (bench->json ? 1 : 100) * times->limit[i] / total);
      separator = bench->json ? ", " : ",";
    }
  text_append_format(out, bench->json ? "}" : "");
}

static void bench_pass(struct bench *bench, const struct clip_config *config, enum pass_kind kind) {
  char name[64];
  struct pass *pass;
  const struct pass_request request = {.kind = kind,
                                       .device = bench->device,
                                       .dtype = bench->dtype,
                                       .config = config,
                                       .batch = (int)bench->batch,
                                       .rate = 1e-5};
  snprintf(name, sizeof name, "step %s", pass_names[kind]);
  if (!bench_wants(bench, name))
    return;
  if (pass_open(&request, &pass) != STATUS_OK)
    fatal("%s", error_message());
  double seconds[BENCH_SERIES];
  time_step(bench, pass);
  op_times_attach(bench->device, bench->rates);
  const double split = time_step(bench, pass);
  const struct op_times times = op_times_detach(bench->device);
  for (int i = 0; i < BENCH_SERIES; i++)
    seconds[i] = time_step(bench, pass);
  const struct spread spread = bench_spread(seconds);
  const double rate = pass_items(pass) / spread.median,
               share = op_times_flops(&times) / spread.median / bench->rates.flops;
  struct text rest = {0};
  text_append_format(&rest,
                     bench->json ? ", \"items\": %d, \"rate\": %.3f, \"product_share\": %.4f"
                                 : "; %d items, %.1f /s, %.2f of the product rate",
                     pass_items(pass), rate, share);
  list_classes(bench, &times, split, &rest);
  bench_tell(bench, name, spread, (struct op_limit){op_times_flops(&times), 0}, op_times_limit(&times), rest.data);
  text_release(&rest);
  pass_close(pass);
}

static struct clip_config tiny_config(void) {
  struct clip_config config;
  config_set_defaults(&config);
  config.embed_dim = 16;
  config.activation_known = true;
  config.image_height = config.image_width = 16;
  config.patch = 8;
  config.vision = (struct tower_config){.width = 64, .layers = 4, .heads = 1, .mlp_width = 64, .layer_scale = -1};
  config.text = (struct tower_config){.width = 64, .layers = 1, .heads = 1, .mlp_width = 64, .layer_scale = -1};
  config.context_length = 12;
  config.vocab_size = 50;
  return config;
}

static void bench_passes(struct bench *bench, const char *model) {
  struct clip_config config = tiny_config();
  if (!bench->tiny && config_built_in(model, &config) != STATUS_OK)
    fatal("%s", error_message());
  for (int kind = 0; kind < PASS_KINDS; kind++)
    bench_pass(bench, &config, (enum pass_kind)kind);
}

static int usage(void) {
  fprintf(stderr, "usage: cuda-bench [--device NAME] [--threads N] [--precision bf16|fp32] [--batch N] [--model NAME] "
                  "[--json] [--tiny] [part of a name]\n");
  return STATUS_INPUT + 1;
}

int main(int count, char **argument) {
  struct bench bench = {.dtype = DTYPE_BF16};
  const char *device = "cuda", *model = "ViT-B-16-quickgelu", *precision = "bf16", *batch = "0", *threads = "0";
  const struct option {
    const char *name, **value;
  } options[] = {{"--device", &device},
                 {"--threads", &threads},
                 {"--precision", &precision},
                 {"--batch", &batch},
                 {"--model", &model}};
  enum { OPTIONS = sizeof options / sizeof *options };
  for (int i = 1; i < count; i++) {
    int known = 0;
    while (known < OPTIONS && strcmp(argument[i], options[known].name) != 0)
      known++;
    if (known < OPTIONS && i + 1 < count)
      *options[known].value = argument[++i];
    else if (strcmp(argument[i], "--json") == 0)
      bench.json = true;
    else if (strcmp(argument[i], "--tiny") == 0)
      bench.tiny = true;
    else if (argument[i][0] != '-' && !bench.filter)
      bench.filter = argument[i];
    else
      return usage();
  }
  if (strcmp(precision, "fp32") == 0)
    bench.dtype = DTYPE_F32;
  else if (strcmp(precision, "bf16") != 0)
    return usage();
  bench.batch = atoi(batch) > 0 ? atoi(batch) : bench.tiny ? 2 : 256;
  if (device_open(device, atoi(threads), &bench.device) != STATUS_OK) {
    fprintf(stderr, "cuda-bench: %s\n", error_message());
    return STATUS_SYSTEM;
  }
  measure_limits(&bench);
  bench_kernels(&bench);
  bench_passes(&bench, model);
  if (bench.json)
    printf("]}\n");
  device_close(bench.device);
  return 0;
}

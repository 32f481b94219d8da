/* Speed of the passes of pass.h at a published size, beside the product rate measured in the same run, and by class of
 * operation.
 *
 * bench_step [--device cpu|cuda] [--precision bf16|fp32] [--batch N] [--model NAME] [--threads N] [forward] [distill]
 * [cached] [contrastive]; --paced ITEM is for bench/beside.py: one JSON line when ready, a step for every line read,
 * its seconds as a JSON line, and a last line at the end of the input. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "op_times.h"
#include "pace.h"
#include "pass.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS = 7, PRODUCT_RUNS = 10 };
static struct device *device;
static enum dtype dtype = DTYPE_BF16;
static int batch = 20;
static bool paced;
static const char *model_name = "ViT-B-16-quickgelu";
static double product_rate; /* FLOP/s */
static double first_bytes;

/* Memory of a device that is not the host's: what was asked for; passes release theirs at their end. */
static const struct device_operations *plain_operations;
static double asked_bytes;
static void *count_allocation(struct device *self, size_t bytes, const char *label) {
  asked_bytes += (double)bytes;
  return plain_operations->allocate(self, bytes, label);
}
static void count_device_memory(void) {
  static struct device_operations counting;
  plain_operations = device->op;
  counting = *plain_operations;
  counting.allocate = count_allocation;
  device->op = &counting;
}
static double used_bytes(void) {
  return device->memory_is_host ? 1e3 * (double)pace_peak_kilobytes() : asked_bytes;
}

static int compare_doubles(const void *a, const void *b) {
  return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

struct step {
  void (*run)(void *context);
  void *context;
};
static double time_step(void *opaque) {
  const struct step *step = opaque;
  const double start = clock_seconds();
  step->run(step->context);
  device->op->synchronize(device);
  return clock_seconds() - start;
}

/* The classes of one step, each operation waited for. */
static struct op_times split_step(struct step *step, double *seconds) {
  op_times_attach(device, (struct op_rates){product_rate, 0});
  *seconds = time_step(step);
  return op_times_detach(device);
}

/* Median, best and worst of RUNS steps. */
static void measure_freely(const char *name, double items, struct step *step) {
  double seconds[RUNS], split_seconds;
  const struct op_times times = split_step(step, &split_seconds);
  const double flops = op_times_flops(&times);
  const uint64_t allocations = memory_count_allocations();
  for (int i = 0; i < RUNS; i++)
    seconds[i] = time_step(step);
  qsort(seconds, RUNS, sizeof *seconds, compare_doubles);
  const double median = seconds[RUNS / 2];
  printf("%-12s %8.3f /s (best %.3f, worst %.3f), %.1f GFLOP each: %.1f GFLOP/s, %.1f %% of the product rate; "
         "%llu allocations, %.2f GB\n",
         name, items / median, items / seconds[0], items / seconds[RUNS - 1], 1e-9 * flops / items,
         1e-9 * flops / median, 100 * flops / median / product_rate,
         (unsigned long long)(memory_count_allocations() - allocations),
         1e-9 * (device->memory_is_host ? used_bytes() : used_bytes() - first_bytes));
  op_times_print(&times, split_seconds, stdout);
  fflush(stdout);
}

static void measure_paced(double items, struct step *step) {
  double split_seconds;
  const struct op_times times = split_step(step, &split_seconds);
  printf("{\"items\": %.0f, \"gflop\": %.3f, \"product_gflops\": %.1f}\n", items, 1e-9 * op_times_flops(&times),
         1e-9 * product_rate);
  fflush(stdout);
  pace_steps(time_step, step);
  printf("{\"gigabytes\": %.3f, \"shares\": {", 1e-9 * (used_bytes() - first_bytes));
  for (int i = 0; i < OP_CLASSES; i++)
    printf("\"%s\": %.4f%s", op_class_name(i), times.seconds[i] / split_seconds, i + 1 < OP_CLASSES ? ", " : "}}\n");
}

static void measure(const char *name, double items, void (*run)(void *context), void *context) {
  struct step step = {run, context};
  time_step(&step); /* warms up: primitives, scratch, first touch */
  if (paced)
    measure_paced(items, &step);
  else
    measure_freely(name, items, &step);
}

static void run_product(void *call) {
  device->op->linear(device, call);
}

/* Numbers of either dtype with |x| in [1, 2), of both signs. */
static void fill_with_numbers(void *block, size_t bytes) {
  const struct random_key key = {1, 0, RANDOM_TEST, 0};
  uint32_t *host = memory_allocate(bytes, "numbers");
  for (size_t i = 0; i < bytes / sizeof *host; i++)
    host[i] = ((uint32_t)random_bits(&key, i) & 0x807f807fu) | 0x3f803f80u;
  device->op->copy_in(device, block, host, bytes);
  memory_release(host);
}

/* The largest product of a block at this batch with a packed weight, the best of several: what the device can do. */
static void measure_product(void) {
  const int64_t rows = (int64_t)batch * 197, in = 768, out = 3072;
  const size_t size = dtype_size(dtype);
  char *block = device->op->allocate(device, (size_t)(rows * in + in * out + rows * out) * size, "product");
  fill_with_numbers(block, (size_t)(rows * in + in * out) * size);
  struct linear product = {.rows = rows,
                           .in = in,
                           .out = out,
                           .dtype = dtype,
                           .y_dtype = dtype,
                           .frozen = true,
                           .x = block,
                           .weight = block + (size_t)(rows * in) * size,
                           .y = block + (size_t)(rows * in + in * out) * size};
  double best = INFINITY;
  for (int i = 0; i < PRODUCT_RUNS; i++)
    best = fmin(best, time_step(&(struct step){run_product, &product}));
  product_rate = 2.0 * (double)(rows * in * out) / best;
  device->op->release(device, block);
  if (!paced)
    printf("%-12s %7.1f GFLOP/s (%lld x %lld x %lld), %s, %s\n", "product", 1e-9 * product_rate, (long long)rows,
           (long long)out, (long long)in, dtype_name(dtype), device->description);
}

static void measure_pass(enum pass_kind kind) {
  struct clip_config config;
  struct pass *pass;
  if (config_read(model_name, &config) != STATUS_OK)
    fatal("%s", error_message());
  const struct pass_request request = {
      .kind = kind, .device = device, .dtype = dtype, .config = &config, .batch = batch, .rate = 5e-4};
  if (!paced && !device->memory_is_host)
    first_bytes = asked_bytes;
  if (pass_open(&request, &pass) != STATUS_OK)
    fatal("%s", error_message());
  measure(pass_names[kind], pass_items(pass), pass_step, pass);
  pass_close(pass);
}

int main(int argc, char **argv) {
  const char *device_name = "cpu";
  int threads = 0;
  bool wanted[PASS_KINDS] = {false}, any = false;
  for (int i = 1; i < argc; i++) {
    if (i + 1 < argc && strcmp(argv[i], "--precision") == 0)
      dtype = strcmp(argv[++i], "fp32") == 0 ? DTYPE_F32 : DTYPE_BF16;
    else if (i + 1 < argc && strcmp(argv[i], "--batch") == 0)
      batch = atoi(argv[++i]);
    else if (i + 1 < argc && strcmp(argv[i], "--model") == 0)
      model_name = argv[++i];
    else if (i + 1 < argc && strcmp(argv[i], "--threads") == 0)
      threads = atoi(argv[++i]);
    else if (i + 1 < argc && strcmp(argv[i], "--device") == 0)
      device_name = argv[++i];
    else if (strcmp(argv[i], "--paced") == 0)
      paced = true;
    for (int kind = 0; kind < PASS_KINDS; kind++)
      if (strcmp(argv[i], pass_names[kind]) == 0)
        any = wanted[kind] = true;
  }
  if (device_open(device_name, threads, &device) != STATUS_OK)
    fatal("%s", error_message());
  count_device_memory();
  measure_product();
  first_bytes = used_bytes();
  for (int kind = 0; kind < PASS_KINDS; kind++)
    if (wanted[kind] || !any)
      measure_pass(kind);
  device_close(device);
  return 0;
}

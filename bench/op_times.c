#include "bench/op_times.h"
#include "base/clock.h"
#include "base/error.h"

static const char *const class_names[OP_CLASSES] = {"products",  "attention", "memory",    "activation", "norm",
                                                    "embedding", "loss",      "optimiser", "copies"};
static const struct device_operations *original;
static struct device_operations timed;
static struct op_times sums;
static struct op_rates measured;

static void add(struct device *self, enum op_class class, double start, struct op_limit limit) {
  original->synchronize(self);
  sums.seconds[class] += clock_seconds() - start;
  sums.flops[class] += limit.flops;
  sums.limit[class] += op_limit_seconds(limit, measured);
}
static struct op_limit moved(double bytes) {
  return (struct op_limit){0, bytes};
}

#define TIMED_CALL(operation, type, class, flops, bytes)                                                               \
  static void timed_##operation(struct device *self, const struct type *call) {                                        \
    const double start = clock_seconds();                                                                              \
    original->operation(self, call);                                                                                   \
    add(self, class, start, op_limit_##operation(call));                                                               \
  }
OP_LIMITS(TIMED_CALL)

static void timed_copy(struct device *self, void *to, const void *from, size_t bytes) {
  const double start = clock_seconds();
  original->copy(self, to, from, bytes);
  add(self, OP_COPY, start, moved(2 * (double)bytes));
}

static void timed_copy_in(struct device *self, void *to, const void *from, size_t bytes) {
  const double start = clock_seconds();
  original->copy_in(self, to, from, bytes);
  add(self, OP_COPY, start, moved((double)bytes));
}

static void timed_zero(struct device *self, void *block, size_t bytes) {
  const double start = clock_seconds();
  original->zero(self, block, bytes);
  add(self, OP_COPY, start, moved((double)bytes));
}

static void timed_cast(struct device *self, void *to, enum dtype to_dtype, const void *from, enum dtype from_dtype,
                       int64_t count) {
  const double start = clock_seconds();
  original->cast(self, to, to_dtype, from, from_dtype, count);
  add(self, OP_COPY, start, moved((double)count * (double)(dtype_size(to_dtype) + dtype_size(from_dtype))));
}

void op_times_attach(struct device *device, struct op_rates rates) {
  measured = rates;
  original = device->op;
  timed = *original;
#define TIMED_FIELD(operation, type, class, flops, bytes) timed.operation = timed_##operation;
  OP_LIMITS(TIMED_FIELD)
  timed.copy = timed_copy;
  timed.copy_in = timed_copy_in;
  timed.zero = timed_zero;
  timed.cast = timed_cast;
  sums = (struct op_times){{0}, {0}, {0}};
  device->op = &timed;
}

struct op_times op_times_detach(struct device *device) {
  device->op = original;
  return sums;
}

const char *op_class_name(enum op_class class) {
  return class_names[class];
}

static double sum_of(const double values[OP_CLASSES]) {
  double sum = 0;
  for (int i = 0; i < OP_CLASSES; i++)
    sum += values[i];
  return sum;
}

double op_times_flops(const struct op_times *times) {
  return sum_of(times->flops);
}

double op_times_limit(const struct op_times *times) {
  return sum_of(times->limit);
}

void op_times_print(const struct op_times *times, double seconds, FILE *to) {
  double rest = seconds;
  for (int i = 0; i < OP_CLASSES; i++) {
    rest -= times->seconds[i];
    if (times->seconds[i] <= 0)
      continue;
    fprintf(to, "    %-12s %9.2f ms  %5.1f %%", class_names[i], 1e3 * times->seconds[i],
            100 * times->seconds[i] / seconds);
    if (times->flops[i] > 0)
      fprintf(to, "  %7.1f GFLOP/s", 1e-9 * times->flops[i] / times->seconds[i]);
    fprintf(to, "\n");
  }
  fprintf(to, "    %-12s %9.2f ms  %5.1f %%\n", "host", 1e3 * rest, 100 * rest / seconds);
}

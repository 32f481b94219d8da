#include "conformance.h"
#include "base/memory.h"
#include "base/random.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum { FAILURES_PRINTED = 4, GRADIENTS_TRIED = 16 };

struct conformance_block {
  struct conformance_block *next;
  double value[];
};

static struct random_key key_of(const struct conformance *c) {
  return (struct random_key){.seed = c->seed, .use = RANDOM_TEST};
}

int64_t conformance_size(struct conformance *c, int64_t max) {
  struct random_key key = key_of(c);
  if (random_below(&key, c->drawn++, 6) == 0)
    return 1;
  return 1 + (int64_t)random_below(&key, c->drawn++, (uint64_t)max);
}

bool conformance_flag(struct conformance *c) {
  struct random_key key = key_of(c);
  return random_below(&key, c->drawn++, 2) == 0;
}

double conformance_uniform(struct conformance *c) {
  struct random_key key = key_of(c);
  return random_uniform(&key, c->drawn++);
}

double conformance_normal(struct conformance *c) {
  struct random_key key = key_of(c);
  return random_normal(&key, c->drawn++);
}

void conformance_note(struct conformance *c, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(c->shape, sizeof c->shape, format, arguments);
  va_end(arguments);
}

double *conformance_doubles(struct conformance *c, int64_t count) {
  struct conformance_block *block = memory_allocate(sizeof *block + (size_t)count * sizeof(double), "conformance");
  block->next = c->blocks;
  c->blocks = block;
  return block->value;
}

/* ---- tensors */

static size_t element_bytes(enum dtype dtype) {
  return dtype_size(dtype);
}

static struct tensor *tensor_make(struct conformance *c, enum dtype dtype, int64_t count) {
  struct tensor *tensor = memory_allocate(sizeof *tensor, "conformance tensor");
  *tensor = (struct tensor){.dtype = dtype, .count = count, .next = c->tensors};
  c->tensors = tensor;
  tensor->data =
      c->device->op->allocate(c->device, (size_t)(count ? count : 1) * element_bytes(dtype), "conformance tensor");
  tensor->value = conformance_doubles(c, count);
  return tensor;
}

static void element_encode(enum dtype dtype, void *elements, int64_t i, double *value) {
  if (dtype == DTYPE_BF16)
    *value = bf16_to_float(((bf16 *)elements)[i] = bf16_from_float((float)*value));
  else if (dtype == DTYPE_F32)
    *value = ((float *)elements)[i] = (float)*value;
  else if (dtype == DTYPE_F64)
    ((double *)elements)[i] = *value;
  else if (dtype == DTYPE_I32)
    ((int32_t *)elements)[i] = (int32_t)*value;
  else if (dtype == DTYPE_I64)
    ((int64_t *)elements)[i] = (int64_t)*value;
  else
    ((uint8_t *)elements)[i] = (uint8_t)*value;
}

static double element_decode(enum dtype dtype, const void *elements, int64_t i) {
  switch (dtype) {
  case DTYPE_BF16:
    return bf16_to_float(((const bf16 *)elements)[i]);
  case DTYPE_F32:
    return ((const float *)elements)[i];
  case DTYPE_F64:
    return ((const double *)elements)[i];
  case DTYPE_I32:
    return ((const int32_t *)elements)[i];
  case DTYPE_I64:
    return (double)((const int64_t *)elements)[i];
  default:
    return ((const uint8_t *)elements)[i];
  }
}

static void tensor_write(struct conformance *c, struct tensor *tensor) {
  size_t bytes = (size_t)tensor->count * element_bytes(tensor->dtype);
  void *elements = memory_allocate(bytes + 1, "conformance elements");
  for (int64_t i = 0; i < tensor->count; i++)
    element_encode(tensor->dtype, elements, i, &tensor->value[i]);
  c->device->op->copy_in(c->device, tensor->data, elements, bytes);
  c->device->op->synchronize(c->device);
  memory_release(elements);
}

struct tensor *tensor_from(struct conformance *c, enum dtype dtype, int64_t count, const double *values) {
  struct tensor *tensor = tensor_make(c, dtype, count);
  for (int64_t i = 0; i < count; i++)
    tensor->value[i] = values[i];
  tensor_write(c, tensor);
  return tensor;
}

struct tensor *tensor_copy(struct conformance *c, const struct tensor *tensor) {
  return tensor_from(c, tensor->dtype, tensor->count, tensor->value);
}

struct tensor *tensor_random(struct conformance *c, enum dtype dtype, int64_t count, double scale) {
  struct tensor *tensor = tensor_make(c, dtype, count);
  for (int64_t i = 0; i < count; i++)
    tensor->value[i] = scale * conformance_normal(c);
  tensor_write(c, tensor);
  return tensor;
}

struct tensor *tensor_indices(struct conformance *c, int64_t count, int64_t bound) {
  struct tensor *tensor = tensor_make(c, DTYPE_I32, count);
  struct random_key key = key_of(c);
  for (int64_t i = 0; i < count; i++)
    tensor->value[i] = (double)random_below(&key, c->drawn++, (uint64_t)bound);
  tensor_write(c, tensor);
  return tensor;
}

struct tensor *tensor_result(struct conformance *c, enum dtype dtype, int64_t count) {
  struct tensor *tensor = tensor_make(c, dtype, count);
  for (int64_t i = 0; i < count; i++)
    tensor->value[i] = dtype == DTYPE_I32 ? -1 : NAN;
  tensor_write(c, tensor);
  return tensor;
}

const double *tensor_read(struct conformance *c, struct tensor *tensor) {
  size_t bytes = (size_t)tensor->count * element_bytes(tensor->dtype);
  void *elements = memory_allocate(bytes + 1, "conformance elements");
  c->device->op->copy_out(c->device, elements, tensor->data, bytes);
  for (int64_t i = 0; i < tensor->count; i++)
    tensor->value[i] = element_decode(tensor->dtype, elements, i);
  memory_release(elements);
  return tensor->value;
}

static void conformance_free(struct conformance *c) {
  while (c->tensors) {
    struct tensor *tensor = c->tensors;
    c->tensors = tensor->next;
    c->device->op->release(c->device, tensor->data);
    memory_release(tensor);
  }
  while (c->blocks) {
    struct conformance_block *block = c->blocks;
    c->blocks = block->next;
    memory_release(block);
  }
}

/* ---- judging */

double conformance_unit(enum dtype dtype) {
  return dtype == DTYPE_BF16 ? 0x1p-8 : dtype == DTYPE_F32 ? 0x1p-24 : dtype == DTYPE_F64 ? 0x1p-53 : 0;
}

double conformance_sum_bound(int64_t length, double magnitude) {
  return (double)(length + 8) * 0x1p-24 * magnitude;
}

bool conformance_within(double actual, double expected, double bound) {
  return fabs(actual - expected) <= bound;
}

static void fail(struct conformance *c, const char *what, int64_t i, double actual, double expected, double bound) {
  c->failures++;
  if (!c->quiet && c->failures <= FAILURES_PRINTED)
    printf("# %s: %s[%lld] is %.9g, expected %.9g, bound %.3g (%s)\n", c->name, what, (long long)i, actual, expected,
           bound, c->shape);
}

static void check_elements(struct conformance *c, const char *what, struct tensor *actual, const double *expected,
                           const double *bound, double bound_of_all) {
  tensor_read(c, actual);
  /* 1.01: the rounded value's own error may move it over a rounding boundary. */
  double unit = 1.01 * conformance_unit(actual->dtype);
  for (int64_t i = 0; i < actual->count; i++) {
    double allowed = unit * fabs(expected[i]) + (bound ? bound[i] : bound_of_all);
    if (!conformance_within(actual->value[i], expected[i], allowed))
      fail(c, what, i, actual->value[i], expected[i], allowed);
  }
}

void conformance_check(struct conformance *c, const char *what, struct tensor *actual, const double *expected,
                       const double *bound) {
  check_elements(c, what, actual, expected, bound, 0);
}

void conformance_check_all(struct conformance *c, const char *what, struct tensor *actual, const double *expected,
                           double bound) {
  check_elements(c, what, actual, expected, NULL, bound);
}

void conformance_require(struct conformance *c, bool condition, const char *what) {
  if (condition)
    return;
  c->failures++;
  if (!c->quiet && c->failures <= FAILURES_PRINTED)
    printf("# %s: not so: %s (%s)\n", c->name, what, c->shape);
}

/* Central differences have an error of h^2 f'''/6 + eps f/h: with h = 1e-5 about 1e-10 of f. */
void conformance_check_gradient(struct conformance *c, const char *what, double (*loss)(void *context), void *context,
                                double *x, const double *gradient, int64_t count) {
  struct random_key key = key_of(c);
  double scale = fabs(loss(context));
  for (int64_t n = 0; n < count && n < GRADIENTS_TRIED; n++) {
    int64_t i = count <= GRADIENTS_TRIED ? n : (int64_t)random_below(&key, c->drawn++, (uint64_t)count);
    double kept = x[i], h = 1e-5 * fmax(1, fabs(kept));
    x[i] = kept + h;
    double above = loss(context);
    x[i] = kept - h;
    double below = loss(context);
    x[i] = kept;
    double bound = 1e-6 * (fabs(gradient[i]) + 1) + 1e-9 * scale;
    if (!conformance_within(gradient[i], (above - below) / (2 * h), bound))
      fail(c, what, i, gradient[i], (above - below) / (2 * h), bound);
  }
}

/* ---- running */

static bool run_case(struct device *device, const struct conformance_case *one, enum dtype dtype, int rounds,
                     int number) {
  char name[96];
  snprintf(name, sizeof name, "%s %s", one->name, dtype_name(dtype));
  struct conformance c = {.device = device, .name = name};
  for (int round = 0; round < rounds; round++) {
    c.seed = 1000 * (uint64_t)number + (uint64_t)round;
    c.drawn = 0;
    c.shape[0] = '\0';
    one->run(&c, dtype);
    conformance_free(&c);
  }
  printf("%s %d - %s\n", c.failures ? "not ok" : "ok", number, name);
  fflush(stdout);
  return c.failures == 0;
}

int conformance_run(struct device *device, const struct conformance_case *cases, int rounds, int *number) {
  int failed = 0;
  for (; cases->name; cases++)
    for (enum dtype dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++)
      failed += !run_case(device, cases, dtype, rounds, ++*number);
  return failed;
}

/* ---- the harness itself */

static double cube_sum(void *context) {
  const double *x = context;
  return x[0] * x[0] * x[0] + 2 * x[1];
}

static void test_harness(struct conformance *c, enum dtype dtype) {
  struct conformance probe = *c;
  probe.quiet = true;
  const double one = 1, nan = NAN;
  conformance_require(
      c, !conformance_within(NAN, 1, 1) && !conformance_within(1, NAN, 1) && !conformance_within(1, 1, NAN),
      "NaN fails");
  conformance_check_all(&probe, "x", tensor_result(&probe, dtype, 1), &one, 1e30);
  conformance_require(c, probe.failures == 1, "a result that was never written fails");
  conformance_check_all(&probe, "x", tensor_from(&probe, dtype, 1, &one), &nan, 1e30);
  conformance_require(c, probe.failures == 2, "a reference of NaN fails");
  conformance_check(&probe, "x", tensor_from(&probe, dtype, 1, &one), &one, &nan);
  conformance_require(c, probe.failures == 3, "a bound of NaN fails");
  conformance_check_all(&probe, "x", tensor_from(&probe, dtype, 1, &one), &one, 0);
  conformance_require(c, probe.failures == 3, "equal passes");
  double x[2] = {2, 3}, gradient[2] = {12, 2}, wrong[2] = {12, 3};
  conformance_check_gradient(&probe, "x", cube_sum, x, x, gradient, 2);
  conformance_require(c, probe.failures == 3, "a right gradient passes");
  conformance_check_gradient(&probe, "x", cube_sum, x, x, wrong, 2);
  conformance_require(c, probe.failures == 4, "a wrong gradient fails");
  c->tensors = probe.tensors;
  c->blocks = probe.blocks;
}

const struct conformance_case conformance_harness[] = {{"the harness itself", test_harness}, {0}};

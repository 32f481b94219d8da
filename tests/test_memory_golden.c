/* The memory layer against numbers that were computed in double precision by an independent brute-force program and
 * confirmed by finite differences: tensors filled with s sin(a i + b). */
#include "memory_layer.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

enum { ROWS = 5, WIDTH = 8, HEADS = 2, SUBKEYS = 4, KNN = 2, HALF = 2, VALUE_WIDTH = 6, LARGEST = 16 * VALUE_WIDTH };

static struct device *device;

static float *sines(int64_t count, double a, double b, double scale) {
  float host[LARGEST], *block = memory_layer_floats(device, count);
  for (int64_t i = 0; i < count; i++)
    host[i] = (float)(scale * sin(a * (double)i + b));
  device->op->copy_in(device, block, host, (size_t)count * sizeof *host);
  return block;
}

static float *zeros(int64_t count) {
  float *block = memory_layer_floats(device, count);
  device->op->zero(device, block, (size_t)count * sizeof *block);
  return block;
}

static void expect_close(double actual, double expected, double bound) {
  if (!(fabs(actual - expected) <= bound))
    fail_msg("%.9g instead of %.9g", actual, expected);
}

/* Shape, filling and the gradient's Frobenius norm of each parameter. */
static const struct golden {
  int64_t count;
  double a, b, scale, gradient_norm;
} golden[] = {
    [QUERY_WEIGHT] = {HEADS * 2 * HALF * WIDTH, .7, .1, .9, 2.999847812},
    [QUERY_BIAS] = {HEADS * 2 * HALF, 1.1, .2, .3, 1.045186048},
    [KEYS] = {2 * HEADS * SUBKEYS * HALF, 1.3, .3, 1, 1.958570284},
    [VALUES] = {SUBKEYS * SUBKEYS * VALUE_WIDTH, .37, .4, 1, 3.358873652},
    [SWILU_WEIGHT] = {VALUE_WIDTH * WIDTH, .53, .5, .8, 2.130050127},
    [SWILU_BIAS] = {VALUE_WIDTH, .9, .6, .2, 0.652329704},
    [OUTPUT_WEIGHT] = {WIDTH * VALUE_WIDTH, .61, .7, .8, 22.132462779},
    [OUTPUT_BIAS] = {WIDTH, .8, .8, .1, 1.912421948},
};
enum { GOLDEN = sizeof golden / sizeof *golden };

static struct memory_layer make_layer(void) {
  struct memory_layer layer = {.device = device,
                               .rows = ROWS,
                               .width = WIDTH,
                               .heads = HEADS,
                               .n_keys = SUBKEYS,
                               .knn = KNN,
                               .half = HALF,
                               .value_width = VALUE_WIDTH};
  for (int i = 0; i < GOLDEN; i++) {
    layer.parameter[i] = sines(golden[i].count, golden[i].a, golden[i].b, golden[i].scale);
    layer.gradient[i] = zeros(golden[i].count);
  }
  layer.x = sines(ROWS * WIDTH, .29, .9, 1.5);
  layer.dy = sines(ROWS * WIDTH, .41, 1, 1);
  memory_layer_run(&layer);
  return layer;
}

static double norm_of(const float *block, int64_t count) {
  float host[LARGEST];
  double sum = 0;
  device->op->copy_out(device, host, block, (size_t)count * sizeof *host);
  for (int64_t i = 0; i < count; i++)
    sum += (double)host[i] * (double)host[i];
  return sqrt(sum);
}

static void test_forward(void **state) {
  (void)state;
  static const int32_t slots[ROWS * HEADS * KNN] = {1, 2, 14, 6, 4, 12, 4, 7, 9, 5, 9, 10, 14, 2, 12, 14, 4, 6, 11, 8};
  static const double first_row[WIDTH] = {1.102381418,  -0.640346006, 0.322969490,  0.290739998,
                                          -0.846323299, 0.942581777,  -1.103010063, 0.775961749};
  struct memory_layer layer = make_layer();
  int32_t index[ROWS * HEADS * KNN];
  float y[ROWS * WIDTH], dy[ROWS * WIDTH];
  double sum = 0, loss = 0;
  device->op->copy_out(device, index, layer.index, sizeof index);
  device->op->copy_out(device, y, layer.y, sizeof y);
  device->op->copy_out(device, dy, layer.dy, sizeof dy);
  assert_memory_equal(index, slots, sizeof slots);
  for (int i = 0; i < WIDTH; i++)
    expect_close(y[i], first_row[i], 2e-6);
  for (int i = 0; i < ROWS * WIDTH; i++) {
    sum += y[i];
    loss += (double)y[i] * (double)dy[i];
  }
  expect_close(sum, 7.419120449, 1e-5);
  expect_close(loss, 1.637759164, 1e-5);
}

static void test_backward(void **state) {
  (void)state;
  struct memory_layer layer = make_layer();
  for (int i = 0; i < GOLDEN; i++)
    expect_close(norm_of(layer.gradient[i], golden[i].count), golden[i].gradient_norm, 2e-6 * golden[i].gradient_norm);
  expect_close(norm_of(layer.dx, ROWS * WIDTH), 2.280378731, 5e-6);
  static const int untouched[] = {0, 3, 13, 15};
  for (int i = 0; i < 4; i++)
    assert_true(norm_of(layer.gradient[VALUES] + untouched[i] * VALUE_WIDTH, VALUE_WIDTH) == 0);
}

static int open_device(void **state) {
  (void)state;
  return device_open("cpu", 2, &device) == STATUS_OK ? 0 : -1;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_forward), cmocka_unit_test(test_backward)};
  return cmocka_run_group_tests(tests, open_device, NULL);
}

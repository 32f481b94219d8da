/* The memory layer against the published layer's own outputs and gradients, where those files are at hand: the folder
 * `memory` under MEMCLIP_REFERENCE, or under ../shared/reference beside the source tree. */
#include "memory_layer.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "io/safetensors.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct device *device;

static const char *const names[MEMORY_PARAMETERS] = {
    [QUERY_WEIGHT] = "query_proj.query_mlps.0.weight",
    [QUERY_BIAS] = "query_proj.query_mlps.0.bias",
    [KEYS] = "keys",
    [VALUES] = "values.weight",
    [SWILU_WEIGHT] = "swilu_projection.weight",
    [SWILU_BIAS] = "swilu_projection.bias",
    [OUTPUT_WEIGHT] = "value_proj.weight",
    [OUTPUT_BIAS] = "value_proj.bias",
    [GATE_WEIGHT] = "gating.weight",
    [GATE_BIAS] = "gating.bias",
    [EXPERTS_IN] = "values_u.weight",
    [EXPERTS_OUT] = "values_v.weight",
};

static char *reference_path(const char *file) {
  const char *root = getenv("MEMCLIP_REFERENCE"), *source = getenv("top_srcdir");
  if (root && *root)
    return text_format("%s/memory/%s", root, file);
  return text_format("%s/../shared/reference/memory/%s", source ? source : ".", file);
}

static const struct tensor_entry *find(const struct safetensors *file, const char *prefix, const char *name) {
  char *full = text_format("%s.%s", prefix, name);
  const struct tensor_entry *entry = safetensors_find(file, full);
  memory_release(full);
  return entry;
}

/* The tensor as floats on the device; NULL where there is none. */
static float *load(const struct tensor_entry *entry) {
  if (!entry)
    return NULL;
  size_t bytes = (size_t)entry->elements * sizeof(float);
  float *host = memory_allocate(bytes, "test"), *block = memory_layer_floats(device, entry->elements);
  assert_int_equal(tensor_entry_read(entry, DTYPE_F32, entry->elements, host), STATUS_OK);
  device->op->copy_in(device, block, host, bytes);
  memory_release(host);
  return block;
}

/* Every element within bound * (1 + |expected|). */
static void check(const char *what, const float *block, const struct tensor_entry *expected, double bound) {
  size_t bytes = (size_t)expected->elements * sizeof(float);
  float *actual = memory_allocate(bytes, "test"), *host = memory_allocate(bytes, "test");
  device->op->copy_out(device, actual, block, bytes);
  assert_int_equal(tensor_entry_read(expected, DTYPE_F32, expected->elements, host), STATUS_OK);
  for (int64_t i = 0; i < expected->elements; i++)
    if (!(fabs((double)actual[i] - (double)host[i]) <= bound * (1 + fabs((double)host[i]))))
      fail_msg("%s[%lld] is %.8g, not %.8g", what, (long long)i, (double)actual[i], (double)host[i]);
  memory_release(actual);
  memory_release(host);
}

static struct memory_layer layer_of(const struct safetensors *file) {
  const struct tensor_entry *x = find(file, "in", "x"), *slots = find(file, "out", "slots"),
                            *keys = find(file, "w", "keys"), *values = find(file, "w", "values.weight");
  struct memory_layer layer = {.device = device,
                               .width = x->shape[2],
                               .rows = x->elements / x->shape[2],
                               .heads = slots->shape[1],
                               .knn = slots->shape[2],
                               .half = keys->shape[1],
                               .n_keys = keys->shape[0] / (2 * slots->shape[1]),
                               .value_width = (values ? values : find(file, "w", "values_v.weight"))->shape[1],
                               .x = load(x),
                               .dy = load(find(file, "in", "dy"))};
  for (int i = 0; i < MEMORY_PARAMETERS; i++) {
    const struct tensor_entry *weight = find(file, "w", names[i]);
    layer.parameter[i] = load(weight);
    if (!weight)
      continue;
    layer.gradient[i] = memory_layer_floats(device, weight->elements);
    device->op->zero(device, layer.gradient[i], (size_t)weight->elements * sizeof(float));
  }
  return layer;
}

static void check_slots(const struct memory_layer *layer, const struct tensor_entry *expected) {
  int32_t *index = memory_allocate((size_t)expected->elements * sizeof *index, "test");
  int64_t *slots = memory_allocate((size_t)expected->elements * sizeof *slots, "test");
  device->op->copy_out(device, index, layer->index, (size_t)expected->elements * sizeof *index);
  assert_int_equal(tensor_entry_read(expected, DTYPE_I64, expected->elements, slots), STATUS_OK);
  for (int64_t i = 0; i < expected->elements; i++)
    if (index[i] != slots[i])
      fail_msg("slot %lld is %d, not %lld", (long long)i, (int)index[i], (long long)slots[i]);
  memory_release(index);
  memory_release(slots);
}

/* The files keep the selected sums; the weights are their softmax per row and head. */
static void check_weights(const struct memory_layer *layer, const struct tensor_entry *scores) {
  size_t bytes = (size_t)scores->elements * sizeof(float);
  float *weight = memory_allocate(bytes, "test"), *score = memory_allocate(bytes, "test");
  device->op->copy_out(device, weight, layer->weight, bytes);
  assert_int_equal(tensor_entry_read(scores, DTYPE_F32, scores->elements, score), STATUS_OK);
  for (int64_t first = 0; first < scores->elements; first += layer->knn) {
    double sum = 0;
    for (int64_t t = first; t < first + layer->knn; t++)
      sum += exp((double)score[t] - (double)score[first]);
    for (int64_t t = first; t < first + layer->knn; t++)
      assert_true(fabs((double)weight[t] - exp((double)score[t] - (double)score[first]) / sum) <= 2e-5);
  }
  memory_release(weight);
  memory_release(score);
}

static void test_file(void **state) {
  char *path = reference_path(*state);
  if (!file_exists(path)) {
    memory_release(path);
    skip();
  }
  struct safetensors file;
  if (safetensors_open(path, &file) != STATUS_OK)
    fail_msg("%s", error_message());
  struct memory_layer layer = layer_of(&file);
  memory_layer_run(&layer);
  check_slots(&layer, find(&file, "out", "slots"));
  check("y", layer.y, find(&file, "out", "y"), 2e-5);
  check_weights(&layer, find(&file, "out", "scores"));
  check("dx", layer.dx, find(&file, "grad", "x"), 1e-4);
  for (int i = 0; i < MEMORY_PARAMETERS; i++)
    if (layer.parameter[i])
      check(names[i], layer.gradient[i], find(&file, "grad", names[i]), 1e-4);
  safetensors_close(&file);
  memory_release(path);
}

static int open_device(void **state) {
  (void)state;
  return device_open("cpu", 2, &device) == STATUS_OK ? 0 : -1;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(test_file, "reference.safetensors"),
                                     cmocka_unit_test_prestate(test_file, "plain_value.safetensors"),
                                     cmocka_unit_test_prestate(test_file, "value_is_width.safetensors"),
                                     cmocka_unit_test_prestate(test_file, "gated.safetensors"),
                                     cmocka_unit_test_prestate(test_file, "wide.safetensors"),
                                     cmocka_unit_test_prestate(test_file, "peer.safetensors")};
  return cmocka_run_group_tests(tests, open_device, NULL);
}

/* Matrix products and sorting of the emulated CUDA device, on the host. */
#include "cuda/choices.h"
#include "cuda/sort.h"
#include "emulation/emulation.h"
#include <algorithm>
#include <random>
#include <stdio.h>
#include <stdlib.h>

/* Products in double, or as MEMCLIP_EMULATION_CHOICES=random draws for each shape, as a GPU's timing would: in
 * float in ascending or descending order; or, "plain", by the kernel for what the library has no algorithm for. */

enum { IN_DOUBLE, ASCENDING, DESCENDING, WAYS };

static void choose_way(struct choice *choice) {
  const char *wanted = getenv("MEMCLIP_EMULATION_CHOICES");
  static std::random_device noise;
  choice->algorithm[0] = wanted && strcmp(wanted, "random") == 0 ? noise() % WAYS : (uint64_t)IN_DOUBLE;
  if (wanted && strcmp(wanted, "plain") == 0)
    choice_make_plain(choice);
}

static float element(enum dtype dtype, const void *x, int64_t i) {
  return dtype == DTYPE_BF16 ? bf16_to_float(((const bf16 *)x)[i]) : ((const float *)x)[i];
}

template <typename T>
static T dot(const struct gemm *call, const struct choice_key &key, int64_t batch, int64_t i, int64_t j, bool reverse) {
  const int64_t a_row = key.of[CHOICE_A_STRIDE], b_row = key.of[CHOICE_B_STRIDE];
  const int64_t a = batch * call->a_batch, b = batch * call->b_batch;
  T sum = 0;
  for (int64_t n = 0; n < call->k; n++) {
    const int64_t l = reverse ? call->k - 1 - n : n;
    sum += (T)element(call->dtype, call->a, a + (call->a_transposed ? l * a_row + i : i * a_row + l)) *
           (T)element(call->dtype, call->b, b + (call->b_transposed ? j * b_row + l : l * b_row + j));
  }
  return sum;
}

static void multiply(const struct gemm *call, const struct choice *choice, int64_t batch) {
  const uint64_t way = choice->algorithm[0];
  for (int64_t i = 0; i < call->m; i++)
    for (int64_t j = 0; j < call->n; j++) {
      double sum = way == IN_DOUBLE ? dot<double>(call, choice->key, batch, i, j, false)
                                    : (double)dot<float>(call, choice->key, batch, i, j, way == DESCENDING);
      const bool rounded = call->rounded_bias && call->c_dtype == DTYPE_BF16;
      sum += !call->bias ? 0 : rounded ? element(DTYPE_BF16, call->rounded_bias, j) : call->bias[j];
      const int64_t at = batch * call->c_batch + i * choice->key.of[CHOICE_C_STRIDE] + j;
      sum += call->accumulate ? element(call->c_dtype, call->c, at) : 0;
      if (call->c_dtype == DTYPE_BF16)
        ((bf16 *)call->c)[at] = bf16_from_float((float)sum);
      else
        ((float *)call->c)[at] = (float)sum;
    }
}

void gemm_multiply(struct cuda_device *cuda, const struct gemm *call) {
  const struct choice_key key = choice_key_of(call);
  struct choice *choice = choices_find(cuda, &key);
  if (!choice) {
    graphs_expect_no_capture(cuda, "another product");
    choice = choices_add(cuda, &key);
    choose_way(choice);
  }
  if (choice_is_plain(choice)) {
    gemm_multiply_plainly(cuda, call);
    return;
  }
  const struct gemm kept = *call;
  emulation_enqueue([=] {
    emulation_open_memory();
    for (int64_t batch = 0; batch < choice->key.of[CHOICE_BATCH]; batch++)
      multiply(&kept, choice, batch);
    emulation_close_memory();
  });
}
bool choices_accept(struct cuda_device *cuda, const struct choice *choice) {
  (void)cuda;
  return choice->algorithm[0] < WAYS || choice_is_plain(choice);
}
void choices_drop_plan(struct choice *choice) {
  choice->plan = NULL;
}
void choices_identify(struct cuda_device *cuda, char text[256]) {
  (void)cuda;
  const char *version = getenv("MEMCLIP_EMULATION_LIBRARY");
  snprintf(text, 256, "plain loops %s on the host", version ? version : "1");
}
enum status gemm_open(struct cuda_device *cuda) {
  (void)cuda;
  return STATUS_OK;
}
void gemm_close(struct cuda_device *cuda) {
  (void)cuda;
}
const char *gemm_version(void) {
  return "plain products";
}

/* ---- sorting */

void sort_by_key(struct cuda_device *cuda, const int32_t *key, int32_t *sorted_key, int32_t *sorted_number,
                 int64_t count, int64_t bound) {
  (void)cuda;
  (void)bound;
  emulation_enqueue([=] {
    emulation_open_memory();
    for (int64_t i = 0; i < count; i++)
      sorted_number[i] = (int32_t)i;
    std::stable_sort(sorted_number, sorted_number + count, [&](int32_t a, int32_t b) { return key[a] < key[b]; });
    for (int64_t i = 0; i < count; i++)
      sorted_key[i] = key[sorted_number[i]];
    emulation_close_memory();
  });
}

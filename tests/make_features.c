/* make_features FILE.h5 [NOISE [FAULT]]: a features file of 40 images in groups of 4, two captions each, with wrong
 * captions, for test_postproc.sh. FAULT: width, index, nan, short, old, newer; or label:NAME of the model; or scenes:
 * keys of the four drawn scenes val00000000
 * ... */
#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include "io/store.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 40, TEXTS = 80, WIDTH = 16, NEGATIVES = 20 };

/* The signal of `image` plus noise, of length 1. */
static void make_row(float *row, int image, double noise, uint64_t stream) {
  double squares = 0;
  for (int e = 0; e < WIDTH; e++) {
    double signal = random_normal(&(struct random_key){.seed = 1, .use = RANDOM_TEST}, (uint64_t)(image * WIDTH + e));
    double own = random_normal(&(struct random_key){.seed = 2, .index = stream, .use = RANDOM_TEST}, (uint64_t)e);
    row[e] = (float)(signal + noise * own);
    squares += (double)row[e] * (double)row[e];
  }
  for (int e = 0; e < WIDTH; e++)
    row[e] = (float)((double)row[e] / sqrt(squares));
}

static enum status write_names(struct store *store, bool scenes) {
  char *keys[IMAGES], *captions[TEXTS], *kinds[NEGATIVES];
  for (int i = 0; i < IMAGES; i++)
    keys[i] = scenes ? text_format("val%08d", i % 4) : text_format("v%05d", i);
  for (int j = 0; j < TEXTS; j++)
    captions[j] = text_format("caption %d of <picture> %d & its \"things\"", j % 2, j / 2);
  for (int q = 0; q < NEGATIVES; q++)
    kinds[q] = memory_copy_string(q % 2 ? "swap" : "attribute", "kind");
  enum status status = store_write_strings(store, "image/key", (const char *const *)keys, IMAGES);
  if (status == STATUS_OK)
    status = store_write_strings(store, "text/caption", (const char *const *)captions, TEXTS);
  if (status == STATUS_OK)
    status = store_write_strings(store, "negative/kind", (const char *const *)kinds, NEGATIVES);
  for (int i = 0; i < IMAGES; i++)
    memory_release(keys[i]);
  for (int j = 0; j < TEXTS; j++)
    memory_release(captions[j]);
  for (int q = 0; q < NEGATIVES; q++)
    memory_release(kinds[q]);
  return status;
}

static enum status write_features(struct store *store, double noise, const char *fault) {
  static float images[IMAGES * WIDTH], texts[TEXTS * WIDTH], negatives[NEGATIVES * WIDTH];
  int64_t owner[TEXTS], right[NEGATIVES], image[NEGATIVES], group[IMAGES];
  for (int i = 0; i < IMAGES; i++) {
    make_row(images + i * WIDTH, i, noise, (uint64_t)i);
    group[i] = i / 4 * 16;
  }
  for (int j = 0; j < TEXTS; j++) {
    make_row(texts + j * WIDTH, j / 2, noise, (uint64_t)(1000 + j));
    owner[j] = j / 2;
  }
  for (int q = 0; q < NEGATIVES; q++) {
    make_row(negatives + q * WIDTH, q, 2 * noise + 0.1, (uint64_t)(2000 + q));
    right[q] = 2 * q;
    image[q] = q;
  }
  if (strcmp(fault, "nan") == 0)
    texts[77] = NAN;
  if (strcmp(fault, "index") == 0)
    owner[3] = IMAGES;
  int narrow = strcmp(fault, "width") == 0;
  TRY(store_write(store, "image/features", DTYPE_F32, 2, (const int64_t[]){IMAGES, WIDTH}, images));
  TRY(store_write(store, "text/features", DTYPE_F32, 2,
                  (const int64_t[]){narrow ? TEXTS * 2 : TEXTS, narrow ? WIDTH / 2 : WIDTH}, texts));
  TRY(store_write(store, "text/image", DTYPE_I64, 1, (const int64_t[]){strcmp(fault, "short") == 0 ? TEXTS - 1 : TEXTS},
                  owner));
  TRY(store_write(store, "image/group", DTYPE_I64, 1, (const int64_t[]){IMAGES}, group));
  TRY(store_write(store, "negative/features", DTYPE_F32, 2, (const int64_t[]){NEGATIVES, WIDTH}, negatives));
  TRY(store_write(store, "negative/right_text", DTYPE_I64, 1, (const int64_t[]){NEGATIVES}, right));
  TRY(store_write(store, "negative/image", DTYPE_I64, 1, (const int64_t[]){NEGATIVES}, image));
  if (strcmp(fault, "old") != 0) { /* format version 1 had no token counts */
    int32_t tokens[TEXTS];
    for (int j = 0; j < TEXTS; j++)
      tokens[j] = 5 + j;
    TRY(store_write(store, "text/tokens", DTYPE_I32, 1, (const int64_t[]){TEXTS}, tokens));
    TRY(store_write_attribute(store, "context_length", "77"));
    TRY(store_write_attribute(store, "format_version", strcmp(fault, "newer") == 0 ? "9" : "2"));
  }
  TRY(store_write_attribute(store, "data_set", "val"));
  if (text_starts_with(fault, "label:"))
    TRY(store_write_attribute(store, "model", fault + strlen("label:")));
  return write_names(store, strcmp(fault, "scenes") == 0);
}

int main(int argument_count, char **arguments) {
  struct store *store;
  if (argument_count < 2)
    return STATUS_USAGE;
  double noise = argument_count > 2 ? atof(arguments[2]) : 0;
  enum status status = store_create(arguments[1], &store);
  if (status == STATUS_OK) {
    status = write_features(store, noise, argument_count > 3 ? arguments[3] : "");
    if (status == STATUS_OK)
      status = store_publish(store);
    else
      store_close(store);
  }
  if (status != STATUS_OK)
    fprintf(stderr, "make_features: %s\n", error_message());
  return (int)status;
}

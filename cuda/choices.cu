#include "cuda/choices.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1024, LINE_CHARACTERS = 1024 };
struct choices {
  struct choice *buckets[BUCKETS];
  struct choice **list; /* in the order in which they came */
  int64_t count;
};

/* The columns of the text, before those of the algorithm. */
static const char *const field_names[] = {
    "m",          "n",       "k",       "batch",   "a_stride",  "b_stride",     "c_stride",
    "a_batch",    "b_batch", "c_batch", "ab_bits", "c_bits",    "a_transposed", "b_transposed",
    "accumulate", "a_align", "b_align", "c_align", "bias_align"};
static_assert(sizeof field_names / sizeof *field_names == CHOICE_FIELDS, "a name for each field");

/* Of all products of a batch, `distance` bytes from one to the next. */
static int64_t alignment_of(const void *pointer, int64_t distance) {
  const uintptr_t places = (uintptr_t)pointer | (uintptr_t)distance;
  int64_t bytes = 1;
  while (bytes < 256 && places % (2 * (uintptr_t)bytes) == 0)
    bytes *= 2;
  return bytes;
}

struct choice_key choice_key_of(const struct gemm *call) {
  const int64_t a_stride = call->a_stride ? call->a_stride : call->a_transposed ? call->m : call->k;
  const int64_t b_stride = call->b_stride ? call->b_stride : call->b_transposed ? call->k : call->n;
  const int64_t size = call->dtype == DTYPE_BF16 ? 2 : 4, c_size = call->c_dtype == DTYPE_BF16 ? 2 : 4;
  return {{call->m, call->n, call->k, call->batch ? call->batch : 1, a_stride, b_stride,
           call->c_stride ? call->c_stride : call->n, call->a_batch, call->b_batch, call->c_batch, 8 * size, 8 * c_size,
           call->a_transposed, call->b_transposed, call->accumulate, alignment_of(call->a, size * call->a_batch),
           alignment_of(call->b, size * call->b_batch), alignment_of(call->c, c_size * call->c_batch),
           call->bias ? alignment_of(gemm_ready_bias(call), 0) : 0}};
}

void choice_make_plain(struct choice *choice) {
  memset(choice->algorithm, 0xff, sizeof choice->algorithm);
}
bool choice_is_plain(const struct choice *choice) {
  struct choice plain;
  choice_make_plain(&plain);
  return memcmp(choice->algorithm, plain.algorithm, sizeof plain.algorithm) == 0;
}

static struct choice **bucket_of(struct cuda_device *cuda, const struct choice_key *key) {
  uint64_t hash = 0;
  for (int i = 0; i < CHOICE_FIELDS; i++)
    hash = (hash ^ (uint64_t)key->of[i]) * 0x9e3779b97f4a7c15u;
  return &cuda->choices->buckets[hash >> 54];
}

struct choice *choices_find(struct cuda_device *cuda, const struct choice_key *key) {
  struct choice *choice = *bucket_of(cuda, key);
  while (choice && memcmp(&choice->key, key, sizeof *key) != 0)
    choice = choice->next_in_bucket;
  return choice;
}

struct choice *choices_add(struct cuda_device *cuda, const struct choice_key *key) {
  struct choices *choices = cuda->choices;
  struct choice **bucket = bucket_of(cuda, key);
  struct choice *choice = (struct choice *)memory_allocate(sizeof *choice, "choice of a product");
  choice->key = *key;
  choice->next_in_bucket = *bucket;
  *bucket = choice;
  choices->list = (struct choice **)memory_resize(choices->list, (size_t)(choices->count + 1) * sizeof *choices->list,
                                                  "choices of products");
  choices->list[choices->count++] = choice;
  return choice;
}

void choices_open(struct cuda_device *cuda) {
  static_assert(BUCKETS == 1 << (64 - 54), "a bucket for each hash");
  cuda->choices = (struct choices *)memory_allocate(sizeof *cuda->choices, "choices of products");
}

void choices_close(struct cuda_device *cuda) {
  for (int64_t i = 0; i < cuda->choices->count; i++) {
    choices_drop_plan(cuda->choices->list[i]);
    memory_release(cuda->choices->list[i]);
  }
  memory_release(cuda->choices->list);
  memory_release(cuda->choices);
}

/* ---- as text: a line that names library and GPU, a line of column names, a line per choice */

static int write_names(char *line) {
  int length = snprintf(line, LINE_CHARACTERS, "#");
  for (int i = 0; i < CHOICE_FIELDS; i++)
    length += snprintf(line + length, (size_t)(LINE_CHARACTERS - length), " %s", field_names[i]);
  return length + snprintf(line + length, (size_t)(LINE_CHARACTERS - length), " us algorithm\n");
}

static int write_choice(const struct choice *choice, char *line) {
  int length = 0;
  for (int i = 0; i < CHOICE_FIELDS; i++)
    length += snprintf(line + length, (size_t)(LINE_CHARACTERS - length), "%" PRId64 " ", choice->key.of[i]);
  length += snprintf(line + length, (size_t)(LINE_CHARACTERS - length), "%.2f", choice->microseconds);
  for (int i = 0; i < CHOICE_WORDS; i++)
    length += snprintf(line + length, (size_t)(LINE_CHARACTERS - length), "%c%016" PRIx64, i ? '.' : ' ',
                       choice->algorithm[i]);
  return length + snprintf(line + length, (size_t)(LINE_CHARACTERS - length), "\n");
}

static int64_t count_choices(struct device *self) {
  return cuda_from_device(self)->choices->count;
}

static char *write_choices(struct device *self, int64_t first) {
  struct cuda_device *cuda = cuda_from_device(self);
  const struct choices *choices = cuda->choices;
  const int64_t lines = 2 + (first < choices->count ? choices->count - first : 0);
  char *text = (char *)memory_allocate((size_t)(lines * LINE_CHARACTERS), "choices as text"), identity[256];
  choices_identify(cuda, identity);
  char *at = text + sprintf(text, "# products of %s\n", identity);
  at += write_names(at);
  for (int64_t i = first; i < choices->count; i++)
    at += write_choice(choices->list[i], at);
  return text;
}

/* What a library can be asked about. */
static bool is_shape(const struct choice_key *key) {
  for (int i = 0; i < CHOICE_FIELDS; i++)
    if (key->of[i] < (i <= CHOICE_C_STRIDE ? 1 : 0) || key->of[i] > ((int64_t)1 << 40))
      return false;
  return key->of[CHOICE_BATCH] <= INT32_MAX && (key->of[CHOICE_BITS] == 16 || key->of[CHOICE_BITS] == 32) &&
         (key->of[CHOICE_C_BITS] == 16 || key->of[CHOICE_C_BITS] == 32);
}

/* A line of the text; false when it is none. */
static bool read_choice(const char *line, struct choice *choice) {
  char *at = (char *)line;
  for (int i = 0; i < CHOICE_FIELDS; i++) {
    const char *from = at;
    choice->key.of[i] = strtoll(from, &at, 10);
    if (at == from)
      return false;
  }
  choice->microseconds = strtod(at, &at);
  for (int i = 0; i < CHOICE_WORDS; i++) {
    const char *from = at + (*at == '.');
    choice->algorithm[i] = strtoull(from, &at, 16);
    if (at == from)
      return false;
  }
  return (*at == '\n' || *at == '\0') && is_shape(&choice->key);
}

static void take(struct cuda_device *cuda, const struct choice *read) {
  struct choice *choice = choices_find(cuda, &read->key);
  if (!choice)
    choice = choices_add(cuda, &read->key);
  else if (memcmp(choice->algorithm, read->algorithm, sizeof read->algorithm) == 0)
    return;
  choices_drop_plan(choice);
  memcpy(choice->algorithm, read->algorithm, sizeof read->algorithm);
  choice->microseconds = read->microseconds;
}

static enum status read_choices(struct device *self, const char *text) {
  struct cuda_device *cuda = cuda_from_device(self);
  char identity[256], first[300];
  int64_t refused = 0, lines = 0;
  choices_identify(cuda, identity);
  const int length = snprintf(first, sizeof first, "# products of %s\n", identity);
  if (strncmp(text, first, (size_t)length) != 0)
    return error_set(STATUS_INPUT, "\"%.*s\", but here they are those of %s", (int)strcspn(text, "\n"), text, identity);
  for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
    struct choice choice = {};
    if (*line == '#' || *line == '\n')
      continue;
    lines++;
    if (read_choice(line, &choice) && choices_accept(cuda, &choice))
      take(cuda, &choice);
    else
      refused++;
  }
  return refused ? error_set(STATUS_INPUT, "%" PRId64 " of %" PRId64 " lines are of no use here", refused, lines)
                 : STATUS_OK;
}

static const struct device_choices table = {.count = count_choices, .write = write_choices, .read = read_choices};
const struct device_choices *const cuda_choices = &table;

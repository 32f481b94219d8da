#include "bench/op_times.h"
#include "base/clock.h"
#include "base/error.h"

static const char *const class_names[OP_CLASSES] = {"products",  "attention", "memory",    "activation", "norm",
                                                    "embedding", "loss",      "optimiser", "copies"};
static const struct device_operations *original;
static struct device_operations timed;
static struct op_times sums;

static void add(struct device *self, enum op_class class, double start, double flops) {
  original->synchronize(self);
  sums.seconds[class] += clock_seconds() - start;
  sums.flops[class] += flops;
}

#define LINEAR_FLOPS 2.0 * (double)(call->rows * call->in * call->out)
/* Scores and sums of values; a causal mask leaves half of them, a gradient takes two and a half times as much. */
#define ATTENTION_FLOPS                                                                                                \
  4.0 * (double)(call->batch * call->queries * call->tokens * call->heads * call->head_width) * (call->causal ? 0.5 : 1)
#define SELECT_FLOPS 4.0 * (double)(call->rows * call->heads * call->n_keys * call->half)
#define READ_FLOPS 2.0 * (double)(call->rows * call->entries * call->width)

/* X(operation, its struct, class, FLOP): every operation that takes one struct. */
#define TIMED_CALLS(X)                                                                                                 \
  X(linear, linear, OP_PRODUCT, LINEAR_FLOPS)                                                                          \
  X(linear_data_gradient, linear_data_gradient, OP_PRODUCT, LINEAR_FLOPS)                                              \
  X(linear_weight_gradient, linear_weight_gradient, OP_PRODUCT, LINEAR_FLOPS)                                          \
  X(attention, attention, OP_ATTENTION, ATTENTION_FLOPS)                                                               \
  X(attention_backward, attention, OP_ATTENTION, 2.5 * ATTENTION_FLOPS)                                                \
  X(memory_select, memory_select, OP_MEMORY, SELECT_FLOPS)                                                             \
  X(memory_select_backward, memory_select, OP_MEMORY, 0)                                                               \
  X(memory_read, memory_read, OP_MEMORY, READ_FLOPS)                                                                   \
  X(memory_read_backward, memory_read, OP_MEMORY, 2 * READ_FLOPS)                                                      \
  X(gate, gate, OP_MEMORY, 0)                                                                                          \
  X(gate_backward, gate, OP_MEMORY, 0)                                                                                 \
  X(token_gate, token_gate, OP_MEMORY, 0)                                                                              \
  X(token_gate_backward, token_gate, OP_MEMORY, 0)                                                                     \
  X(activation, activation_call, OP_ACTIVATION, 0)                                                                     \
  X(activation_backward, activation_call, OP_ACTIVATION, 0)                                                            \
  X(norm, norm, OP_NORM, 0)                                                                                            \
  X(norm_backward, norm_backward, OP_NORM, 0)                                                                          \
  X(patchify, patchify, OP_EMBEDDING, 0)                                                                               \
  X(image_embed, image_embed, OP_EMBEDDING, 0)                                                                         \
  X(image_embed_backward, image_embed, OP_EMBEDDING, 0)                                                                \
  X(text_embed, text_embed, OP_EMBEDDING, 0)                                                                           \
  X(text_embed_backward, text_embed, OP_EMBEDDING, 0)                                                                  \
  X(pool, pool, OP_COPY, 0)                                                                                            \
  X(pool_backward, pool, OP_COPY, 0)                                                                                   \
  X(pool_average, pool_average, OP_COPY, 0)                                                                            \
  X(pool_average_backward, pool_average, OP_COPY, 0)                                                                   \
  X(normalize, normalize, OP_LOSS, 0)                                                                                  \
  X(normalize_backward, normalize, OP_LOSS, 0)                                                                         \
  X(distill, distill, OP_LOSS, 0)                                                                                      \
  X(contrastive, contrastive, OP_LOSS, 0)                                                                              \
  X(adamw, adamw, OP_OPTIMIZER, 0)

#define TIMED_CALL(operation, type, class, flops)                                                                      \
  static void timed_##operation(struct device *self, const struct type *call) {                                        \
    const double start = clock_seconds();                                                                              \
    original->operation(self, call);                                                                                   \
    add(self, class, start, flops);                                                                                    \
  }
TIMED_CALLS(TIMED_CALL)

static void timed_copy(struct device *self, void *to, const void *from, size_t bytes) {
  const double start = clock_seconds();
  original->copy(self, to, from, bytes);
  add(self, OP_COPY, start, 0);
}

static void timed_copy_in(struct device *self, void *to, const void *from, size_t bytes) {
  const double start = clock_seconds();
  original->copy_in(self, to, from, bytes);
  add(self, OP_COPY, start, 0);
}

static void timed_zero(struct device *self, void *block, size_t bytes) {
  const double start = clock_seconds();
  original->zero(self, block, bytes);
  add(self, OP_COPY, start, 0);
}

static void timed_cast(struct device *self, void *to, enum dtype to_dtype, const void *from, enum dtype from_dtype,
                       int64_t count) {
  const double start = clock_seconds();
  original->cast(self, to, to_dtype, from, from_dtype, count);
  add(self, OP_COPY, start, 0);
}

static void timed_sum_of_squares(struct device *self, const float *x, int64_t count, double *result) {
  const double start = clock_seconds();
  original->sum_of_squares(self, x, count, result);
  add(self, OP_OPTIMIZER, start, 0);
}

void op_times_attach(struct device *device) {
  original = device->op;
  timed = *original;
#define TIMED_FIELD(operation, type, class, flops) timed.operation = timed_##operation;
  TIMED_CALLS(TIMED_FIELD)
  timed.copy = timed_copy;
  timed.copy_in = timed_copy_in;
  timed.zero = timed_zero;
  timed.cast = timed_cast;
  timed.sum_of_squares = timed_sum_of_squares;
  sums = (struct op_times){{0}, {0}};
  device->op = &timed;
}

struct op_times op_times_detach(struct device *device) {
  device->op = original;
  return sums;
}

const char *op_class_name(enum op_class class) {
  return class_names[class];
}

double op_times_flops(const struct op_times *times) {
  double sum = 0;
  for (int i = 0; i < OP_CLASSES; i++)
    sum += times->flops[i];
  return sum;
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

/* What each operation of the device interface cannot do with less: floating-point operations (a multiply-add is two)
 * and bytes (operands read and results written once, whatever an implementation keeps in between). One table, for the
 * classes of a step (op_times.h), for the shares of the limit that cuda-bench prints, and for what they call a limit:
 * the longer of the two at measured rates. */
#ifndef MEMCLIP_BENCH_OP_LIMITS_H
#define MEMCLIP_BENCH_OP_LIMITS_H
#include "device/device.h"

enum op_class {
  OP_PRODUCT,
  OP_ATTENTION,
  OP_MEMORY,
  OP_ACTIVATION,
  OP_NORM,
  OP_EMBEDDING,
  OP_LOSS,
  OP_OPTIMIZER,
  OP_COPY,
  OP_CLASSES
};

/* Tables that stay in a GPU's second-level cache are read from memory once, larger ones at every access. */
enum { CACHED_TABLE_BYTES = 32 << 20 };
static inline double op_gathered(double table_bytes, double accessed_bytes) {
  return table_bytes <= CACHED_TABLE_BYTES && table_bytes < accessed_bytes ? table_bytes : accessed_bytes;
}

#define N(x) ((double)(x))
#define S N(dtype_size(call->dtype))
#define OP_PRODUCT_FLOPS 2 * N(call->rows) * N(call->in) * N(call->out)
/* Scores and sums of values; a causal mask leaves half of them, a gradient takes two and a half times as much. */
#define OP_ATTENTION_FLOPS                                                                                             \
  4 * N(call->batch) * N(call->queries) * N(call->tokens) * N(call->heads * call->head_width) * (call->causal ? 0.5 : 1)
#define OP_ATTENTION_ROWS S *N(call->batch *(call->queries + call->tokens)) * N(call->heads * call->head_width)
#define OP_SELECT_FLOPS 4 * N(call->rows) * N(call->heads * call->n_keys * call->half)
#define OP_READ_FLOPS 2 * N(call->rows) * N(call->entries) * N(call->width)
/* Rows of one table, or of what is scattered into one, by all entries. */
#define OP_READ_ROWS                                                                                                   \
  op_gathered(S *N(call->slots) * N(call->width), S * N(call->rows) * N(call->entries) * N(call->width))
#define OP_ROWS N(call->rows) * N(call->width)
#define OP_IMAGE N(call->batch) * N(call->width)

/* X(operation, its struct, class, FLOP, bytes): every operation that takes one struct `call`. */
#define OP_LIMITS(X)                                                                                                   \
  X(linear, linear, OP_PRODUCT, OP_PRODUCT_FLOPS,                                                                      \
    S *(N(call->rows * call->in) + N(call->in * call->out)) +                                                          \
        N(dtype_size(call->y_dtype)) * N(call->rows * call->out))                                                      \
  X(linear_data_gradient, linear_data_gradient, OP_PRODUCT, OP_PRODUCT_FLOPS,                                          \
    S *(N(call->rows * call->out) + N(call->in * call->out)) +                                                         \
        N(dtype_size(call->dx_dtype)) * N(call->rows * call->in) * (call->accumulate ? 2 : 1))                         \
  X(linear_weight_gradient, linear_weight_gradient, OP_PRODUCT, OP_PRODUCT_FLOPS,                                      \
    S *(N(call->rows * call->in) + N(call->rows * call->out)) + 8 * N(call->in * call->out))                           \
  X(attention, attention, OP_ATTENTION, OP_ATTENTION_FLOPS, 2 * OP_ATTENTION_ROWS)                                     \
  X(attention_backward, attention, OP_ATTENTION, 2.5 * OP_ATTENTION_FLOPS, 4 * OP_ATTENTION_ROWS)                      \
  X(memory_select, memory_select, OP_MEMORY, OP_SELECT_FLOPS,                                                          \
    N(call->rows * call->heads) * (2 * S * N(call->half) + 8 * N(call->knn)))                                          \
  X(memory_select_backward, memory_select, OP_MEMORY, 0,                                                               \
    N(call->rows * call->heads) * (4 * S * N(call->half) + 12 * N(call->knn)))                                         \
  X(memory_read, memory_read, OP_MEMORY, OP_READ_FLOPS,                                                                \
    OP_READ_ROWS + 8 * N(call->rows * call->entries) + S * OP_ROWS)                                                    \
  X(memory_read_backward, memory_read, OP_MEMORY, 2 * OP_READ_FLOPS,                                                   \
    OP_READ_ROWS + (S + 8) * N(call->slots * call->width) + 12 * N(call->rows * call->entries) + S * OP_ROWS)          \
  X(expert_read, expert_read, OP_MEMORY, 2 * OP_READ_FLOPS,                                                            \
    2 * OP_READ_ROWS + 12 * N(call->rows * call->entries) + 2 * S * OP_ROWS)                                           \
  X(expert_read_backward, expert_read, OP_MEMORY, 4 * OP_READ_FLOPS,                                                   \
    2 * OP_READ_ROWS + 2 * (S + 8) * N(call->slots * call->width) + 16 * N(call->rows * call->entries) +               \
        4 * S * OP_ROWS)                                                                                               \
  X(gate, gate, OP_MEMORY, 0, 3 * S * N(call->rows * call->columns))                                                   \
  X(gate_backward, gate, OP_MEMORY, 0, 5 * S * N(call->rows * call->columns))                                          \
  X(token_gate, token_gate, OP_MEMORY, 0, S *N(call->rows) * N(call->in + 2 * call->width))                            \
  X(token_gate_backward, token_gate, OP_MEMORY, 0, S *N(call->rows) * N(3 * call->in + 3 * call->width))               \
  X(dropout, dropout, OP_MEMORY, 0, 2 * S * N(call->batch * call->tokens) * N(call->width))                            \
  X(activation, activation_call, OP_ACTIVATION, 0, 2 * S * N(call->rows * call->columns))                              \
  X(activation_backward, activation_call, OP_ACTIVATION, 0, 3 * S * N(call->rows * call->columns))                     \
  X(norm, norm, OP_NORM, 0, OP_ROWS *(4 + (call->branch ? 4 + S : 0) + (call->y ? N(dtype_size(call->y_dtype)) : 0)))  \
  X(norm_backward, norm_backward, OP_NORM, 0,                                                                          \
    OP_ROWS *((call->dy ? 4 + N(dtype_size(call->dy_dtype)) : 0) + (call->dx_zero ? 4 : 8) + (call->dbranch ? S : 0) + \
              (call->dgamma ? S : 0)))                                                                                 \
  X(patchify, patchify, OP_EMBEDDING, 0,                                                                               \
    3 * N(call->batch * call->height) * N(call->width) * (N(dtype_size(call->image_dtype)) + S))                       \
  X(image_embed, image_embed, OP_EMBEDDING, 0, OP_IMAGE *(S * N(call->kept) + 4 * N(call->kept + 1)))                  \
  X(image_embed_backward, image_embed, OP_EMBEDDING, 0, OP_IMAGE *(S * N(call->grid) + 4 * N(call->kept + 1)))         \
  X(text_embed, text_embed, OP_EMBEDDING, 0, 8 * OP_IMAGE * N(call->tokens))                                           \
  X(text_embed_backward, text_embed, OP_EMBEDDING, 0, 12 * OP_IMAGE * N(call->tokens))                                 \
  X(pool, pool, OP_COPY, 0, 2 * S * OP_IMAGE)                                                                          \
  X(pool_backward, pool, OP_COPY, 0, S *OP_IMAGE *(call->accumulate ? 3 : N(call->tokens)))                            \
  X(pool_average, pool_average, OP_COPY, 0, S *OP_IMAGE *N(call->tokens))                                              \
  X(pool_average_backward, pool_average, OP_COPY, 0, S *OP_IMAGE *N(call->tokens))                                     \
  X(normalize, normalize, OP_LOSS, 0, 8 * OP_ROWS)                                                                     \
  X(normalize_backward, normalize, OP_LOSS, 0, 12 * OP_ROWS)                                                           \
  X(distill, distill, OP_LOSS, 0, 12 * OP_IMAGE)                                                                       \
  X(contrastive_normalisers, contrastive, OP_LOSS,                                                                     \
    N(call->count == call->global ? 2 : 4) * N(call->global) * N(call->count) * N(call->width),                        \
    8 * N(call->global) * N(call->width))                                                                              \
  X(contrastive, contrastive, OP_LOSS,                                                                                 \
    N(call->count == call->global ? 6 : 8) * N(call->global) * N(call->count) * N(call->width),                        \
    16 * N(call->global) * N(call->width))                                                                             \
  X(adamw_squares, adamw, OP_OPTIMIZER, 0, 4 * N(call->count))                                                         \
  X(adamw, adamw, OP_OPTIMIZER, 0, (call->compute ? 30 : 28) * N(call->count))

struct op_limit {
  double flops, bytes;
};
#define OP_LIMIT_FUNCTION(operation, type, class, operations, moved)                                                   \
  static inline struct op_limit op_limit_##operation(const struct type *call) {                                        \
    const struct op_limit limit = {operations, moved};                                                                 \
    (void)call;                                                                                                        \
    return limit;                                                                                                      \
  }
OP_LIMITS(OP_LIMIT_FUNCTION)
#undef N
#undef S

/* Rates measured in the same run, per second; 0: not known, which binds nothing. */
struct op_rates {
  double flops, bytes;
};
static inline double op_limit_seconds(struct op_limit limit, struct op_rates rates) {
  const double by_flops = rates.flops > 0 ? limit.flops / rates.flops : 0,
               by_bytes = rates.bytes > 0 ? limit.bytes / rates.bytes : 0;
  return by_flops > by_bytes ? by_flops : by_bytes;
}
#endif

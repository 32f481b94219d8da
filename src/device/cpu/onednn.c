/* Matrix products by oneDNN: primitives made once per shape, work space given by the caller, weights packed once
 * and again when they were written. Only the descriptors differ between its 2.x and 3.x interfaces; `struct layout` and
 * the create_* functions hide that. */
#include "device/cpu/onednn.h"
#include "base/memory.h"
#include <dnnl.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#define CHECK(call)                                                                                                    \
  do {                                                                                                                 \
    dnnl_status_t check_status_ = (call);                                                                              \
    if (check_status_ != dnnl_success)                                                                                 \
      fatal("oneDNN: %s failed: %s", #call, status_text(check_status_));                                               \
  } while (0)

static const char *status_text(dnnl_status_t status) {
  switch (status) {
  case dnnl_out_of_memory:
    return "out of memory";
  case dnnl_invalid_arguments:
    return "invalid arguments";
  case dnnl_unimplemented:
    return "unimplemented on this processor";
  default:
    return "runtime error";
  }
}

/* What a primitive was made for; integers only, so that keys are compared as bytes. */
struct product_key {
  int64_t outer, m, n, k, a_stride, b_stride, c_stride, dtype, c_dtype, b_transposed, b_packed, accumulate, bias;
};

struct layout {
  dnnl_memory_desc_t desc;
};
#if DNNL_VERSION_MAJOR >= 3
#define DESC(layout) ((layout)->desc)
#else
#define DESC(layout) (&(layout)->desc)
#endif

enum { ARGUMENTS_MAX = 5 };
struct product {
  struct product_key key;
  dnnl_primitive_t primitive;
  dnnl_exec_arg_t argument[ARGUMENTS_MAX]; /* last: the scratchpad */
  int arguments;
  size_t scratch_bytes;
  struct layout b; /* of a packed b */
};

struct packed_weight {
  const void *source;
  size_t source_bytes;
  bool stale;      /* the source was written since */
  bool transposed; /* how the source was read: a square matrix packs to the same layout both ways */
  struct layout layout;
  void *block;
  struct packed_weight *next;
};

struct onednn {
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  int threads;
  struct product *products;
  size_t count, capacity;
  struct packed_weight *packed;
};

const char *onednn_version(void) {
  static char text[32];
  const dnnl_version_t *version = dnnl_version();
  snprintf(text, sizeof text, "oneDNN %d.%d.%d", version->major, version->minor, version->patch);
  return text;
}

/* ---- descriptors */

static dnnl_data_type_t data_type(int64_t dtype) {
  return dtype == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32;
}

static void layout_strided(struct layout *layout, int64_t rows, int64_t columns, int64_t row_stride,
                           int64_t column_stride, int64_t dtype) {
  dnnl_dims_t dims = {rows, columns}, strides = {row_stride, column_stride};
#if DNNL_VERSION_MAJOR >= 3
  CHECK(dnnl_memory_desc_create_with_strides(&layout->desc, 2, dims, data_type(dtype), strides));
#else
  CHECK(dnnl_memory_desc_init_by_strides(&layout->desc, 2, dims, data_type(dtype), strides));
#endif
}

static void layout_any(struct layout *layout, int64_t rows, int64_t columns, int64_t dtype) {
  dnnl_dims_t dims = {rows, columns};
#if DNNL_VERSION_MAJOR >= 3
  CHECK(dnnl_memory_desc_create_with_tag(&layout->desc, 2, dims, data_type(dtype), dnnl_format_tag_any));
#else
  CHECK(dnnl_memory_desc_init_by_tag(&layout->desc, 2, dims, data_type(dtype), dnnl_format_tag_any));
#endif
}

static void layout_release(struct layout *layout) {
#if DNNL_VERSION_MAJOR >= 3
  if (layout->desc)
    dnnl_memory_desc_destroy(layout->desc);
#else
  (void)layout;
#endif
}

/* A copy that is released like any other layout. */
static void layout_copy(struct layout *to, const_dnnl_primitive_desc_t primitive, dnnl_query_t what) {
#if DNNL_VERSION_MAJOR >= 3
  CHECK(dnnl_memory_desc_clone(&to->desc, dnnl_primitive_desc_query_md(primitive, what, 0)));
#else
  to->desc = *dnnl_primitive_desc_query_md(primitive, what, 0);
#endif
}

static void layout_clone(struct layout *to, const struct layout *from) {
#if DNNL_VERSION_MAJOR >= 3
  CHECK(dnnl_memory_desc_clone(&to->desc, from->desc));
#else
  to->desc = from->desc;
#endif
}

static dnnl_primitive_desc_t create_matmul(struct onednn *library, const struct layout *a, const struct layout *b,
                                           const struct layout *bias, const struct layout *c,
                                           dnnl_primitive_attr_t attributes) {
  dnnl_primitive_desc_t primitive;
#if DNNL_VERSION_MAJOR >= 3
  CHECK(dnnl_matmul_primitive_desc_create(&primitive, library->engine, a->desc, b->desc, bias ? bias->desc : NULL,
                                          c->desc, attributes));
#else
  dnnl_matmul_desc_t operation;
  CHECK(dnnl_matmul_desc_init(&operation, &a->desc, &b->desc, bias ? &bias->desc : NULL, &c->desc));
  CHECK(dnnl_primitive_desc_create(&primitive, &operation, attributes, library->engine, NULL));
#endif
  return primitive;
}

/* Inner product's backward by weights: c[n,k] = dy[rows,n]^T x[rows,k]. It wants a forward descriptor as a hint. */
static dnnl_primitive_desc_t create_outer(struct onednn *library, const struct layout *x, const struct layout *c,
                                          const struct layout *dy, const struct layout *forward_weight,
                                          dnnl_primitive_attr_t attributes) {
  dnnl_primitive_desc_t hint, primitive;
#if DNNL_VERSION_MAJOR >= 3
  CHECK(dnnl_inner_product_forward_primitive_desc_create(&hint, library->engine, dnnl_forward_training, x->desc,
                                                         forward_weight->desc, NULL, dy->desc, NULL));
  CHECK(dnnl_inner_product_backward_weights_primitive_desc_create(&primitive, library->engine, x->desc, c->desc, NULL,
                                                                  dy->desc, hint, attributes));
#else
  dnnl_inner_product_desc_t operation;
  CHECK(dnnl_inner_product_forward_desc_init(&operation, dnnl_forward_training, &x->desc, &forward_weight->desc, NULL,
                                             &dy->desc));
  CHECK(dnnl_primitive_desc_create(&hint, &operation, NULL, library->engine, NULL));
  CHECK(dnnl_inner_product_backward_weights_desc_init(&operation, &x->desc, &c->desc, NULL, &dy->desc));
  CHECK(dnnl_primitive_desc_create(&primitive, &operation, attributes, library->engine, hint));
#endif
  CHECK(dnnl_primitive_desc_destroy(hint));
  return primitive;
}

static dnnl_primitive_attr_t create_attributes(bool accumulate) {
  dnnl_primitive_attr_t attributes;
  CHECK(dnnl_primitive_attr_create(&attributes));
  CHECK(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user));
  if (accumulate) {
    dnnl_post_ops_t sum;
    CHECK(dnnl_post_ops_create(&sum));
#if DNNL_VERSION_MAJOR >= 3
    CHECK(dnnl_post_ops_append_sum(sum, 1, 0, dnnl_data_type_undef));
#else
    CHECK(dnnl_post_ops_append_sum(sum, 1));
#endif
    CHECK(dnnl_primitive_attr_set_post_ops(attributes, sum));
    CHECK(dnnl_post_ops_destroy(sum));
  }
  return attributes;
}

/* ---- primitives, kept by shape */

/* Every call sets the data; only the layout is kept. */
static void product_add_argument(struct onednn *library, struct product *product, int number,
                                 const struct layout *layout) {
  dnnl_exec_arg_t *argument = &product->argument[product->arguments++];
  argument->arg = number;
  CHECK(dnnl_memory_create(&argument->memory, DESC(layout), library->engine, DNNL_MEMORY_NONE));
}

static void product_finish(struct onednn *library, struct product *product, dnnl_primitive_desc_t descriptor) {
  struct layout scratchpad;
  layout_copy(&scratchpad, descriptor, dnnl_query_scratchpad_md);
  product->scratch_bytes = dnnl_memory_desc_get_size(DESC(&scratchpad));
  product_add_argument(library, product, DNNL_ARG_SCRATCHPAD, &scratchpad);
  layout_release(&scratchpad);
  CHECK(dnnl_primitive_create(&product->primitive, descriptor));
  CHECK(dnnl_primitive_desc_destroy(descriptor));
}

static void product_make_matmul(struct onednn *library, struct product *product) {
  const struct product_key *key = &product->key;
  struct layout a, b, c, bias;
  layout_strided(&a, key->m, key->k, key->a_stride, 1, key->dtype);
  if (key->b_packed)
    layout_any(&b, key->k, key->n, key->dtype);
  else
    layout_strided(&b, key->k, key->n, key->b_transposed ? 1 : key->b_stride, key->b_transposed ? key->b_stride : 1,
                   key->dtype);
  layout_strided(&c, key->m, key->n, key->c_stride, 1, key->c_dtype);
  layout_strided(&bias, 1, key->n, key->n, 1, DTYPE_F32);
  dnnl_primitive_attr_t attributes = create_attributes(key->accumulate);
  dnnl_primitive_desc_t descriptor = create_matmul(library, &a, &b, key->bias ? &bias : NULL, &c, attributes);
  layout_copy(&product->b, descriptor, dnnl_query_weights_md);
  product_add_argument(library, product, DNNL_ARG_SRC, &a);
  product_add_argument(library, product, DNNL_ARG_WEIGHTS, &product->b);
  product_add_argument(library, product, DNNL_ARG_DST, &c);
  if (key->bias)
    product_add_argument(library, product, DNNL_ARG_BIAS, &bias);
  product_finish(library, product, descriptor);
  CHECK(dnnl_primitive_attr_destroy(attributes));
  layout_release(&a);
  layout_release(&b);
  layout_release(&c);
  layout_release(&bias);
}

static void product_make_outer(struct onednn *library, struct product *product) {
  const struct product_key *key = &product->key;
  struct layout x, c, dy, forward_weight;
  layout_strided(&x, key->m, key->k, key->k, 1, key->dtype);
  layout_strided(&dy, key->m, key->n, key->n, 1, key->dtype);
  layout_strided(&c, key->n, key->k, key->k, 1, DTYPE_F32);
  layout_strided(&forward_weight, key->n, key->k, key->k, 1, key->dtype);
  dnnl_primitive_attr_t attributes = create_attributes(false);
  dnnl_primitive_desc_t descriptor = create_outer(library, &x, &c, &dy, &forward_weight, attributes);
  product_add_argument(library, product, DNNL_ARG_SRC, &x);
  product_add_argument(library, product, DNNL_ARG_DIFF_DST, &dy);
  product_add_argument(library, product, DNNL_ARG_DIFF_WEIGHTS, &c);
  product_finish(library, product, descriptor);
  CHECK(dnnl_primitive_attr_destroy(attributes));
  layout_release(&x);
  layout_release(&c);
  layout_release(&dy);
  layout_release(&forward_weight);
}

static struct product *product_find(struct onednn *library, const struct product_key *key) {
  for (size_t i = 0; i < library->count; i++)
    if (memcmp(&library->products[i].key, key, sizeof *key) == 0)
      return &library->products[i];
  if (library->count == library->capacity) {
    library->capacity = library->capacity ? 2 * library->capacity : 64;
    library->products =
        memory_resize(library->products, library->capacity * sizeof *library->products, "oneDNN primitives");
  }
  struct product *product = &library->products[library->count++];
  *product = (struct product){.key = *key};
  if (key->outer)
    product_make_outer(library, product);
  else
    product_make_matmul(library, product);
  return product;
}

static void product_run(struct onednn *library, struct product *product, void *const *data,
                        struct onednn_scratch scratch) {
  for (int i = 0; i < product->arguments - 1; i++)
    CHECK(dnnl_memory_set_data_handle(product->argument[i].memory, data[i]));
  void *work = product->scratch_bytes ? scratch.take(scratch.owner, product->scratch_bytes) : NULL;
  CHECK(dnnl_memory_set_data_handle(product->argument[product->arguments - 1].memory, work));
  CHECK(dnnl_primitive_execute(product->primitive, library->stream, product->arguments, product->argument));
  CHECK(dnnl_stream_wait(library->stream));
}

/* ---- packed copies of weights */

static struct packed_weight *find_packed(const struct onednn *library, const struct gemm *call,
                                         const struct product *product) {
  const void *source = call->b_key ? call->b_key : call->b;
  for (struct packed_weight *packed = library->packed; packed; packed = packed->next)
    if (packed->source == source && packed->transposed == call->b_transposed &&
        dnnl_memory_desc_equal(DESC(&packed->layout), DESC(&product->b)))
      return packed;
  return NULL;
}

static void pack(struct onednn *library, const struct gemm *call, struct packed_weight *packed) {
  struct layout plain;
  layout_strided(&plain, call->k, call->n, call->b_transposed ? 1 : call->n, call->b_transposed ? call->k : 1,
                 call->dtype);
  dnnl_memory_t from, to;
  CHECK(dnnl_memory_create(&from, DESC(&plain), library->engine, (void *)call->b));
  CHECK(dnnl_memory_create(&to, DESC(&packed->layout), library->engine, packed->block));
  dnnl_primitive_desc_t descriptor;
  dnnl_primitive_t reorder;
  CHECK(dnnl_reorder_primitive_desc_create(&descriptor, DESC(&plain), library->engine, DESC(&packed->layout),
                                           library->engine, NULL));
  CHECK(dnnl_primitive_create(&reorder, descriptor));
  dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
  CHECK(dnnl_primitive_execute(reorder, library->stream, 2, arguments));
  CHECK(dnnl_stream_wait(library->stream));
  dnnl_primitive_destroy(reorder);
  dnnl_primitive_desc_destroy(descriptor);
  dnnl_memory_destroy(from);
  dnnl_memory_destroy(to);
  layout_release(&plain);
  packed->stale = false;
}

static void *packed_weight(struct onednn *library, const struct gemm *call, const struct product *product) {
  struct packed_weight *packed = find_packed(library, call, product);
  if (!packed) {
    packed = memory_allocate(sizeof *packed, "packed weight");
    *packed = (struct packed_weight){
        .source = call->b_key ? call->b_key : call->b,
        .source_bytes = (size_t)(call->k * call->n) * (call->b_key ? sizeof(bf16) : dtype_size(call->dtype)),
        .stale = true,
        .transposed = call->b_transposed,
        .block = memory_allocate(dnnl_memory_desc_get_size(DESC(&product->b)), "packed weight"),
        .next = library->packed};
    layout_clone(&packed->layout, &product->b);
    library->packed = packed;
  }
  if (packed->stale)
    pack(library, call, packed);
  return packed->block;
}

void onednn_weights_written(struct onednn *library, const void *from, size_t bytes) {
  const char *start = from, *end = start + bytes;
  for (struct packed_weight *packed = library->packed; packed; packed = packed->next) {
    const char *source = packed->source;
    packed->stale = packed->stale || (source < end && start < source + packed->source_bytes);
  }
}

void onednn_forget_weights(struct onednn *library) {
  while (library->packed) {
    struct packed_weight *packed = library->packed;
    library->packed = packed->next;
    layout_release(&packed->layout);
    memory_release(packed->block);
    memory_release(packed);
  }
}

/* ---- calls */

static struct product *find_multiply(struct onednn *library, const struct gemm *call) {
  omp_set_num_threads(library->threads);
  struct product_key key = {.m = call->m,
                            .n = call->n,
                            .k = call->k,
                            .a_stride = call->a_stride ? call->a_stride : call->k,
                            .b_stride = call->b_stride       ? call->b_stride
                                        : call->b_transposed ? call->k
                                                             : call->n,
                            .c_stride = call->c_stride ? call->c_stride : call->n,
                            .dtype = call->dtype,
                            .c_dtype = call->c_dtype,
                            .b_transposed = call->b_transposed,
                            .b_packed = call->b_kept,
                            .accumulate = call->accumulate,
                            .bias = call->bias != NULL};
  return product_find(library, &key);
}

bool onednn_is_packed(struct onednn *library, const struct gemm *call) {
  const struct packed_weight *packed = find_packed(library, call, find_multiply(library, call));
  return packed && !packed->stale;
}

void onednn_multiply(struct onednn *library, const struct gemm *call, struct onednn_scratch scratch) {
  struct product *product = find_multiply(library, call);
  void *b = call->b_kept ? packed_weight(library, call, product) : (void *)call->b;
  product_run(library, product, (void *[]){(void *)call->a, b, call->c, (void *)call->bias}, scratch);
}

void onednn_multiply_outer(struct onednn *library, const struct gemm_outer *call, struct onednn_scratch scratch) {
  omp_set_num_threads(library->threads);
  struct product_key key = {.outer = 1, .m = call->rows, .n = call->n, .k = call->k, .dtype = call->dtype};
  struct product *product = product_find(library, &key);
  product_run(library, product, (void *[]){(void *)call->x, (void *)call->dy, call->c}, scratch);
}

/* The library reads its limit once, before the first primitive; a second device with another limit keeps the first one.
 */
static void limit_isa(enum isa isa) {
#if defined __x86_64__
  static const dnnl_cpu_isa_t limits[ISA_COUNT] = {dnnl_cpu_isa_sse41, dnnl_cpu_isa_avx2, dnnl_cpu_isa_avx512_core,
                                                   dnnl_cpu_isa_all};
  if (isa < ISA_AVX512BF16)
    dnnl_set_max_cpu_isa(limits[isa]);
#else
  (void)isa;
#endif
}

struct onednn *onednn_open(enum isa isa, int threads) {
  limit_isa(isa);
  struct onednn *library = memory_allocate(sizeof *library, "oneDNN");
  library->threads = threads;
  CHECK(dnnl_engine_create(&library->engine, dnnl_cpu, 0));
  CHECK(dnnl_stream_create(&library->stream, library->engine, dnnl_stream_default_flags));
  return library;
}

void onednn_close(struct onednn *library) {
  onednn_forget_weights(library);
  for (size_t i = 0; i < library->count; i++) {
    struct product *product = &library->products[i];
    for (int j = 0; j < product->arguments; j++)
      dnnl_memory_destroy(product->argument[j].memory);
    dnnl_primitive_destroy(product->primitive);
    layout_release(&product->b);
  }
  memory_release(library->products);
  dnnl_stream_destroy(library->stream);
  dnnl_engine_destroy(library->engine);
  memory_release(library);
}

/* The kernels that cuda-bench measures, each at the shapes at which it is called. */
#include "bench/device_bench.h"
#include "device/adamw.h"
#include <stdio.h>
#include <string.h>

struct shape {
  const char *name;
  int64_t tokens, width, heads;
  bool causal;
  enum activation activation;
  int64_t image, patch; /* 0: text */
};
static const struct shape published[] = {{"B/16", 197, 768, 12, false, ACTIVATION_QUICKGELU, 224, 16},
                                         {"text", 77, 512, 8, true, ACTIVATION_QUICKGELU, 0, 0},
                                         {"H/14", 257, 1280, 16, false, ACTIVATION_GELU, 224, 14},
                                         {.name = NULL}},
                          tiny[] = {{"image", 5, 64, 1, false, ACTIVATION_QUICKGELU, 16, 8},
                                    {"text", 7, 64, 1, true, ACTIVATION_GELU, 0, 0},
                                    {.name = NULL}};

/* A memory of n_keys^2 slots. */
struct memory_shape {
  int64_t n_keys, heads, knn, half, width;
};
static const struct memory_shape published_memories[] = {{8, 2, 4, 128, 256},
                                                         {32, 4, 16, 128, 256},
                                                         {1024, 4, 32, 256, 768},
                                                         {0}},
                                 tiny_memories[] = {{8, 2, 4, 8, 16}, {32, 1, 8, 8, 64}, {0}};

#define RUNNER(operation, type, class, flops, bytes)                                                                   \
  static inline void run_##operation(struct device *device, const void *call) {                                        \
    device->op->operation(device, (const struct type *)call);                                                          \
  }
OP_LIMITS(RUNNER)

static void measure(struct bench *bench, const char *shape, const char *name,
                    void (*run)(struct device *device, const void *call), const void *call, struct op_limit limit) {
  char full[80];
  snprintf(full, sizeof full, "%s%s%s", shape, shape[0] ? " " : "", name);
  if (bench_wants(bench, full))
    bench_tell(bench, full, bench_measure(bench, run, call), limit, op_limit_seconds(limit, bench->rates), NULL);
}
#define MEASURE(bench, shape, name, operation, call)                                                                   \
  measure(bench, shape, name, run_##operation, call, op_limit_##operation(call))

static void bench_linear(struct bench *bench, const struct shape *shape, int64_t in, int64_t out) {
  const int64_t rows = bench->batch * shape->tokens;
  char name[64];
  struct linear forward = {.rows = rows,
                           .in = in,
                           .out = out,
                           .dtype = bench->dtype,
                           .y_dtype = bench->dtype,
                           .x = bench_make(bench, bench->dtype, rows * in, 1),
                           .weight = bench_make(bench, bench->dtype, in * out, 0.05),
                           .bias = bench_make(bench, DTYPE_F32, out, 1),
                           .y = bench_make(bench, bench->dtype, rows * out, 1)};
  const struct linear_data_gradient data = {.rows = rows,
                                            .in = in,
                                            .out = out,
                                            .dtype = bench->dtype,
                                            .dx_dtype = bench->dtype,
                                            .dy = forward.y,
                                            .weight = forward.weight,
                                            .dx = bench_make(bench, bench->dtype, rows * in, 1)};
  const struct linear_weight_gradient weight = {.rows = rows,
                                                .in = in,
                                                .out = out,
                                                .dtype = bench->dtype,
                                                .x = forward.x,
                                                .dy = forward.y,
                                                .dweight = bench_make(bench, DTYPE_F32, in * out, 0)};
  snprintf(name, sizeof name, "linear %lld -> %lld", (long long)in, (long long)out);
  MEASURE(bench, shape->name, name, linear, &forward);
  forward.frozen = true; /* a device may keep weights that do not change in a form of its own */
  snprintf(name, sizeof name, "linear %lld -> %lld, frozen", (long long)in, (long long)out);
  MEASURE(bench, shape->name, name, linear, &forward);
  snprintf(name, sizeof name, "linear dx %lld -> %lld", (long long)in, (long long)out);
  MEASURE(bench, shape->name, name, linear_data_gradient, &data);
  snprintf(name, sizeof name, "linear dW %lld -> %lld", (long long)in, (long long)out);
  MEASURE(bench, shape->name, name, linear_weight_gradient, &weight);
  bench_release(bench);
}

static void bench_activation(struct bench *bench, const struct shape *shape) {
  const int64_t rows = bench->batch * shape->tokens, columns = 4 * shape->width;
  const struct activation_call call = {.rows = rows,
                                       .columns = columns,
                                       .dtype = bench->dtype,
                                       .kind = shape->activation,
                                       .x = bench_make(bench, bench->dtype, rows * columns, 2),
                                       .y = bench_make(bench, bench->dtype, rows * columns, 1),
                                       .dy = bench_make(bench, bench->dtype, rows * columns, 1),
                                       .dx = bench_make(bench, bench->dtype, rows * columns, 1),
                                       .dbias = bench_make(bench, DTYPE_F32, columns, 0)};
  const bool gelu = shape->activation == ACTIVATION_GELU;
  MEASURE(bench, shape->name, gelu ? "gelu" : "quickgelu", activation, &call);
  MEASURE(bench, shape->name, gelu ? "gelu backward" : "quickgelu backward", activation_backward, &call);
  bench_release(bench);
}

static void bench_norm(struct bench *bench, const struct shape *shape, enum dtype dtype) {
  const int64_t rows = bench->batch * shape->tokens, width = shape->width, count = rows * width;
  char name[64];
  float *x = bench_make(bench, DTYPE_F32, count, 1), *mean = bench_make(bench, DTYPE_F32, rows, 0),
        *rstd = bench_make(bench, DTYPE_F32, rows, 1), *weight = bench_make(bench, DTYPE_F32, width, 1);
  void *branch = bench_make(bench, dtype, count, 1), *y = bench_make(bench, dtype, count, 1);
  const struct norm forward = {.rows = rows,
                               .width = width,
                               .dtype = dtype,
                               .y_dtype = dtype,
                               .x = x,
                               .branch = branch,
                               .weight = weight,
                               .bias = weight,
                               .x_out = x,
                               .y = y,
                               .mean = mean,
                               .rstd = rstd};
  const struct norm_backward backward = {.rows = rows,
                                         .width = width,
                                         .dtype = dtype,
                                         .dy_dtype = dtype,
                                         .dy = y,
                                         .x = x,
                                         .mean = mean,
                                         .rstd = rstd,
                                         .weight = weight,
                                         .dx = bench_make(bench, DTYPE_F32, count, 1),
                                         .dweight = bench_make(bench, DTYPE_F32, width, 0),
                                         .dbias = bench_make(bench, DTYPE_F32, width, 0),
                                         .dbranch = branch,
                                         .dbranch_bias = bench_make(bench, DTYPE_F32, width, 0)};
  snprintf(name, sizeof name, "residual + norm %s", dtype_name(dtype));
  MEASURE(bench, shape->name, name, norm, &forward);
  snprintf(name, sizeof name, "norm backward %s", dtype_name(dtype));
  MEASURE(bench, shape->name, name, norm_backward, &backward);
  bench_release(bench);
}

static void bench_attention(struct bench *bench, const struct shape *shape) {
  const int64_t width = shape->width, rows = bench->batch * shape->tokens, size = (int64_t)dtype_size(bench->dtype);
  char *qkv = bench_make(bench, bench->dtype, 3 * rows * width, 1),
       *gradient = bench_make(bench, bench->dtype, 3 * rows * width, 1);
  const struct attention call = {.batch = bench->batch,
                                 .tokens = shape->tokens,
                                 .queries = shape->tokens,
                                 .heads = shape->heads,
                                 .head_width = width / shape->heads,
                                 .q_stride = 3 * width,
                                 .kv_stride = 3 * width,
                                 .dtype = bench->dtype,
                                 .causal = shape->causal,
                                 .q = qkv,
                                 .k = qkv + size * width,
                                 .v = qkv + 2 * size * width,
                                 .out = bench_make(bench, bench->dtype, rows * width, 1),
                                 .lse = bench_make(bench, DTYPE_F32, rows * shape->heads, 1),
                                 .dout = bench_make(bench, bench->dtype, rows * width, 1),
                                 .dq = gradient,
                                 .dk = gradient + size * width,
                                 .dv = gradient + 2 * size * width};
  MEASURE(bench, shape->name, "attention", attention, &call);
  MEASURE(bench, shape->name, "attention backward", attention_backward, &call);
  bench_release(bench);
}

static void bench_images(struct bench *bench, const struct shape *shape) {
  const int64_t batch = bench->batch, grid = shape->tokens - 1, width = shape->width;
  const struct patchify cut = {.batch = batch,
                               .height = shape->image,
                               .width = shape->image,
                               .patch = shape->patch,
                               .image_dtype = DTYPE_U8,
                               .dtype = bench->dtype,
                               .images = bench_make(bench, DTYPE_U8, batch * 3 * shape->image * shape->image, 1),
                               .mean = {0.5f, 0.5f, 0.5f},
                               .std = {0.25f, 0.25f, 0.25f},
                               .patches = bench_make(bench, bench->dtype, batch * 3 * shape->image * shape->image, 1)};
  float *x = bench_make(bench, DTYPE_F32, batch * shape->tokens * width, 1);
  void *patches = bench_make(bench, bench->dtype, batch * grid * width, 1);
  const struct image_embed embed = {.batch = batch,
                                    .grid = grid,
                                    .kept = grid,
                                    .width = width,
                                    .dtype = bench->dtype,
                                    .patches = patches,
                                    .class_embedding = bench_make(bench, DTYPE_F32, width, 1),
                                    .position = bench_make(bench, DTYPE_F32, shape->tokens * width, 1),
                                    .x = x,
                                    .dx = x,
                                    .dpatches = patches,
                                    .dclass = bench_make(bench, DTYPE_F32, width, 0),
                                    .dposition = bench_make(bench, DTYPE_F32, shape->tokens * width, 0)};
  MEASURE(bench, shape->name, "patches", patchify, &cut);
  MEASURE(bench, shape->name, "embedding", image_embed, &embed);
  MEASURE(bench, shape->name, "embedding backward", image_embed_backward, &embed);
  bench_release(bench);
}

static void bench_texts(struct bench *bench, const struct shape *shape) {
  const int64_t batch = bench->batch, tokens = shape->tokens, width = shape->width,
                vocabulary = bench->tiny ? 50 : 49408;
  float *x = bench_make(bench, DTYPE_F32, batch * tokens * width, 1);
  const struct text_embed call = {.batch = batch,
                                  .tokens = tokens,
                                  .width = width,
                                  .ids_stride = tokens,
                                  .vocabulary = vocabulary,
                                  .ids = bench_make(bench, DTYPE_I32, batch * tokens, (double)vocabulary),
                                  .table = bench_make(bench, DTYPE_F32, vocabulary * width, 1),
                                  .position = bench_make(bench, DTYPE_F32, tokens * width, 1),
                                  .x = x,
                                  .dx = x,
                                  .dtable = bench_make(bench, DTYPE_F32, vocabulary * width, 0),
                                  .dposition = bench_make(bench, DTYPE_F32, tokens * width, 0)};
  MEASURE(bench, shape->name, "embedding", text_embed, &call);
  MEASURE(bench, shape->name, "embedding backward", text_embed_backward, &call);
  bench_release(bench);
}

static void bench_shape(struct bench *bench, const struct shape *shape) {
  const int64_t width = shape->width;
  bench_linear(bench, shape, width, 3 * width);
  bench_linear(bench, shape, width, width);
  bench_linear(bench, shape, width, 4 * width);
  bench_linear(bench, shape, 4 * width, width);
  bench_activation(bench, shape);
  bench_norm(bench, shape, bench->dtype);
  if (bench->dtype != DTYPE_F32)
    bench_norm(bench, shape, DTYPE_F32);
  bench_attention(bench, shape);
  (shape->image ? bench_images : bench_texts)(bench, shape);
}

static void bench_select(struct bench *bench, const struct memory_shape *shape, int64_t rows, const char *name) {
  const int64_t entries = rows * shape->heads * shape->knn, queries = rows * shape->heads * 2 * shape->half,
                keys = 2 * shape->heads * shape->n_keys * shape->half;
  const struct memory_select call = {.rows = rows,
                                     .heads = shape->heads,
                                     .n_keys = shape->n_keys,
                                     .knn = shape->knn,
                                     .half = shape->half,
                                     .dtype = bench->dtype,
                                     .queries = bench_make(bench, bench->dtype, queries, 1),
                                     .keys = bench_make(bench, bench->dtype, keys, 0.1),
                                     .index = bench_make(bench, DTYPE_I32, entries, 1),
                                     .weight = bench_make(bench, DTYPE_F32, entries, 1),
                                     .dweight = bench_make(bench, DTYPE_F32, entries, 1),
                                     .dqueries = bench_make(bench, bench->dtype, queries, 1),
                                     .dkeys = bench_make(bench, DTYPE_F32, keys, 0)};
  MEASURE(bench, name, "select", memory_select, &call);
  MEASURE(bench, name, "select backward", memory_select_backward, &call);
  bench_release(bench);
}

static void bench_read(struct bench *bench, const struct memory_shape *shape, int64_t rows, const char *name) {
  const int64_t entries = shape->heads * shape->knn, slots = shape->n_keys * shape->n_keys, width = shape->width;
  const struct memory_read call = {.rows = rows,
                                   .entries = entries,
                                   .slots = slots,
                                   .width = width,
                                   .dtype = bench->dtype,
                                   .index = bench_make(bench, DTYPE_I32, rows * entries, (double)slots),
                                   .weight = bench_make(bench, DTYPE_F32, rows * entries, 0.1),
                                   .values = bench_make(bench, bench->dtype, slots * width, 1),
                                   .out = bench_make(bench, bench->dtype, rows * width, 1),
                                   .dout = bench_make(bench, bench->dtype, rows * width, 1),
                                   .dweight = bench_make(bench, DTYPE_F32, rows * entries, 1),
                                   .dvalues = bench_make(bench, DTYPE_F32, slots * width, 0)};
  MEASURE(bench, name, "read", memory_read, &call);
  MEASURE(bench, name, "read backward", memory_read_backward, &call);
  bench_release(bench);
}

static void bench_gate(struct bench *bench, const struct memory_shape *shape, int64_t rows, const char *name) {
  const int64_t count = rows * shape->width;
  const struct gate call = {.rows = rows,
                            .columns = shape->width,
                            .dtype = bench->dtype,
                            .m = bench_make(bench, bench->dtype, count, 1),
                            .g = bench_make(bench, bench->dtype, count, 1),
                            .u = bench_make(bench, bench->dtype, count, 1),
                            .du = bench_make(bench, bench->dtype, count, 1),
                            .dm = bench_make(bench, bench->dtype, count, 1),
                            .dg = bench_make(bench, bench->dtype, count, 1),
                            .dgate_bias = bench_make(bench, DTYPE_F32, shape->width, 0)};
  MEASURE(bench, name, "gate", gate, &call);
  MEASURE(bench, name, "gate backward", gate_backward, &call);
  bench_release(bench);
}

static void bench_experts(struct bench *bench, const struct memory_shape *shape, int64_t rows, int64_t width,
                          const char *name) {
  const int64_t entries = shape->heads * shape->knn, slots = shape->n_keys * shape->n_keys;
  const struct expert_read call = {.rows = rows,
                                   .entries = entries,
                                   .slots = slots,
                                   .width = width,
                                   .dtype = bench->dtype,
                                   .index = bench_make(bench, DTYPE_I32, rows * entries, (double)slots),
                                   .weight = bench_make(bench, DTYPE_F32, rows * entries, 0.1),
                                   .x = bench_make(bench, bench->dtype, rows * width, 1),
                                   .down = bench_make(bench, bench->dtype, slots * width, 0.1),
                                   .up = bench_make(bench, bench->dtype, slots * width, 0.1),
                                   .z = bench_make(bench, DTYPE_F32, rows * entries, 1),
                                   .out = bench_make(bench, bench->dtype, rows * width, 1),
                                   .dout = bench_make(bench, bench->dtype, rows * width, 1),
                                   .dweight = bench_make(bench, DTYPE_F32, rows * entries, 1),
                                   .dx = bench_make(bench, bench->dtype, rows * width, 1),
                                   .ddown = bench_make(bench, DTYPE_F32, slots * width, 0),
                                   .dup = bench_make(bench, DTYPE_F32, slots * width, 0)};
  MEASURE(bench, name, "experts", expert_read, &call);
  MEASURE(bench, name, "experts backward", expert_read_backward, &call);
  bench_release(bench);
}

/* Of the vision tower's rows. */
static void bench_memory(struct bench *bench, const struct memory_shape *shape, const struct shape *tower) {
  const int64_t rows = bench->batch * tower->tokens;
  char name[32];
  snprintf(name, sizeof name, "memory %lld^2", (long long)shape->n_keys);
  bench_select(bench, shape, rows, name);
  bench_read(bench, shape, rows, name);
  bench_gate(bench, shape, rows, name);
  if (shape->n_keys == 32) /* experts are as wide as the tower, and a run has few of them */
    bench_experts(bench, shape, rows, tower->width, name);
}

static void bench_contrastive(struct bench *bench, int64_t pairs, int64_t width, enum dtype dtype) {
  char name[64];
  const struct contrastive call = {.global = pairs,
                                   .width = width,
                                   .count = pairs,
                                   .dtype = dtype,
                                   .weight = 1,
                                   .images = bench_make(bench, DTYPE_F32, pairs * width, 0.04),
                                   .texts = bench_make(bench, DTYPE_F32, pairs * width, 0.04),
                                   .logit_scale = bench_make(bench, DTYPE_F32, 1, 1),
                                   .normalisers = bench_make(bench, DTYPE_F32, 2 * pairs, 0),
                                   .loss = bench_make(bench, DTYPE_F64, 1, 0),
                                   .dimages = bench_make(bench, DTYPE_F32, pairs * width, 0),
                                   .dtexts = bench_make(bench, DTYPE_F32, pairs * width, 0),
                                   .dlogit_scale = bench_make(bench, DTYPE_F32, 1, 0)};
  snprintf(name, sizeof name, "normalisers of %lld pairs%s", (long long)pairs, dtype == DTYPE_F32 ? ", fp32" : "");
  MEASURE(bench, "", name, contrastive_normalisers, &call);
  snprintf(name, sizeof name, "contrastive loss of %lld pairs%s", (long long)pairs, dtype == DTYPE_F32 ? ", fp32" : "");
  MEASURE(bench, "", name, contrastive, &call);
  bench_release(bench);
}

static void bench_features(struct bench *bench, int64_t rows, int64_t width) {
  const struct normalize call = {.rows = rows,
                                 .width = width,
                                 .x = bench_make(bench, DTYPE_F32, rows * width, 1),
                                 .y = bench_make(bench, DTYPE_F32, rows * width, 1),
                                 .norm = bench_make(bench, DTYPE_F32, rows, 1),
                                 .dy = bench_make(bench, DTYPE_F32, rows * width, 1),
                                 .dx = bench_make(bench, DTYPE_F32, rows * width, 1)};
  const struct distill loss = {.batch = rows,
                               .width = width,
                               .kind = DISTILL_COSINE,
                               .scale = 1,
                               .teacher = call.x,
                               .student = call.y,
                               .loss = bench_make(bench, DTYPE_F64, 1, 0),
                               .dstudent = call.dx};
  MEASURE(bench, "features", "normalize", normalize, &call);
  MEASURE(bench, "features", "normalize backward", normalize_backward, &call);
  MEASURE(bench, "features", "distill loss", distill, &loss);
  bench_release(bench);
}

static void bench_adamw(struct bench *bench, int64_t count) {
  struct device *device = bench->device;
  const struct adamw_group group = adamw_group_at(1, 1e-3, 0, 0.9, 0.98);
  const size_t bytes = (size_t)(count / ADAMW_BLOCK) * sizeof(uint16_t);
  void *group_of = bench_make(bench, DTYPE_U8, (int64_t)bytes, 0),
       *groups = bench_make(bench, DTYPE_U8, sizeof group, 0);
  device->op->zero(device, group_of, bytes);
  device->op->copy_in(device, groups, &group, sizeof group);
  const struct adamw call = {.count = count,
                             .group_of = group_of,
                             .groups = groups,
                             .group_count = 1,
                             .parameter = bench_make(bench, DTYPE_F32, count, 1),
                             .gradient = bench_make(bench, DTYPE_F32, count, 1),
                             .first_moment = bench_make(bench, DTYPE_F32, count, 0),
                             .second_moment = bench_make(bench, DTYPE_F32, count, 0),
                             .compute = bench_make(bench, DTYPE_BF16, count, 1),
                             .beta1 = 0.9,
                             .beta2 = 0.98,
                             .eps = 1e-6,
                             .squares = bench_make(bench, DTYPE_F64, ADAMW_SQUARES, 0)};
  MEASURE(bench, "", "adamw", adamw, &call);
  MEASURE(bench, "", "gradient norm", adamw_squares, &call);
  bench_release(bench);
}

void bench_kernels(struct bench *bench) {
  const struct shape *shapes = bench->tiny ? tiny : published;
  for (const struct shape *shape = shapes; shape->name; shape++)
    bench_shape(bench, shape);
  for (const struct memory_shape *memory = bench->tiny ? tiny_memories : published_memories; memory->n_keys; memory++)
    bench_memory(bench, memory, &shapes[0]);
  const int64_t pairs = bench->tiny ? 70 : 64 * bench->batch, width = bench->tiny ? 32 : 512;
  bench_contrastive(bench, pairs, width, bench->dtype);
  if (bench->dtype != DTYPE_F32)
    bench_contrastive(bench, pairs, width, DTYPE_F32);
  if (!bench->tiny)
    bench_contrastive(bench, 4 * pairs, width, bench->dtype);
  bench_features(bench, pairs, width);
  bench_adamw(bench, bench->tiny ? 1024 : 150000000 / ADAMW_BLOCK * ADAMW_BLOCK);
}

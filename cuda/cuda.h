/* The CUDA device: the second implementation of src/device/device.h, built into a module that src/device/device.c opens
 * at run time. One file per operation, named as in src/device/cpu/. All work goes to one stream in order; sums are made
 * in a fixed order (no float atomics), so the same call gives the same bits. */
#ifndef MEMCLIP_CUDA_CUDA_H
#define MEMCLIP_CUDA_CUDA_H
#if defined __CUDACC__ || defined CUDA_MOCK /* tests/mock/ */
#include <cuda_runtime.h>
#else
typedef struct CUstream_st *cudaStream_t;
#endif
#ifndef _Noreturn
#define _Noreturn [[noreturn]]
#endif
extern "C" {
#include "base/error.h"
#include "base/memory.h"
#include "device/device.h"
#include "device/module.h"
}

#if defined __CUDACC__ || defined CUDA_MOCK
#define CUDA_CHECK(call) cuda_check_at(__FILE__, __LINE__, call, #call)
void cuda_check_at(const char *file, int line, cudaError_t error, const char *what);
void cuda_allow_shared(const void *kernel, size_t bytes);
bool cuda_is_done(cudaEvent_t event);
#endif
/* A kernel may have 48 KiB of shared memory, its own arrays included; one with more dynamic memory than this asks for
 * it (cuda_allow_shared), which leaves 16 KiB for the arrays. */
enum { CUDA_SHARED_BYTES = 48 * 1024, CUDA_SHARED_UNASKED = 32 * 1024 };

/* Scratch blocks by use: two blocks that live at the same time have different slots. */
enum cuda_scratch_slot {
  CUDA_SCRATCH_GEMM, /* cuBLASLt's own */
  CUDA_SCRATCH_BIAS,
  CUDA_SCRATCH_COLUMNS, /* column sums of chunks of rows */
  CUDA_SCRATCH_ROWS,    /* values per row */
  CUDA_SCRATCH_SCORES,
  CUDA_SCRATCH_INDEX,
  CUDA_SCRATCH_SORT,
  CUDA_SCRATCH_SORTED,
  CUDA_SCRATCH_SEGMENTS,
  CUDA_SCRATCH_COUNT
};

struct choices;
struct gemm_library;
struct collective;
struct uploads;
struct downloads;
struct graphs;
struct graph;

struct cuda_device {
  struct device device; /* first */
  int number;           /* of the GPU on its node */
  cudaStream_t stream;
  struct gemm_library *gemm;
  struct choices *choices; /* of matrix products */
  struct uploads *uploads;
  struct graphs *graphs;
  struct collective *collective; /* NULL until joined */
  struct downloads *downloads;
  struct {
    void *block;
    size_t bytes;
  } scratch[CUDA_SCRATCH_COUNT];
};
static inline struct cuda_device *cuda_from_device(struct device *device) {
  return (struct cuda_device *)device;
}

/* At least `bytes` that keep their contents until the slot is asked for more than ever before; a graph keeps the block
 * that it was captured with. */
void *cuda_scratch(struct cuda_device *cuda, enum cuda_scratch_slot slot, size_t bytes);

/* rows cut into `count` chunks of `rows` rows each, the last one shorter. */
struct cuda_chunks {
  int64_t rows, count;
};
struct cuda_chunks cuda_cut_rows(int64_t rows);
/* out[set][columns] += the sums over the chunks of partial[count, sets, columns], in a fixed order. Nothing for a set
 * whose out is NULL. */
enum { CUDA_SUMS_MAX = 4 };
void cuda_add_chunks(struct cuda_device *cuda, const float *partial, int64_t count, int64_t columns, int sets,
                     float *const *out);
/* out[columns] += column sums of x[rows, columns], each row times factor[row] (NULL: 1). Nothing when out is NULL. */
void cuda_sum_columns(struct cuda_device *cuda, enum dtype dtype, const void *x, const float *factor, int64_t rows,
                      int64_t columns, float *out);
/* *out += scale * the sum of x[count] in order, in fp64. */
void cuda_add_total(struct cuda_device *cuda, const double *x, int64_t count, double scale, double *out);
void cuda_add_total(struct cuda_device *cuda, const double *x, int64_t count, double scale, float *out);

/* What the platform does; runtime.cu with CUDA, tests/emulation/runtime.cc without. All but runtime_allocate,
 * runtime_release, runtime_copy_out and runtime_synchronize return at once. */
enum status runtime_open(int local_rank, struct cuda_device *cuda); /* stream and description; STATUS_SYSTEM: no GPU */
void runtime_close(struct cuda_device *cuda);
extern const char *const runtime_name;                  /* "cuda" */
void runtime_open_collective(struct cuda_device *cuda); /* sets device.collectives */
void runtime_leave_collective(struct cuda_device *cuda);
void runtime_open_downloads(struct cuda_device *cuda); /* sets device.downloads */
void runtime_close_downloads(struct cuda_device *cuda);
void runtime_identify(struct cuda_device *cuda, uint8_t id[DEVICE_ID_BYTES]);
void runtime_memory_free(struct cuda_device *cuda, size_t *free_bytes, size_t *total_bytes);
void runtime_enter_thread(struct cuda_device *cuda);
void *runtime_allocate(struct cuda_device *cuda, size_t bytes, const char *label);
void runtime_release(struct cuda_device *cuda, void *block);
void runtime_copy_in(struct cuda_device *cuda, void *to, const void *from, size_t bytes);
void runtime_copy_out(struct cuda_device *cuda, void *to, const void *from, size_t bytes);
void runtime_copy(struct cuda_device *cuda, void *to, const void *from, size_t bytes);
void runtime_fill_bytes(struct cuda_device *cuda, void *block, int byte, size_t bytes);
void runtime_synchronize(struct cuda_device *cuda);
/* Recorded stretches of calls: graphs.cu; what a graph is: capture.cu, tests/emulation/capture.cc. */
void graphs_open(struct cuda_device *cuda);
void graphs_close(struct cuda_device *cuda);
void graphs_expect_outside(struct cuda_device *cuda, const char *what);    /* else fatal */
void graphs_expect_no_capture(struct cuda_device *cuda, const char *what); /* likewise */
void graphs_retire(struct cuda_device *cuda, void *block);                 /* releases it once no graph uses it */
bool cuda_record(struct device *self, uint64_t key);
void cuda_submit(struct device *self);
void runtime_begin_capture(struct cuda_device *cuda);
struct graph *runtime_end_capture(struct cuda_device *cuda);
void runtime_run_graph(struct cuda_device *cuda, struct graph *graph);
void runtime_release_graph(struct cuda_device *cuda, struct graph *graph);
/* Uploads: upload.cu, tests/emulation/upload.cc. */
void runtime_open_uploads(struct cuda_device *cuda);
void runtime_close_uploads(struct cuda_device *cuda);
void *runtime_allocate_pinned(struct cuda_device *cuda, size_t bytes, const char *label);
void runtime_release_pinned(struct cuda_device *cuda, void *block);
void runtime_upload(struct cuda_device *cuda, int lane, void *to, const void *from, size_t bytes);
void runtime_upload_finish(struct cuda_device *cuda, int lane);
void runtime_upload_again(struct cuda_device *cuda, int lane);
bool runtime_upload_wait(struct cuda_device *cuda, int lane); /* whether there was anything to wait for */
void runtime_range_begin(struct cuda_device *cuda, const char *name);
void runtime_range_end(struct cuda_device *cuda);

/* The operations, one group per file. */
void cuda_fill(struct device *self, float *x, int64_t count, float value);
void cuda_cast(struct device *self, void *to, enum dtype to_dtype, const void *from, enum dtype from_dtype,
               int64_t count);
void cuda_add(struct device *self, float *y, const float *x, double scale, int64_t count);
void cuda_clamp(struct device *self, float *x, int64_t count, float low, float high);
void cuda_adamw_squares(struct device *self, const struct adamw *call);
void cuda_adamw(struct device *self, const struct adamw *call);
void cuda_linear(struct device *self, const struct linear *call);
void cuda_linear_data_gradient(struct device *self, const struct linear_data_gradient *call);
void cuda_linear_weight_gradient(struct device *self, const struct linear_weight_gradient *call);
void cuda_activation(struct device *self, const struct activation_call *call);
void cuda_activation_backward(struct device *self, const struct activation_call *call);
void cuda_norm(struct device *self, const struct norm *call);
void cuda_norm_backward(struct device *self, const struct norm_backward *call);
void cuda_attention(struct device *self, const struct attention *call);
void cuda_attention_backward(struct device *self, const struct attention *call);
void cuda_patchify(struct device *self, const struct patchify *call);
void cuda_image_embed(struct device *self, const struct image_embed *call);
void cuda_image_embed_backward(struct device *self, const struct image_embed *call);
void cuda_text_embed(struct device *self, const struct text_embed *call);
void cuda_text_embed_backward(struct device *self, const struct text_embed *call);
void cuda_memory_select(struct device *self, const struct memory_select *call);
void cuda_memory_select_backward(struct device *self, const struct memory_select *call);
void cuda_memory_read(struct device *self, const struct memory_read *call);
void cuda_memory_read_backward(struct device *self, const struct memory_read *call);
void cuda_expert_read(struct device *self, const struct expert_read *call);
void cuda_expert_read_backward(struct device *self, const struct expert_read *call);
void cuda_dropout(struct device *self, const struct dropout *call);
void cuda_gate(struct device *self, const struct gate *call);
void cuda_gate_backward(struct device *self, const struct gate *call);
void cuda_token_gate(struct device *self, const struct token_gate *call);
void cuda_token_gate_backward(struct device *self, const struct token_gate *call);
void cuda_pool(struct device *self, const struct pool *call);
void cuda_pool_backward(struct device *self, const struct pool *call);
void cuda_pool_average(struct device *self, const struct pool_average *call);
void cuda_pool_average_backward(struct device *self, const struct pool_average *call);
void cuda_normalize(struct device *self, const struct normalize *call);
void cuda_normalize_backward(struct device *self, const struct normalize *call);
void cuda_distill(struct device *self, const struct distill *call);
void cuda_contrastive_normalisers(struct device *self, const struct contrastive *call);
void cuda_contrastive(struct device *self, const struct contrastive *call);

#endif

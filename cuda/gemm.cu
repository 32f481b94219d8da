/* Matrix products by cuBLASLt. It is column-major: our row-major c = A B is its c' = B' A', so the operands change
 * places and shapes are read backwards.
 *
 * A choice is made once per shape: of the library's proposals those that add in fp32 in a fixed order (no atomics, no
 * partial sums in bf16), timed on the call's own operands; the same choice gives the same bits. */
#include "cuda/choices.h"
#include "cuda/kernel.h"
#include <cublasLt.h>
#include <stdio.h>

/* Before, products of bf16 went wrong where rows are slices of longer ones, or two million are. */
enum { VERSION_MIN = 120100 };
enum { PROPOSALS = 8, TRIALS = 3 };
static const size_t workspace_bytes = (size_t)128 << 20; /* what split-K of a weight gradient needs on Hopper */

#define BLAS_CHECK(call) blas_check_at(__FILE__, __LINE__, call, #call)
static void blas_check_at(const char *file, int line, cublasStatus_t status, const char *what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    fatal_at(file, line, "cuBLASLt: %s: %s", what, cublasLtGetStatusString(status));
}

/* What the library needs to run a choice. */
struct plan {
  cublasLtMatmulDesc_t operation;
  cublasLtMatrixLayout_t a, b, c;
};
struct gemm_library {
  cublasLtHandle_t handle;
};

static void *workspace(struct cuda_device *cuda) {
  return cuda_scratch(cuda, CUDA_SCRATCH_GEMM, workspace_bytes);
}

static cudaDataType_t data_type(enum dtype dtype) {
  return dtype == DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* rows x columns as our row-major matrix is stored. */
static cublasLtMatrixLayout_t make_layout(enum dtype dtype, int64_t rows, int64_t columns, int64_t stride,
                                          int64_t batch, int64_t batch_distance) {
  cublasLtMatrixLayout_t layout;
  const int32_t count = (int32_t)batch;
  BLAS_CHECK(cublasLtMatrixLayoutCreate(&layout, data_type(dtype), (uint64_t)columns, (uint64_t)rows, stride));
  BLAS_CHECK(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count));
  BLAS_CHECK(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &batch_distance,
                                              sizeof batch_distance));
  return layout;
}

template <typename V> static void describe(struct plan *plan, cublasLtMatmulDescAttributes_t attribute, V value) {
  BLAS_CHECK(cublasLtMatmulDescSetAttribute(plan->operation, attribute, &value, sizeof value));
}

/* The operation of a shape. The library takes a bias of c's dtype only, and proposes what suits its alignment: where
 * it is not known yet, a place in the workspace stands in, aligned alike. */
static struct plan *make_plan(struct cuda_device *cuda, const struct choice_key *key) {
  struct plan *plan = (struct plan *)memory_allocate(sizeof *plan, "plan of a product");
  const enum dtype dtype = choice_dtype(key, CHOICE_BITS), c_dtype = choice_dtype(key, CHOICE_C_BITS);
  const bool a_transposed = key->of[CHOICE_A_TRANSPOSED] != 0, b_transposed = key->of[CHOICE_B_TRANSPOSED] != 0;
  const int64_t m = key->of[CHOICE_M], n = key->of[CHOICE_N], k = key->of[CHOICE_K], batch = key->of[CHOICE_BATCH];
  BLAS_CHECK(cublasLtMatmulDescCreate(&plan->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  describe(plan, CUBLASLT_MATMUL_DESC_TRANSA, b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  describe(plan, CUBLASLT_MATMUL_DESC_TRANSB, a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (key->of[CHOICE_BIAS_ALIGNMENT]) {
    describe(plan, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    describe(plan, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, (int32_t)data_type(c_dtype));
    describe(plan, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
             (const void *)((char *)workspace(cuda) + key->of[CHOICE_BIAS_ALIGNMENT] % 256));
  }
  plan->a = make_layout(dtype, a_transposed ? k : m, a_transposed ? m : k, key->of[CHOICE_A_STRIDE], batch,
                        key->of[CHOICE_A_BATCH]);
  plan->b = make_layout(dtype, b_transposed ? n : k, b_transposed ? k : n, key->of[CHOICE_B_STRIDE], batch,
                        key->of[CHOICE_B_BATCH]);
  plan->c = make_layout(c_dtype, m, n, key->of[CHOICE_C_STRIDE], batch, key->of[CHOICE_C_BATCH]);
  return plan;
}

static void release_plan(struct plan *plan) {
  cublasLtMatmulDescDestroy(plan->operation);
  cublasLtMatrixLayoutDestroy(plan->a);
  cublasLtMatrixLayoutDestroy(plan->b);
  cublasLtMatrixLayoutDestroy(plan->c);
  memory_release(plan);
}

void choices_drop_plan(struct choice *choice) {
  if (choice->plan)
    release_plan((struct plan *)choice->plan);
  choice->plan = NULL;
}

/* Adds in fp32 in a fixed order: not with atomics, not in c's own memory, not in bf16. */
static bool is_reproducible(const cublasLtMatmulAlgo_t *algorithm) {
  uint32_t scheme = 0;
  return cublasLtMatmulAlgoConfigGetAttribute(algorithm, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme, sizeof scheme,
                                              NULL) == CUBLAS_STATUS_SUCCESS &&
         (scheme == CUBLASLT_REDUCTION_SCHEME_NONE || scheme == CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
}

/* The library's proposals, best guess first. */
static int propose(struct cuda_device *cuda, const struct plan *plan, const struct choice_key *key,
                   cublasLtMatmulHeuristicResult_t *proposals) {
  cublasLtMatmulPreference_t wishes;
  const uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  const uint32_t alignments[3] = {(uint32_t)key->of[CHOICE_B_ALIGNMENT], (uint32_t)key->of[CHOICE_A_ALIGNMENT],
                                  (uint32_t)key->of[CHOICE_C_ALIGNMENT]};
  const struct {
    cublasLtMatmulPreferenceAttributes_t attribute;
    const void *value;
    size_t bytes;
  } list[] = {{CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes, sizeof workspace_bytes},
              {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction, sizeof reduction},
              {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &alignments[0], sizeof alignments[0]},
              {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &alignments[1], sizeof alignments[1]},
              {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &alignments[2], sizeof alignments[2]},
              {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &alignments[2], sizeof alignments[2]}};
  BLAS_CHECK(cublasLtMatmulPreferenceCreate(&wishes));
  for (size_t i = 0; i < sizeof list / sizeof *list; i++)
    BLAS_CHECK(cublasLtMatmulPreferenceSetAttribute(wishes, list[i].attribute, list[i].value, list[i].bytes));
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(cuda->gemm->handle, plan->operation, plan->b, plan->a,
                                                               plan->c, plan->c, wishes, PROPOSALS, proposals, &count);
  cublasLtMatmulPreferenceDestroy(wishes);
  int usable = 0; /* the others' fields mean nothing */
  for (int i = 0; status == CUBLAS_STATUS_SUCCESS && i < count; i++)
    if (proposals[i].state == CUBLAS_STATUS_SUCCESS && is_reproducible(&proposals[i].algo))
      proposals[usable++] = proposals[i];
  return usable;
}

static cublasStatus_t run(struct cuda_device *cuda, const struct plan *plan, const void *algorithm,
                          const struct gemm *call, void *c) {
  const float one = 1, beta = call->accumulate ? 1 : 0;
  return cublasLtMatmul(cuda->gemm->handle, plan->operation, &one, call->b, plan->b, call->a, plan->a, &beta, c,
                        plan->c, c, plan->c, (const cublasLtMatmulAlgo_t *)algorithm, workspace(cuda), workspace_bytes,
                        cuda->stream);
}

/* Milliseconds of the fastest of a few runs into `c`, or -1 when it does not run. */
static float time_of(struct cuda_device *cuda, const struct plan *plan, const cublasLtMatmulAlgo_t *algorithm,
                     const struct gemm *call, void *c) {
  cudaEvent_t start, end;
  float best = -1;
  CUDA_CHECK(cudaEventCreate(&start));
  CUDA_CHECK(cudaEventCreate(&end));
  for (int i = 0; i < TRIALS + 1; i++) { /* the first warms up */
    CUDA_CHECK(cudaEventRecord(start, cuda->stream));
    if (run(cuda, plan, algorithm, call, c) != CUBLAS_STATUS_SUCCESS)
      break;
    CUDA_CHECK(cudaEventRecord(end, cuda->stream));
    CUDA_CHECK(cudaEventSynchronize(end));
    float ms;
    CUDA_CHECK(cudaEventElapsedTime(&ms, start, end));
    if (i > 0 && (best < 0 || ms < best))
      best = ms;
  }
  CUDA_CHECK(cudaEventDestroy(start));
  CUDA_CHECK(cudaEventDestroy(end));
  return best;
}

static void set_algorithm(struct choice *choice, const cublasLtMatmulAlgo_t *algorithm, float milliseconds) {
  static_assert(sizeof *algorithm == sizeof choice->algorithm, "what the library allows to be saved");
  memcpy(choice->algorithm, algorithm, sizeof *algorithm);
  choice->microseconds = 1e3 * milliseconds;
}

/* The fastest of those that run, or none: the product is plain then. Into a block of its own, since a product that
 * accumulates would change its result; where there is no room for it, the library's best guess is taken. */
static void choose(struct cuda_device *cuda, struct choice *choice, const struct gemm *call,
                   const cublasLtMatmulHeuristicResult_t *proposals, int count) {
  const int64_t *key = choice->key.of;
  const size_t elements =
      (size_t)((key[CHOICE_BATCH] - 1) * key[CHOICE_C_BATCH] + (key[CHOICE_M] - 1) * key[CHOICE_C_STRIDE] + call->n);
  const size_t bytes = elements * (size_t)key[CHOICE_C_BITS] / 8 + 256;
  void *trial;
  choice_make_plain(choice);
  if (count > 0 && cudaMalloc(&trial, bytes) != cudaSuccess) {
    (void)cudaGetLastError();
    set_algorithm(choice, &proposals[0].algo, 0);
    return;
  }
  if (count == 0)
    return;
  runtime_fill_bytes(cuda, trial, 0, bytes);
  void *c = (char *)trial + (uintptr_t)call->c % 256;
  float best = -1;
  for (int i = 0; i < count; i++) {
    const float ms = time_of(cuda, (const struct plan *)choice->plan, &proposals[i].algo, call, c);
    if (ms >= 0 && (best < 0 || ms < best)) {
      best = ms;
      set_algorithm(choice, &proposals[i].algo, ms);
    }
  }
  runtime_release(cuda, trial);
}

static void set_bias(struct cuda_device *cuda, const struct choice *choice, const struct gemm *call) {
  const void *bias = gemm_ready_bias(call);
  if (!call->bias)
    return;
  if (!bias) {
    void *copy = cuda_scratch(cuda, CUDA_SCRATCH_BIAS, (size_t)call->n * sizeof(float));
    cuda_cast(&cuda->device, copy, call->c_dtype, call->bias, DTYPE_F32, call->n);
    bias = copy;
  }
  describe((struct plan *)choice->plan, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
}

static struct choice *make_choice(struct cuda_device *cuda, const struct gemm *call, const struct choice_key *key) {
  graphs_expect_no_capture(cuda, "another product");
  struct choice *choice = choices_add(cuda, key);
  cublasLtMatmulHeuristicResult_t proposals[PROPOSALS];
  struct plan *plan = make_plan(cuda, key);
  choice->plan = plan;
  set_bias(cuda, choice, call);
  choose(cuda, choice, call, proposals, propose(cuda, plan, key, proposals));
  return choice;
}

void gemm_multiply(struct cuda_device *cuda, const struct gemm *call) {
  if (call->m == 0 || call->n == 0) /* errors in the library's eyes */
    return;
  if (call->k == 0) {
    gemm_multiply_plainly(cuda, call);
    return;
  }
  const struct choice_key key = choice_key_of(call);
  struct choice *choice = choices_find(cuda, &key);
  if (!choice)
    choice = make_choice(cuda, call, &key);
  if (choice_is_plain(choice)) {
    gemm_multiply_plainly(cuda, call);
    return;
  }
  if (!choice->plan)
    choice->plan = make_plan(cuda, &key);
  set_bias(cuda, choice, call);
  BLAS_CHECK(run(cuda, (const struct plan *)choice->plan, choice->algorithm, call, call->c));
}

bool choices_accept(struct cuda_device *cuda, const struct choice *choice) {
  cublasLtMatmulAlgo_t algorithm;
  cublasLtMatmulHeuristicResult_t result;
  if (choice_is_plain(choice))
    return true;
  memcpy(&algorithm, choice->algorithm, sizeof algorithm);
  struct plan *plan = make_plan(cuda, &choice->key);
  const cublasStatus_t status = cublasLtMatmulAlgoCheck(cuda->gemm->handle, plan->operation, plan->b, plan->a, plan->c,
                                                        plan->c, &algorithm, &result);
  release_plan(plan);
  return status == CUBLAS_STATUS_SUCCESS && result.workspaceSize <= workspace_bytes && is_reproducible(&algorithm);
}

void choices_identify(struct cuda_device *cuda, char text[256]) {
  (void)cuda;
  int number;
  struct cudaDeviceProp gpu;
  CUDA_CHECK(cudaGetDevice(&number));
  CUDA_CHECK(cudaGetDeviceProperties(&gpu, number));
  snprintf(text, 256, "cuBLASLt %zu on %.150s with %d multiprocessors", cublasLtGetVersion(), gpu.name,
           gpu.multiProcessorCount);
}

enum status gemm_open(struct cuda_device *cuda) {
  if (cublasLtGetVersion() < VERSION_MIN)
    return error_set(STATUS_SYSTEM, "%s is too old: that of CUDA 12.1 or later is needed", gemm_version());
  cuda->gemm = (struct gemm_library *)memory_allocate(sizeof *cuda->gemm, "cuBLASLt");
  const cublasStatus_t status = cublasLtCreate(&cuda->gemm->handle);
  if (status != CUBLAS_STATUS_SUCCESS) {
    memory_release(cuda->gemm);
    return error_set(STATUS_SYSTEM, "cuBLASLt does not start: %s", cublasLtGetStatusString(status));
  }
  cuda->device.scratch_bytes = workspace_bytes;
  return STATUS_OK;
}

void gemm_close(struct cuda_device *cuda) {
  cublasLtDestroy(cuda->gemm->handle);
  memory_release(cuda->gemm);
}

const char *gemm_version(void) {
  static char text[32];
  const size_t version = cublasLtGetVersion();
  snprintf(text, sizeof text, "cuBLASLt %zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
  return text;
}

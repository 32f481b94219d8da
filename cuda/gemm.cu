/* Matrix products by cuBLASLt. It is column-major: our row-major c = A B is its c' = B' A', so the operands change
 * places and shapes are read backwards.
 *
 * A plan is made once per shape: of the library's proposals those that add in fp32 in a fixed order (no atomics, no
 * partial sums in bf16), timed on the call's own operands; the same plan gives the same bits. */
#include "cuda/gemm.h"
#include "cuda/kernel.h"
#include <cublasLt.h>
#include <stdio.h>

enum { PROPOSALS = 8, TRIALS = 3 };
static const size_t workspace_bytes = (size_t)128 << 20; /* what split-K of a weight gradient needs on Hopper */

#define BLAS_CHECK(call) blas_check_at(__FILE__, __LINE__, call, #call)
static void blas_check_at(const char *file, int line, cublasStatus_t status, const char *what) {
  if (status != CUBLAS_STATUS_SUCCESS)
    fatal_at(file, line, "cuBLASLt: %s: %s", what, cublasLtGetStatusString(status));
}

/* What a plan depends on; compared as bytes, so padding is zeroed. */
struct plan_key {
  int64_t m, n, k, a_stride, b_stride, c_stride, batch, a_batch, b_batch, c_batch;
  int32_t dtype, c_dtype, a_transposed, b_transposed, accumulate, bias, a_alignment, b_alignment, c_alignment, pad;
};
struct plan {
  struct plan_key key;
  cublasLtMatmulDesc_t operation;
  cublasLtMatrixLayout_t a, b, c;
  cublasLtMatmulAlgo_t algorithm;
  struct plan *next;
};
struct gemm_library {
  cublasLtHandle_t handle;
  struct plan *plans;
};

static cudaDataType_t data_type(enum dtype dtype) {
  return dtype == DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static int32_t alignment_of(const void *pointer) {
  int32_t bytes = 1;
  while (bytes < 256 && (uintptr_t)pointer % (2 * (uintptr_t)bytes) == 0)
    bytes *= 2;
  return bytes;
}

static struct plan_key key_of(const struct gemm *call) {
  struct plan_key key;
  memset(&key, 0, sizeof key);
  key.m = call->m;
  key.n = call->n;
  key.k = call->k;
  key.a_stride = call->a_stride ? call->a_stride : call->a_transposed ? call->m : call->k;
  key.b_stride = call->b_stride ? call->b_stride : call->b_transposed ? call->k : call->n;
  key.c_stride = call->c_stride ? call->c_stride : call->n;
  key.batch = call->batch ? call->batch : 1;
  key.a_batch = call->a_batch;
  key.b_batch = call->b_batch;
  key.c_batch = call->c_batch;
  key.dtype = call->dtype;
  key.c_dtype = call->c_dtype;
  key.a_transposed = call->a_transposed;
  key.b_transposed = call->b_transposed;
  key.accumulate = call->accumulate;
  key.bias = call->bias != NULL;
  key.a_alignment = alignment_of(call->a);
  key.b_alignment = alignment_of(call->b);
  key.c_alignment = alignment_of(call->c);
  return key;
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

static void make_operation(struct plan *plan) {
  const struct plan_key *key = &plan->key;
  BLAS_CHECK(cublasLtMatmulDescCreate(&plan->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  describe(plan, CUBLASLT_MATMUL_DESC_TRANSA, key->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  describe(plan, CUBLASLT_MATMUL_DESC_TRANSB, key->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (key->bias)
    describe(plan, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
  plan->a = make_layout((enum dtype)key->dtype, key->a_transposed ? key->k : key->m,
                        key->a_transposed ? key->m : key->k, key->a_stride, key->batch, key->a_batch);
  plan->b = make_layout((enum dtype)key->dtype, key->b_transposed ? key->n : key->k,
                        key->b_transposed ? key->k : key->n, key->b_stride, key->batch, key->b_batch);
  plan->c = make_layout((enum dtype)key->c_dtype, key->m, key->n, key->c_stride, key->batch, key->c_batch);
}

/* The library's proposals, best guess first. */
static int propose(struct cuda_device *cuda, const struct plan *plan, cublasLtMatmulHeuristicResult_t *proposals) {
  cublasLtMatmulPreference_t wishes;
  const uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  const uint32_t alignments[3] = {(uint32_t)plan->key.b_alignment, (uint32_t)plan->key.a_alignment,
                                  (uint32_t)plan->key.c_alignment};
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
    if (proposals[i].state == CUBLAS_STATUS_SUCCESS)
      proposals[usable++] = proposals[i];
  return usable;
}

static cublasStatus_t run(struct cuda_device *cuda, struct plan *plan, const cublasLtMatmulAlgo_t *algorithm,
                          const struct gemm *call, void *c) {
  const float one = 1, beta = call->accumulate ? 1 : 0;
  return cublasLtMatmul(cuda->gemm->handle, plan->operation, &one, call->b, plan->b, call->a, plan->a, &beta, c,
                        plan->c, c, plan->c, algorithm, cuda_scratch(cuda, CUDA_SCRATCH_GEMM, workspace_bytes),
                        workspace_bytes, cuda->stream);
}

/* Milliseconds of the fastest of a few runs into `c`, or -1 when it does not run. */
static float time_of(struct cuda_device *cuda, struct plan *plan, const cublasLtMatmulAlgo_t *algorithm,
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

/* Into a block of its own, since a product that accumulates would change its result; where there is no room for it, the
 * library's best guess is taken. */
static void choose(struct cuda_device *cuda, struct plan *plan, const struct gemm *call,
                   const cublasLtMatmulHeuristicResult_t *proposals, int count) {
  plan->algorithm = proposals[0].algo;
  if (count == 1)
    return;
  const struct plan_key *key = &plan->key;
  const size_t elements = (size_t)((key->batch - 1) * key->c_batch + (key->m - 1) * key->c_stride + key->n);
  void *trial;
  if (cudaMalloc(&trial, elements * (key->c_dtype == DTYPE_BF16 ? 2 : 4) + 256) != cudaSuccess) {
    (void)cudaGetLastError();
    return;
  }
  void *c = (char *)trial + (uintptr_t)call->c % 256;
  float best = -1;
  for (int i = 0; i < count; i++) {
    const float ms = time_of(cuda, plan, &proposals[i].algo, call, c);
    if (ms >= 0 && (best < 0 || ms < best)) {
      best = ms;
      plan->algorithm = proposals[i].algo;
    }
  }
  runtime_release(cuda, trial);
}

/* The library takes a bias of c's dtype only. */
static void set_bias(struct cuda_device *cuda, struct plan *plan, const struct gemm *call) {
  const void *bias = call->bias;
  if (!bias)
    return;
  if (call->c_dtype == DTYPE_BF16) {
    void *copy = cuda_scratch(cuda, CUDA_SCRATCH_BIAS, (size_t)call->n * 2);
    cuda_cast(&cuda->device, copy, DTYPE_BF16, bias, DTYPE_F32, call->n);
    bias = copy;
  }
  describe(plan, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
}

static struct plan *make_plan(struct cuda_device *cuda, const struct gemm *call, const struct plan_key *key) {
  struct plan *plan = (struct plan *)memory_allocate(sizeof *plan, "GEMM plan");
  cublasLtMatmulHeuristicResult_t proposals[PROPOSALS];
  plan->key = *key;
  make_operation(plan);
  set_bias(cuda, plan, call); /* before the proposals, which depend on the pointer's alignment */
  const int count = propose(cuda, plan, proposals);
  if (!count)
    fatal("cuBLASLt has no product for m %lld n %lld k %lld, dtype %d to %d", (long long)key->m, (long long)key->n,
          (long long)key->k, (int)key->dtype, (int)key->c_dtype);
  choose(cuda, plan, call, proposals, count);
  plan->next = cuda->gemm->plans;
  cuda->gemm->plans = plan;
  return plan;
}

void gemm_multiply(struct cuda_device *cuda, const struct gemm *call) {
  if (call->m == 0 || call->n == 0 || (call->k == 0 && call->accumulate)) /* errors in the library's eyes */
    return;
  const struct plan_key key = key_of(call);
  struct plan *plan = cuda->gemm->plans;
  while (plan && memcmp(&plan->key, &key, sizeof key) != 0)
    plan = plan->next;
  if (!plan)
    plan = make_plan(cuda, call, &key);
  set_bias(cuda, plan, call);
  BLAS_CHECK(run(cuda, plan, &plan->algorithm, call, call->c));
}

enum status gemm_open(struct cuda_device *cuda) {
  cuda->gemm = (struct gemm_library *)memory_allocate(sizeof *cuda->gemm, "cuBLASLt");
  const cublasStatus_t status = cublasLtCreate(&cuda->gemm->handle);
  if (status != CUBLAS_STATUS_SUCCESS) {
    memory_release(cuda->gemm);
    return error_set(STATUS_SYSTEM, "cuBLASLt does not start: %s", cublasLtGetStatusString(status));
  }
  return STATUS_OK;
}

void gemm_close(struct cuda_device *cuda) {
  while (cuda->gemm->plans) {
    struct plan *plan = cuda->gemm->plans;
    cuda->gemm->plans = plan->next;
    cublasLtMatmulDescDestroy(plan->operation);
    cublasLtMatrixLayoutDestroy(plan->a);
    cublasLtMatrixLayoutDestroy(plan->b);
    cublasLtMatrixLayoutDestroy(plan->c);
    memory_release(plan);
  }
  cublasLtDestroy(cuda->gemm->handle);
  memory_release(cuda->gemm);
}

const char *gemm_version(void) {
  static char text[32];
  const size_t version = cublasLtGetVersion();
  snprintf(text, sizeof text, "cuBLASLt %zu.%zu.%zu", version / 10000, version / 100 % 100, version % 100);
  return text;
}

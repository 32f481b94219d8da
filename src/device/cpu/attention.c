/* Softmax attention, one (sample, head) at a time per thread. */
#include "device/cpu/cpu.h"
#include <math.h>
#include <omp.h>
#include <string.h>

static int64_t visible_keys(const struct attention *call, int64_t sample, int64_t query) {
  if (!call->causal)
    return call->tokens;
  return (call->position ? call->position[sample] : query) + 1;
}

/* Rows [count, d] of one sample and head, as floats. */
static void load_rows(const struct attention *call, const void *x, int64_t first_row, int64_t stride, int64_t head, int64_t count,
                      float *to) {
  for (int64_t t = 0; t < count; t++)
    for (int64_t c = 0; c < call->head_width; c++)
      to[t * call->head_width + c] = cpu_load(call->dtype, x, (first_row + t) * stride + head * call->head_width + c);
}

static void store_rows(const struct attention *call, void *x, int64_t first_row, int64_t stride, int64_t head, int64_t count,
                       const float *from) {
  for (int64_t t = 0; t < count; t++)
    for (int64_t c = 0; c < call->head_width; c++)
      cpu_store(call->dtype, x, (first_row + t) * stride + head * call->head_width + c, from[t * call->head_width + c]);
}

static float dot(const float *a, const float *b, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < count; c++)
    sum += a[c] * b[c];
  return sum;
}

static void add_scaled(float *sum, float factor, const float *x, int64_t count) {
#pragma omp simd
  for (int64_t c = 0; c < count; c++)
    sum[c] += factor * x[c];
}

/* Floats of scratch per thread: q, k, v, out, their gradients, two rows of scores. */
static size_t work_floats(const struct attention *call) {
  return (size_t)((4 * call->queries + 4 * call->tokens) * call->head_width + 2 * call->tokens);
}

static void head_forward(const struct attention *call, int64_t sample, int64_t head, float *work) {
  int64_t d = call->head_width, tokens = call->tokens, queries = call->queries;
  float *q = work, *out = q + queries * d, *k = out + queries * d, *v = k + tokens * d, *score = v + tokens * d;
  float scale = 1.0f / sqrtf((float)d);
  load_rows(call, call->q, sample * queries, call->q_stride, head, queries, q);
  load_rows(call, call->k, sample * tokens, call->kv_stride, head, tokens, k);
  load_rows(call, call->v, sample * tokens, call->kv_stride, head, tokens, v);
  memset(out, 0, (size_t)(queries * d) * sizeof *out);
  for (int64_t i = 0; i < queries; i++) {
    int64_t visible = visible_keys(call, sample, i);
    float largest = -INFINITY, sum = 0;
    for (int64_t t = 0; t < visible; t++)
      largest = fmaxf(largest, score[t] = scale * dot(q + i * d, k + t * d, d));
    for (int64_t t = 0; t < visible; t++)
      sum += score[t] = expf(score[t] - largest);
    for (int64_t t = 0; t < visible; t++)
      add_scaled(out + i * d, score[t] / sum, v + t * d, d);
    if (call->lse)
      call->lse[(sample * call->heads + head) * queries + i] = largest + logf(sum);
  }
  store_rows(call, call->out, sample * queries, call->heads * d, head, queries, out);
}

void cpu_attention(struct device *self, const struct attention *call) {
  size_t each = work_floats(call);
  float *scratch = cpu_scratch(cpu_from_device(self), CPU_SCRATCH_THREADS, each * (size_t)self->threads * sizeof *scratch);
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t item = 0; item < call->batch * call->heads; item++)
    head_forward(call, item / call->heads, item % call->heads, scratch + each * (size_t)omp_get_thread_num());
}

/* With P = exp(scale q k - lse), dP = dout v: dS = scale P (dP - sum P dP); dq = dS k, dk = dS' q, dv = P' dout. */
static void head_backward(const struct attention *call, int64_t sample, int64_t head, float *work) {
  int64_t d = call->head_width, tokens = call->tokens, queries = call->queries;
  float *q = work, *dout = q + queries * d, *dq = dout + queries * d, *k = dq + queries * d, *v = k + tokens * d;
  float *dk = v + tokens * d, *dv = dk + tokens * d, *p = dv + tokens * d, *dp = p + tokens;
  float scale = 1.0f / sqrtf((float)d);
  load_rows(call, call->q, sample * queries, call->q_stride, head, queries, q);
  load_rows(call, call->dout, sample * queries, call->heads * d, head, queries, dout);
  load_rows(call, call->k, sample * tokens, call->kv_stride, head, tokens, k);
  load_rows(call, call->v, sample * tokens, call->kv_stride, head, tokens, v);
  memset(dq, 0, (size_t)(queries * d) * sizeof *dq);
  memset(dk, 0, (size_t)(2 * tokens * d) * sizeof *dk);
  for (int64_t i = 0; i < queries; i++) {
    int64_t visible = visible_keys(call, sample, i);
    float lse = call->lse[(sample * call->heads + head) * queries + i], mean = 0;
    for (int64_t t = 0; t < visible; t++) {
      p[t] = expf(scale * dot(q + i * d, k + t * d, d) - lse);
      mean += p[t] * (dp[t] = dot(dout + i * d, v + t * d, d));
    }
    for (int64_t t = 0; t < visible; t++) {
      float ds = scale * p[t] * (dp[t] - mean);
      add_scaled(dq + i * d, ds, k + t * d, d);
      add_scaled(dk + t * d, ds, q + i * d, d);
      add_scaled(dv + t * d, p[t], dout + i * d, d);
    }
  }
  store_rows(call, call->dq, sample * queries, call->q_stride, head, queries, dq);
  store_rows(call, call->dk, sample * tokens, call->kv_stride, head, tokens, dk);
  store_rows(call, call->dv, sample * tokens, call->kv_stride, head, tokens, dv);
}

void cpu_attention_backward(struct device *self, const struct attention *call) {
  size_t each = work_floats(call);
  float *scratch = cpu_scratch(cpu_from_device(self), CPU_SCRATCH_THREADS, each * (size_t)self->threads * sizeof *scratch);
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t item = 0; item < call->batch * call->heads; item++)
    head_backward(call, item / call->heads, item % call->heads, scratch + each * (size_t)omp_get_thread_num());
}

/* Between the files of attention: what a head is, and who computes which calls. */
#ifndef MEMCLIP_CUDA_ATTENTION_H
#define MEMCLIP_CUDA_ATTENTION_H
#include "cuda/kernel.h"

/* One (sample, head): where its rows begin, in elements. */
struct head {
  int64_t q, kv, out, lse;
  int64_t sample;
};
DEVICE struct head head_of(const struct attention *call, int64_t number) {
  const int64_t sample = number / call->heads, h = number % call->heads, d = call->head_width;
  struct head head;
  head.q = sample * call->queries * call->q_stride + h * d;
  head.kv = sample * call->tokens * call->kv_stride + h * d;
  head.out = (sample * call->queries * call->heads + h) * d;
  head.lse = number * call->queries;
  head.sample = sample;
  return head;
}

/* A block has `each` rows of one head. The blocks of a head are neighbours in the grid, so that what all of them read
 * comes from memory once. */
static inline unsigned attention_blocks(const struct attention *call, int64_t rows, int each) {
  return (unsigned)(call->batch * call->heads) * blocks_for(rows, each);
}
DEVICE struct head head_of_block(const struct attention *call, int64_t rows, int each, int64_t *first) {
  const unsigned blocks = (unsigned)((rows + each - 1) / each);
  *first = (int64_t)(blockIdx.x % blocks) * each;
  return head_of(call, blockIdx.x / blocks);
}

/* Keys that the query sees. */
DEVICE int64_t visible_keys(const struct attention *call, int64_t sample, int64_t query) {
  return !call->causal ? call->tokens : (call->position ? call->position[sample] : query) + 1;
}

/* Tensor cores: bf16 with rows of whole 16-byte pieces, at most 128 wide. mean_of [B,H,queries] is D of attention.cu.
 */
bool attention_has_tensor_form(const struct attention *call);
void attention_tensor_forward(struct cuda_device *cuda, const struct attention *call);
void attention_tensor_backward(struct cuda_device *cuda, const struct attention *call, float *mean_of);
/* Any width. */
void attention_wide_forward(struct cuda_device *cuda, const struct attention *call);
void attention_wide_backward(struct cuda_device *cuda, const struct attention *call, const float *mean_of);

#define LOG2_E 1.44269504f
#define LN_2 0.69314718f
#define MASKED (-1e30f)
#endif

/* Private to model/: the buffers of a tower run. */
#ifndef MEMCLIP_MODEL_RUN_H
#define MEMCLIP_MODEL_RUN_H
#include "model/model.h"

/* What a sublayer computes. rows: N, or B in the last block when only the pooled token is needed; an attention's `in`
 * covers N rows then, too. */
struct sublayer_state {
  int64_t rows;    /* of the branch */
  int64_t in_rows; /* of x, h */
  float *x;        /* [in_rows,C] the residual stream that the norm saw */
  float *mean, *rstd;
  void *h;      /* [in_rows,C] norm output */
  void *branch; /* [rows,C] what is added to the stream */
  void *in;  /* attention: qkv [N,3,C], or kv [N,2,C] when pooled; MLP: before the activation [rows,F]; memory: queries
                [rows,H*d] */
  void *mid; /* attention: attended [rows,C]; MLP: after the activation [rows,F]; memory: read values [rows,V] */
  void *query; /* attention, pooled: [B,C]; h of the pooled rows in pooled_h */
  void *pooled_h;
  float *lse;
  int32_t *index; /* memory: [rows,H,knn] */
  float *weight;
  void *gate, *gated; /* memory: g and m * silu(g), [rows,V] */
  void *plain;        /* memory with a token gate: the branch before the gate [rows,C] */
  float *token_gate;  /* [rows] */
  float *expert_z;    /* memory of experts: before their activation [rows,H,knn] */
};

struct tower_run {
  struct model *model;
  struct tower *tower;
  struct device *device;
  struct arena arena;
  enum dtype dtype;
  int batch;
  bool keep, pooled, recompute;
  int kept_patches;
  /* of the forward in progress */
  struct tower_input input;
  int64_t tokens; /* T of this batch */
  int next;       /* sublayer that comes next */
  float *x;       /* current residual stream, without the pending branch */
  const void *branch;
  const float *branch_scale;
  struct sublayer_state *states;
  void *lent_h, *lent_mid,
      *lent_branch; /* of sublayers whose backward does not read theirs; [N,C], [N,F or C], [N,C] */
  /* embedding */
  void *patches, *embedded;
  float *x_embedded, *embedded_mean, *embedded_rstd;
  int32_t *position; /* [B] pooled token; NULL for the vision tower: token 0 */
  /* end */
  float *x_final, *x_pooled, *final_mean, *final_rstd;
  void *final_all, *final; /* [N,C] when the norm comes before the pooling; [B,C] */
  /* backward */
  float *dx, *dx_pooled;
  void *dbranch, *dh, *dwide, *dmid, *dquery, *dmemory, *dfeatures;
  float *dweight; /* [N,H,knn] */
};

static inline bool state_is_pooled(const struct tower_run *run, int index) {
  return run->pooled && index >= run->tower->count - 2;
}
/* Sublayer `index`'s forward from run->x and the pending branch; leaves its own branch pending. */
void run_sublayer(struct tower_run *run, int index);
/* The branch alone, from states[index].h. */
void branch_forward(struct tower_run *run, int index);
/* Gradients of a branch from run->dbranch; leaves dh when `wants_input`. */
void branch_backward(struct tower_run *run, int index, bool wants_input);
/* The memory's branch, in memory.c. */
void memory_forward(struct tower_run *run, int index);
void memory_backward(struct tower_run *run, int index, bool wants_input);
void linear_forward(struct tower_run *run, const struct linear_layer *layer, int64_t rows, const void *x, void *y,
                    enum dtype y_dtype);
/* dx may be NULL: not wanted. bias_done: whoever made dy has summed its columns already. */
void linear_backward(struct tower_run *run, const struct linear_layer *layer, int64_t rows, const void *x,
                     const void *dy, void *dx, bool accumulate, bool bias_done);
static inline float *gradient_of(const struct parameter *parameter) {
  return parameter ? parameter->gradient : NULL;
}
/* The branch ends with its output projection, so the norm's backward, which makes the branch's gradient, sums its
 * columns as well; not where dropout or a gate lies between. */
static inline bool bias_is_fused(const struct tower_run *run, const struct sublayer *layer) {
  return layer->out.weight && !layer->token_gate_weight &&
         !(layer->kind == SUBLAYER_MEMORY && run->tower->config->memory.value_dropout > 0);
}
struct linear_layer linear_slice(const struct linear_layer *layer, struct parameter parts[2], int64_t from, int64_t out,
                                 size_t element);
struct attention attention_call(struct tower_run *run, int index);
#endif

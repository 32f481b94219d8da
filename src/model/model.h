/* CLIP with memories: two transformer towers over one registry of parameters, and runs of a tower over planned buffers.
 *
 * A tower is an embedding, a list of sublayers and a pooled projection. A sublayer is one pre-norm residual branch, x
 * <- x + f(LN(x)), of a kind: attention, MLP or memory; block i is sublayers 2i and 2i+1 (contract 1.2-1.4, methods 1).
 * A run goes through the list in steps, so that two networks can share a frozen prefix, and backwards from the end down
 * to the lowest sublayer that trains anything. Letters: B samples, T tokens, N = B*T, C width, E joint width, S = 2 *
 * blocks. */
#ifndef MEMCLIP_MODEL_MODEL_H
#define MEMCLIP_MODEL_MODEL_H
#include "device/arena.h"
#include "model/config.h"
#include "model/parameter.h"

struct linear_layer { /* weight NULL: absent */
  struct parameter *weight, *bias;
  int64_t in, out;
  bool transposed;
};
enum sublayer_kind { SUBLAYER_ATTENTION, SUBLAYER_MLP, SUBLAYER_MEMORY };
struct sublayer {
  enum sublayer_kind kind;
  char label[32]; /* "vision 3 attention", of its ranges for a profiler */
  struct parameter *norm_weight, *norm_bias, *layer_scale /* or NULL */;
  struct linear_layer in;   /* attention: packed q, k, v; MLP: c_fc; memory: query projection */
  struct linear_layer out;  /* attention: out_proj; MLP: c_proj; memory: value_proj */
  struct linear_layer gate; /* memory: swilu_projection */
  /* memory: values [slots,V]; with experts, values is what they write and values_in what they read, else NULL */
  struct parameter *keys, *values, *values_in, *token_gate_weight, *token_gate_bias;
  bool last_use_of_values; /* the lowest layer of a shared table: its gradient is complete after this one */
};
struct tower {
  const struct tower_config *config;
  bool vision, causal;
  int tokens, count; /* T at most; S */
  struct sublayer *sublayers;
  struct linear_layer patch_embedding;                 /* vision */
  struct parameter *class_embedding, *token_embedding; /* vision; text */
  struct parameter *position, *norm_pre_weight, *norm_pre_bias;
  struct parameter *norm_weight, *norm_bias;
  struct linear_layer projection;
  enum pooling pooling;
  bool final_norm_after_pool;
};
/* Each exact saving can be turned off; the numbers stay the same. */
struct model_switches {
  bool pooled_last_block, skip_frozen, gradient_checkpointing;
};
struct model {
  struct clip_config config;
  struct device *device;
  struct parameters parameters;
  struct tower vision, text;
  struct parameter *logit_scale;
  struct model_switches switches;
};

/* Declares everything; nothing is allocated on the device before parameters_allocate. */
enum status model_create(const struct clip_config *config, struct device *device, enum dtype compute,
                         struct model_switches switches, struct model **model);
void model_release(struct model *model);
/* Marks what trains: "default" words of interface.md (`memory`, `all`, `vision`, `text`, `vision:last2`, ...) or name
 * patterns; an unknown word or a pattern that matches nothing is STATUS_INPUT with the nearest name. */
enum status model_set_trainable(struct model *model, const char *const *words, int count);
/* Layer-wise decay of learning rates, as open_clip groups it: each step down from a tower's projection (its last block
 * with the final norm, ..., its first block, its embeddings) multiplies rate_scale by the tower's factor. */
void model_set_layer_decay(struct model *model, double vision, double text);
/* Lowest sublayer with anything trainable; -1 when the embedding or ln_pre trains; tower->count when only what follows
 * the sublayers or nothing does. */
int tower_first_trainable(const struct tower *tower, bool skip_frozen);
bool tower_trains(const struct tower *tower);
/* The first sublayer that differs from an MLP tower of the same shape: where a student with memories leaves its
 * teacher. */
int tower_first_memory(const struct tower *tower);

struct tower_run;
/* Buffers for up to `batch` samples of up to `tokens` tokens; `keep`: what the backward needs is kept. Patch dropout
 * keeps `kept` patches when > 0. */
struct tower_run *tower_run_create(struct model *model, struct tower *tower, int batch, bool keep, int kept);
void tower_run_release(struct tower_run *run);
bool tower_run_keeps(const struct tower_run *run); /* whether a backward may follow */
size_t tower_run_bytes(struct model *model, struct tower *tower, int batch, bool keep, int kept);

/* Told what a memory selected in a forward: index and weight of the call are filled (device). */
struct memory_watch {
  void (*selected)(void *context, int block, const struct memory_select *call);
  void *context;
};
struct tower_input {
  int count;          /* samples, at most the run's batch */
  const void *images; /* device; u8 [B,h,w,3] or fp32 [B,3,h,w] */
  enum dtype image_dtype;
  const int32_t *keep;              /* device [B,kept] ascending: patch dropout; NULL: all */
  const int32_t *ids, *end;         /* device; text: [B,context], [B] */
  int tokens;                       /* text: columns of ids that are used; every end < tokens */
  const struct memory_watch *watch; /* NULL: nobody listens */
  /* Dropout of memories, keyed by seed, step (device, one number) and the samples' addresses (device, [B]); samples
   * NULL: off. */
  const int64_t *samples, *step;
  uint64_t seed;
};
void tower_begin(struct tower_run *run, const struct tower_input *input);
/* Runs sublayers up to, not including, `until` (at most tower->count). */
void tower_advance(struct tower_run *run, int until);
/* Takes over the state of another run of the same shape that stands at the same sublayer boundary. */
void tower_adopt(struct tower_run *run, const struct tower_run *from);
/* Pool, norm, projection: features [B,E] fp32 on the device, not normalised. */
void tower_finish(struct tower_run *run, float *features);
/* The device has done the forward of `input` again by itself: what the host keeps of one, and no more. */
void tower_replayed(struct tower_run *run, const struct tower_input *input);
/* begin, advance to the end, finish. */
void tower_forward(struct tower_run *run, const struct tower_input *input, float *features);

/* Adds the gradients of all trainable parameters for dfeatures [B,E] (fp32) of the last forward, which must have been
 * kept. `done` (NULL allowed) is told each parameter whose gradient is complete. */
struct gradient_listener {
  void (*done)(void *context, const struct parameter *parameter);
  void *context;
};
void tower_backward(struct tower_run *run, const float *dfeatures, const struct gradient_listener *listener);
#endif

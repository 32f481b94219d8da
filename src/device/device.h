/* The device interface: everything the model, the optimiser and the losses compute, as one typed table of operations.
 *
 * The CPU (src/device/cpu/) and CUDA (cuda/) implement the same table; tests/test_conformance.c runs every entry of it
 * against a double-precision reference. Callers never ask which device they have. Operations are as coarse as the
 * device that fuses most. They are enqueued in order: results are seen by the host after copy_out or synchronize.
 * Scratch memory belongs to the device and grows only when a larger shape is seen for the first time: a step that ran
 * once at its largest shape allocates nothing afterwards.
 *
 * Letters: B images or texts, T tokens, N = B*T rows, C width, H heads, d head width, K sub-keys per half,
 * k = knn, M = K*K slots, V value width, E joint width. All tensors are row-major and dense unless a stride is given.
 * "compute" dtype is DTYPE_F32 or DTYPE_BF16, the same for all compute tensors of a call; products accumulate in fp32.
 * Gradients of parameters are fp32 and ADDED to what is there; a NULL gradient pointer means: not wanted, no work.
 * Statistics, residual streams, losses and biases and norm parameters are fp32. */
#ifndef MEMCLIP_DEVICE_DEVICE_H
#define MEMCLIP_DEVICE_DEVICE_H
#include "base/dtype.h"
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device;

enum activation { ACTIVATION_GELU /* exact erf */, ACTIVATION_QUICKGELU /* x sigmoid(1.702 x) */ };
enum distill_loss { DISTILL_COSINE, DISTILL_MSE, DISTILL_L2 };

/* y[rows,out] = x[rows,in] . W' + bias;   W' = weight^T for weight[out,in] (open_clip's Linear), or weight itself for
 * weight[in,out] when `transposed` (open_clip's visual.proj and text_projection).
 * x, weight are compute dtype; y has y_dtype (compute or fp32); bias fp32 or NULL, which a device may round to y_dtype:
 * `rounded_bias` is the same in compute dtype, where the caller has it, else NULL.
 * `frozen` says that the weight will
 * not change, so that a device may keep a packed copy (keyed by the pointer; forget_weights drops them). */
struct linear {
  int64_t rows, in, out;
  enum dtype dtype, y_dtype;
  bool transposed, frozen;
  const void *x, *weight, *rounded_bias;
  const float *bias;
  void *y;
};
/* dx[rows,in] (+)= dy[rows,out] . W  with W of the same layout flag. dx has dx_dtype; added when `accumulate`. */
struct linear_data_gradient {
  int64_t rows, in, out;
  enum dtype dtype, dx_dtype;
  bool transposed, frozen, accumulate;
  const void *dy, *weight;
  void *dx;
};
/* dweight += dy^T . x in the weight's layout; dbias[out] += column sums of dy (NULL allowed). */
struct linear_weight_gradient {
  int64_t rows, in, out;
  enum dtype dtype;
  bool transposed;
  const void *x, *dy;
  float *dweight, *dbias;
};

/* forward: y[i] = act(x[i]). backward: dx[i] = act'(x[i]) dy[i] (dx may be dy); dbias[columns] += column sums of dx. */
struct activation_call {
  int64_t rows, columns;
  enum dtype dtype;
  enum activation kind;
  const void *x; /* before the activation */
  void *y;       /* forward */
  const void *dy;
  void *dx;
  float *dbias;
};

/* Residual add and layer norm, eps 1e-5, biased variance (contract 1.4):
 *   x_out = x + gamma * branch (branch NULL: x_out is x, not written);  y = (x_out - mean) * rstd * weight + bias.
 * x, x_out fp32 [rows,C] (x_out may be x); branch compute dtype; gamma [C] LayerScale or NULL; y has y_dtype, or NULL
 * when only the addition is wanted; mean, rstd [rows] kept for the backward, NULL allowed. */
struct norm {
  int64_t rows, width;
  enum dtype dtype;   /* of branch */
  enum dtype y_dtype; /* compute, or fp32 */
  const float *x;
  const void *branch;
  const float *gamma, *weight, *bias;
  float *x_out;
  void *y;
  float *mean, *rstd;
};
/* With xhat = (x - mean) * rstd and g = dy * weight:
 *   dx += rstd * (g - mean_c(g) - xhat * mean_c(g * xhat));  dweight += sum dy * xhat;  dbias += sum dy   (dy NULL:
 * none of it). Then, for the branch that was added to make x (dbranch non-NULL): dbranch = gamma * dx in compute dtype;
 * dbranch_bias[C] += column sums of dbranch;  dgamma[C] += column sums of dx * branch.
 * dx fp32 [rows,C] is the running gradient of the residual stream; `dx_zero` says that it holds nothing yet (is taken
 * as 0). */
struct norm_backward {
  int64_t rows, width;
  enum dtype dtype, dy_dtype;
  bool dx_zero;
  const void *dy;
  const float *x, *mean, *rstd, *weight, *gamma;
  const void *branch;
  float *dx, *dweight, *dbias;
  void *dbranch;
  float *dbranch_bias, *dgamma;
};

/* Softmax attention. Query row i of sample b is q + (b*queries + i)*q_stride + h*head_width; key row t is k + (b*tokens
 * + t)*kv_stride + h*head_width, v alike; strides in elements. out[b,i,h,:] = sum_t P v, P = softmax(scale * q.k) over
 * the visible keys, scale = head_width^-0.5. queries == tokens: causal means t <= i. queries == 1 with `position` ([B],
 * the query's token index): causal means t <= position[b]. out [B*queries, H*d] compute dtype; lse [B,H,queries] fp32
 * log-sum-exp of the scaled scores, kept for the backward, NULL allowed. */
struct attention {
  int64_t batch, tokens, queries, heads, head_width, q_stride, kv_stride;
  enum dtype dtype;
  bool causal;
  const int32_t *position;
  const void *q, *k, *v;
  void *out;
  float *lse;
  /* backward only: gradients with the strides of q, k, v (written, not added); out and lse as the forward left them */
  const void *dout;
  void *dq, *dk, *dv;
};

/* Images to patch rows, the GEMM form of the patch convolution: patches[b*grid_y*grid_x, 3*p*p], vector order (channel,
 * row, column), patches row-major; a remainder of the image beyond the grid is dropped. images: u8 [B,height,width,3]
 * (normalised here: (v/255 - mean)/std, each rounded to fp32) or fp32 [B,3,height,width] (taken as it is). */
struct patchify {
  int64_t batch, height, width, patch;
  enum dtype image_dtype, dtype;
  const void *images;
  float mean[3], std[3];
  void *patches;
};
/* x[B,T,C] fp32: row 0 = class_embedding + position[0]; row 1+j = patches[b, keep ? keep[b,j] : j] + position[1 +
 * that]. patches [B,grid,C] compute dtype; T = 1 + kept (kept = grid when keep is NULL); keep i32 [B,kept], ascending.
 * backward: dpatches (compute dtype, zero where dropped), dposition and dclass added. */
struct image_embed {
  int64_t batch, grid, kept, width;
  enum dtype dtype;
  const int32_t *keep;
  const void *patches;
  const float *class_embedding, *position;
  float *x;
  const float *dx;
  void *dpatches;
  float *dclass, *dposition;
};
/* x[B,T,C] fp32 = table[ids[b,t]] + position[t]. ids i32 with row stride ids_stride (a batch cropped to T tokens keeps
 * its stride). backward: dtable, dposition added, deterministic (rows summed in order of (b,t)). vocabulary = rows of
 * table. */
struct text_embed {
  int64_t batch, tokens, width, ids_stride, vocabulary;
  const int32_t *ids;
  const float *table, *position;
  float *x;
  const float *dx;
  float *dtable, *dposition;
};

/* Product-key selection (methods 1.2, steps 3-6). queries [N, H*2*half], half = k_dim/2; keys [2*H*K, half] with row
 * (2*head + side)*K + i. scores s[head,side,i] = <query half, key>; top knn of each side (larger score, then lower
 * index); of the knn*knn sums u*knn+v the knn largest (larger sum, then lower candidate number); slot = i_u*K + j_v;
 * weight = softmax over those knn sums. index i32, weight fp32, both [N, H, knn], best first; an index is a slot even
 * where scores are NaN. Products of bf16 operands, fp32 accumulation, scores kept in fp32. backward: from dweight
 * [N,H,knn] (fp32): the softmax's gradient, then dqueries (compute dtype, written) and dkeys (added). No gradient
 * through the selection. In bf16 the backward may round the softmax's gradient to 16 bits of mantissa. */
enum { MEMORY_KNN_MAX = 256 };
struct memory_select {
  int64_t rows, heads, n_keys, knn, half;
  enum dtype dtype;
  const void *queries, *keys;
  int32_t *index;
  float *weight;
  const float *dweight;
  void *dqueries;
  float *dkeys;
};
/* out[n,:] = sum_j weight[n,j] * values[index[n,j],:], j < entries = H*knn; values [slots, V], out [N, V] compute
 * dtype, fp32 sums. backward: dvalues[slot,:] += sum over its entries, in order of (n,j), of weight * dout[n,:];
 * dweight[n,j] = <dout[n,:], values[index]>, written. In bf16 a device may round weights to 16 bits of mantissa. */
struct memory_read {
  int64_t rows, entries, slots, width;
  enum dtype dtype;
  const int32_t *index;
  const float *weight;
  const void *values;
  void *out;
  const void *dout;
  float *dweight, *dvalues;
};
/* Experts of one neuron (PEER, methods 1.2, 1.4), j < entries = H*knn, GELU exact: z[n,j] = <x[n,:],
 * down[index[n,j],:]>, kept; out[n,:] = sum_j weight[n,j] gelu(z[n,j]) up[index[n,j],:]. down, up [slots, C]; x, out
 * [N, C] compute dtype, fp32 sums. backward, with c[n,j] = <dout[n,:], up[index[n,j],:]> and dz = weight gelu'(z) c:
 * dweight = gelu(z) c, written; dx[n,:] += sum_j dz down[index[n,j],:] (NULL: not wanted); dup[slot,:] += sum of weight
 * gelu(z) dout[n,:], ddown[slot,:] += sum of dz x[n,:], both over the slot's entries in order of (n,j). */
struct expert_read {
  int64_t rows, entries, slots, width;
  enum dtype dtype;
  const int32_t *index;
  const float *weight;
  const void *x, *down, *up;
  float *z; /* [N, entries] */
  void *out;
  const void *dout;
  float *dweight;
  void *dx;
  float *ddown, *dup;
};
/* Dropout whose mask is a function of what is dropped, so that a replayed micro-batch, a backward (the same call on
 * gradients) and any number of ranks see the same one. Column c of token t of sample b is element e = (sample[b] *
 * tokens_max + t) * width + c. Of random_philox(key, *step, e / 4), word e % 4 decides: y = x / (1 - probability) where
 * the word is at least probability * 2^32 (rounded down), else 0. Row b * tokens + i of x [B*tokens, width] (compute
 * dtype; y may be x) is token t = i, or position[b] when `tokens` is 1 and position is not NULL. */
struct dropout {
  int64_t batch, tokens, tokens_max, width;
  enum dtype dtype;
  double probability;
  uint64_t key;          /* random_philox_key of seed, RANDOM_DROPOUT and layer */
  const int64_t *step;   /* one number, on the device */
  const int64_t *sample; /* [B] addresses in the data set, on the device */
  const int32_t *position;
  const void *x;
  void *y;
};
/* u = m * silu(g). backward: dm = du * silu(g), dg = du * m * sigma(g) (1 + g (1 - sigma(g))) (dm may be du). All
 * [rows, columns] compute dtype. dgate_bias[columns] += column sums of dg. */
struct gate {
  int64_t rows, columns;
  enum dtype dtype;
  const void *m, *g;
  void *u;
  const void *du;
  void *dm, *dg;
  float *dgate_bias;
};
/* One gate per token (methods 1.2 step 10): s[n] = sigmoid(<x[n,:], weight> + bias); y[n,:] = s[n] * o[n,:] (y may be
 * o). x [rows,in], o, y [rows,width]. backward: do = s * dy; with dz = s (1-s) <dy, o>: dx += dz * weight (compute
 * dtype), dweight += dz * x, dbias += dz. */
struct token_gate {
  int64_t rows, in, width;
  enum dtype dtype;
  const void *x, *o;
  const float *weight, *bias;
  float *s; /* [rows] kept for the backward */
  void *y;
  const void *dy;
  void *d_o, *dx;
  float *dweight, *dbias;
};

/* out[b,:] = x[b, position ? position[b] : 0, :] for x [B,T,C]; all of one dtype (compute or fp32).
 * backward: dx[b,position,:] (+)= dout[b,:]; without `accumulate` every other row of dx is zeroed. */
struct pool {
  int64_t batch, tokens, width;
  enum dtype dtype;
  bool accumulate;
  const int32_t *position;
  const void *x;
  void *out;
  const void *dout;
  void *dx;
};
/* out[b,:] = mean over tokens first..T-1 of x[b,t,:] (open_clip's 'avg': first = 1). Same dtypes as pool; backward
 * writes dx. */
struct pool_average {
  int64_t batch, tokens, width, first;
  enum dtype dtype;
  const void *x;
  void *out;
  const void *dout;
  void *dx;
};

/* y = x / max(|x|, 1e-12) per row, norms kept. All fp32. backward: dx = (dy - y <y,dy>) / norm (norm clamped as above).
 */
struct normalize {
  int64_t rows, width;
  const float *x;
  float *y, *norm;
  const float *dy;
  float *dx;
};

/* Distillation loss over un-normalised embeddings (methods 2.1). teacher, student fp32 [B,E]. Sums over this call's
 * rows only, so that ranks and micro-batches add up: *loss += scale * sum_b loss_b, with loss_b = 1 - cos (cosine),
 * |t-s|^2 / E (mse), |t-s| (l2); dstudent [B,E] = scale * its gradient, written (NULL: not wanted); cosine[b] written
 * (NULL allowed). scale = 1 / global batch. loss: fp64 on the device. */
struct distill {
  int64_t batch, width;
  enum distill_loss kind;
  double scale;
  const float *teacher, *student;
  double *loss;
  float *dstudent, *cosine;
};

/* The CLIP loss over the global batch (methods 3.3), never storing logits. images, texts: unit rows fp32 [G,E], all
 * ranks' in global order; this rank owns rows first .. first+count-1. With A = s images texts^T, s = exp(*logit_scale):
 *   loss = weight / (2G) * sum_i ( -log softmax_row(A)_ii - log softmax_column(A)_ii ).
 * contrastive_normalisers: normalisers [2,G] = log-sum-exps of A's rows, then of its columns; those of the owned ones
 * written. contrastive reads all of them: *loss += the terms of the owned rows and columns; dimages, dtexts [count,E] =
 * true gradients of the global loss for the owned rows (written; NULL: not wanted); *dlogit_scale += s * the owned
 * rows' share of sum dA * (images texts^T), so that a sum over ranks gives the gradient. All tensors are fp32; `dtype`
 * is that of the run's products: with bf16 a device may take A within 2^-16 s, and dA and the features as bf16 where it
 * makes dimages and dtexts of them. */
struct contrastive {
  int64_t global, width, first, count;
  enum dtype dtype;
  double weight;
  const float *images, *texts, *logit_scale;
  float *normalisers;
  double *loss;
  float *dimages, *dtexts, *dlogit_scale;
};

/* AdamW over arenas (methods 2.2) in one sweep. Each block of ADAMW_BLOCK elements belongs to a group of settings; with
 * n^2 = the squares that the group names (fp64), g = gradient * (clip_norm > 0 ? min(1, clip_norm / (n + 1e-6)) : 1),
 * t the step from 1 on:
 *   p *= 1 - lr*decay; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p -= lr/(1-b1^t) * m / (sqrt(v)/sqrt(1-b2^t) + eps).
 * What changes from step to step lies on the device, so that the call stays the same (device/adamw.h makes it). */
enum { ADAMW_BLOCK = 128, ADAMW_SQUARES = 2, ADAMW_GROUPS_MAX = 1024 };
struct adamw_group {
  float shrink, rate, root_scale; /* 1 - lr*decay; lr/(1-b1^t); 1/sqrt(1-b2^t) */
  bool bf16_state;                /* rounds g, m, v and p to bf16 as each is made (held widened): a table without a
                                     master in fp32 (methods 1.8) */
  int squares;                    /* which of them its gradient belongs to */
  int clip_first, clip_count;     /* the squares that add up to n^2 */
  double clip_norm;               /* 0: off, and they are not read */
};
struct adamw {
  int64_t count;                    /* a multiple of ADAMW_BLOCK */
  const uint16_t *group_of;         /* [count / ADAMW_BLOCK] on the device */
  const struct adamw_group *groups; /* [group_count] on the device */
  int group_count;
  float *parameter, *gradient, *first_moment, *second_moment; /* on 16 bytes */
  bf16 *compute;                                              /* receives the bf16 copy; NULL: none */
  double beta1, beta2, eps;
  double *squares;    /* [ADAMW_SQUARES] on the device */
  bool zero_gradient; /* once it is used */
};

enum { DEVICE_LANES = 2 };
enum { DEVICE_ID_BYTES = 16 };
/* The table; `self` is the device. */
struct device_operations {
  const char *name; /* "cpu", "cuda" */

  /* 64-byte aligned at least; undefined contents, NaN bytes (0xff) while memory_is_poisoned(); fatal() when exhausted.
   */
  void *(*allocate)(struct device *self, size_t bytes, const char *label);
  void (*release)(struct device *self, void *block);
  void (*copy_in)(struct device *self, void *to_device, const void *from_host,
                  size_t bytes); /* the host's block may change when it returns */
  void (*copy_out)(struct device *self, void *to_host, const void *from_device, size_t bytes); /* waits */
  void (*copy)(struct device *self, void *to, const void *from, size_t bytes);                 /* within the device */
  /* Uploads: copies beside what is enqueued in order, from memory of the host that the device pins. A lane stands for
   * blocks that are uploaded, used, and uploaded again, in turns. All but upload_wait return at once. */
  void *(*allocate_pinned)(struct device *self, size_t bytes, const char *label);
  void (*release_pinned)(struct device *self, void *block);
  void (*upload)(struct device *self, int lane, void *to_device, const void *from_pinned, size_t bytes);
  void (*upload_finish)(struct device *self, int lane); /* what is enqueued after it sees the lane's uploads */
  void (*upload_again)(struct device *self, int lane);  /* later uploads wait for what is enqueued before it */
  void (*upload_wait)(struct device *self, int lane);   /* the host waits: sources may change */
  void (*zero)(struct device *self, void *block, size_t bytes);
  void (*fill)(struct device *self, float *x, int64_t count, float value);
  void (*cast)(struct device *self, void *to, enum dtype to_dtype, const void *from, enum dtype from_dtype,
               int64_t count);
  void (*add)(struct device *self, float *y, const float *x, double scale, int64_t count); /* y += scale x */
  void (*clamp)(struct device *self, float *x, int64_t count, float low, float high);      /* NaN stays */
  void (*synchronize)(struct device *self);
  /* A stretch of calls that is the same whenever `key`, not 0, is: shapes, pointers, values. True: the device has done
   * all of it again by itself, and the caller leaves it out; else the caller goes through it and ends it with submit.
   * It holds no copy from or to the host, no upload, sum over ranks or wait, and no other stretch. */
  bool (*record)(struct device *self, uint64_t key);
  void (*submit)(struct device *self);
  void (*forget_weights)(struct device *self); /* drops packed copies of frozen weights */
  /* Names what is enqueued in between, for a profiler. Ranges nest, and end on the thread that began them. */
  void (*range_begin)(struct device *self, const char *name);
  void (*range_end)(struct device *self);

  void (*linear)(struct device *self, const struct linear *call);
  void (*linear_data_gradient)(struct device *self, const struct linear_data_gradient *call);
  void (*linear_weight_gradient)(struct device *self, const struct linear_weight_gradient *call);
  void (*activation)(struct device *self, const struct activation_call *call);
  void (*activation_backward)(struct device *self, const struct activation_call *call);
  void (*norm)(struct device *self, const struct norm *call);
  void (*norm_backward)(struct device *self, const struct norm_backward *call);
  void (*attention)(struct device *self, const struct attention *call);
  void (*attention_backward)(struct device *self, const struct attention *call);
  void (*patchify)(struct device *self, const struct patchify *call);
  void (*image_embed)(struct device *self, const struct image_embed *call);
  void (*image_embed_backward)(struct device *self, const struct image_embed *call);
  void (*text_embed)(struct device *self, const struct text_embed *call);
  void (*text_embed_backward)(struct device *self, const struct text_embed *call);
  void (*memory_select)(struct device *self, const struct memory_select *call);
  void (*memory_select_backward)(struct device *self, const struct memory_select *call);
  void (*memory_read)(struct device *self, const struct memory_read *call);
  void (*memory_read_backward)(struct device *self, const struct memory_read *call);
  void (*expert_read)(struct device *self, const struct expert_read *call);
  void (*expert_read_backward)(struct device *self, const struct expert_read *call);
  void (*dropout)(struct device *self, const struct dropout *call);
  void (*gate)(struct device *self, const struct gate *call);
  void (*gate_backward)(struct device *self, const struct gate *call);
  void (*token_gate)(struct device *self, const struct token_gate *call);
  void (*token_gate_backward)(struct device *self, const struct token_gate *call);
  void (*pool)(struct device *self, const struct pool *call);
  void (*pool_backward)(struct device *self, const struct pool *call);
  void (*pool_average)(struct device *self, const struct pool_average *call);
  void (*pool_average_backward)(struct device *self, const struct pool_average *call);
  void (*normalize)(struct device *self, const struct normalize *call);
  void (*normalize_backward)(struct device *self, const struct normalize *call);
  void (*distill)(struct device *self, const struct distill *call);
  void (*contrastive_normalisers)(struct device *self, const struct contrastive *call);
  void (*contrastive)(struct device *self, const struct contrastive *call);
  /* squares[s] = the sum of gradient^2 over the groups with `squares` s. */
  void (*adamw_squares)(struct device *self, const struct adamw *call);
  void (*adamw)(struct device *self, const struct adamw *call);

  /* What tells this device from others in the cluster; a processor's memory is one device to all its ranks. */
  void (*identify)(struct device *self, uint8_t id[DEVICE_ID_BYTES]);
  /* Of the device's memory, all ranks that share it included. */
  void (*memory_free)(struct device *self, size_t *free_bytes, size_t *total_bytes);
  /* Makes the device that of the calling thread too, for libraries that use its memory there. */
  void (*enter_thread)(struct device *self);
  void (*close)(struct device *self);
};

/* Copies to the host beside what is enqueued later. */
struct device_downloads {
  /* Of what is there after all that is enqueued now, which must stay as it is until it is done, as the target must.
   * Returns at once, with the download's number: they count from 1 and are done in order. */
  uint64_t (*start)(struct device *self, void *to_pinned, const void *from_device, size_t bytes);
  /* Whether it is done; with `wait` the host waits until it is. */
  bool (*done)(struct device *self, uint64_t number, bool wait);
};

/* What ranks that have a device each exchange without the host. All calls but `join` return at once, and come in the
 * same order on all ranks. */
enum { DEVICE_GROUP_BYTES = 128 };
struct device_collectives {
  /* STATUS_SYSTEM when the library does not load: a rank without it must not leave the others waiting in join. */
  enum status (*load)(struct device *self);
  /* Rank 0 makes what the others join with. STATUS_SYSTEM when the library does not start. */
  enum status (*make_group)(struct device *self, uint8_t group[DEVICE_GROUP_BYTES]);
  enum status (*join)(struct device *self, const uint8_t group[DEVICE_GROUP_BYTES], int rank,
                      int size); /* collective */
  /* Undoes `join` where it succeeded here and failed on another rank. */
  void (*leave)(struct device *self);
  /* x, in place, = its sum over the ranks: after what is enqueued now, beside what is enqueued later. */
  void (*all_reduce_start)(struct device *self, float *x, size_t count);
  /* What is enqueued after it sees the sums of all that was started. */
  void (*all_reduce_finish)(struct device *self);
  /* all[size * bytes] = every rank's mine[bytes] in rank order, in the order of what is enqueued. */
  void (*all_gather)(struct device *self, const void *mine, void *all, size_t bytes);
};

/* Which algorithm multiplies which shape, where a device finds out by timing: once, where it first meets the shape. The
 * same choices give the same bits. */
struct device_choices {
  int64_t (*count)(struct device *self);
  /* Those that came as number `first` and later, as text; memory_release. */
  char *(*write)(struct device *self, int64_t first);
  /* Takes them over, in the place of its own. STATUS_INPUT when they are of another library or kind of device (none is
   * taken) or lines cannot be used (the others are). */
  enum status (*read)(struct device *self, const char *text);
};

/* Since the device was opened. The CPU computes in the caller's thread: it never waits. */
struct device_counts {
  uint64_t waits;       /* of the host for the device */
  uint64_t allocations; /* of device memory */
  uint64_t recordings;  /* of stretches: their own memory is not among the allocations */
  uint64_t replays;     /* of recorded stretches */
};

/* Every implementation's struct begins with this. */
struct device {
  const struct device_operations *op;
  const struct device_collectives *collectives; /* NULL where the device has none */
  const struct device_downloads *downloads;     /* NULL where memory_is_host */
  const struct device_choices *choices;         /* NULL where there is nothing to choose */
  struct device_counts counts;
  bool memory_is_host;       /* the host may read and write its memory */
  size_t scratch_bytes;      /* of the device's own that it needs at least, for plans */
  int threads;               /* compute threads (CPU) */
  char description[256];     /* "AVX512-BF16, 2 threads, oneDNN 2.6.3": for the log */
  bool bf16_is_storage_only; /* products of bf16 operands are computed in fp32 here */
};

/* name: "cpu", "cuda" or "auto". `threads` 0 takes the affinity mask. STATUS_SYSTEM when the device is absent.
 * MEMCLIP_ISA (generic, avx2, avx512, avx512bf16) forces the CPU's instruction set. */
enum status device_open(const char *name, int threads, struct device **device);
/* The same for the rank number `local_rank` of a node, which chooses its GPU; "auto" takes the CPU where there is none,
 * and says why in the description. */
enum status device_open_ranked(const char *name, int threads, int local_rank, struct device **device);
void device_close(struct device *device);

#endif

/* What a CLIP is: open_clip's JSON model configuration (contract 1.1), the built-in names, and the memory layers
 * (methods 1). */
#ifndef MEMCLIP_MODEL_CONFIG_H
#define MEMCLIP_MODEL_CONFIG_H
#include "base/error.h"
#include "base/text.h"
#include "device/device.h"

enum { LAYERS_MAX = 128, CONFIG_BYTES_MAX = 1 << 18 };
enum pooling { POOL_TOKEN, POOL_AVERAGE, POOL_ARGMAX };
struct memory_config {
  bool layers[LAYERS_MAX];              /* which blocks have a memory instead of their MLP */
  int count;                            /* of them; 0: no memory */
  int n_keys, heads, knn, k_dim, v_dim; /* v_dim 0: the tower's width, without value_proj */
  bool share_values, swilu_projection, gated;
  bool peer; /* slots are experts of one neuron: two tables as wide as the tower, no projections */
  double input_dropout, query_dropout, value_dropout; /* in training */
  bool meta_init;                                     /* init='meta' (methods 1.5), else the thesis's */
};
struct tower_config {
  int width, layers, heads;
  int mlp_width;
  double layer_scale; /* < 0: none */
  struct memory_config memory;
};
struct clip_config {
  int embed_dim;
  enum activation activation;
  bool activation_known; /* the JSON or the weights said it */
  double init_logit_scale;
  struct tower_config vision, text;
  int image_height, image_width, patch;
  bool no_ln_pre, final_ln_after_pool;
  enum pooling vision_pool, text_pool;
  double patch_dropout;
  int context_length, vocab_size;
  bool no_causal_mask;
  float image_mean[3], image_std[3];
  const char *resize_mode, *interpolation; /* of the evaluation's pictures, open_clip's words, not owned */
  int fill_color;
};
/* `name`: a built-in name ("ViT-B-16", "-quickgelu" appended or not) or the path of a JSON file. Another architecture
 * is refused by name. */
enum status config_read(const char *name, struct clip_config *config);
enum status config_built_in(const char *name, struct clip_config *config);
/* What a configuration does not say, as open_clip takes it. */
void config_set_defaults(struct clip_config *config);
/* The names that config_read knows, from 0 on; NULL behind the last. */
const char *config_built_in_name(int number);
enum status config_parse(const char *json, const char *source, struct clip_config *config);
/* open_clip's JSON with `model_cfg`, `preprocess_cfg` and, for memory students, `memory`. */
void config_write(const struct clip_config *config, struct text *out);
/* Fits the memory of a tower together (even k_dim, knn <= n_keys, ...); `source` is what messages call its origin. */
enum status config_check_memory(struct tower_config *tower, const char *source);
int config_vision_tokens(const struct clip_config *config);
/* Multiply-adds times two of one image or text of `tokens` tokens, forward, last block for the pooled token only. */
double config_flops_image(const struct clip_config *config, bool pooled_last_block);
double config_flops_text(const struct clip_config *config, int tokens, bool pooled_last_block);
#endif

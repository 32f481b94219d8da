/* The values of an input file, one struct per namelist group, members named as the keys (interface.md). Filled by
 * input/keys.c. */
#ifndef MEMCLIP_INPUT_SETTINGS_H
#define MEMCLIP_INPUT_SETTINGS_H
#include <stdbool.h>
#include <stdint.h>

struct text_list {
  char **items;
  int count;
};
struct integer_list {
  int64_t *items;
  int count;
};
struct real_list {
  double *items;
  int count;
};

struct run_settings {
  char *stage, *directory, *device, *precision, *resume, *resume_reset;
  int64_t seed, threads, log_every;
  double time_limit_minutes;
};
struct model_settings {
  char *config, *weights, *activation;
  struct text_list train;
  bool gradient_checkpointing;
  double patch_dropout;
  struct real_list image_mean, image_std;
  char *image_resize_mode, *image_interpolation;
};
struct teacher_settings {
  char *config, *weights, *activation, *cache;
};
struct memory_settings {
  bool present; /* the group stands in the input */
  char *tower, *init, *value_dtype;
  struct integer_list layers;
  int64_t n_keys, heads, knn, k_dim, v_dim, shard_ranks;
  bool share_values, swilu_projection, gated, peer, query_batchnorm;
  double value_lr, value_clip_norm, input_dropout, query_dropout, value_dropout;
};
struct data_settings {
  struct text_list train, val;
  struct real_list weights, caption_weights, crop_scale, crop_ratio, color_jitter;
  int64_t batch_size, global_batch, samples_per_epoch, context_length, shuffle_window, loader_threads;
  char *format, *image, *caption, *short_caption, *csv_separator, *csv_image, *csv_caption, *vocabulary, *augment,
      *shuffle, *stage_to;
  bool resampled, exif_orientation;
  double color_jitter_prob, gray_scale_prob, bad_sample_limit, max_image_megapixels;
};
struct loss_settings {
  char *distill;
  double long_weight, short_weight;
};
struct optim_settings {
  double lr, beta1, beta2, eps, weight_decay, vision_layer_decay, text_layer_decay, cooldown_end, cooldown_power,
      clip_norm;
  struct text_list no_decay;
  char *schedule;
  int64_t warmup_steps, epochs, cooldown_epochs, max_steps, accumulation;
};
struct validation_settings {
  int64_t every_epochs, every_steps;
};
struct early_stop_settings {
  char *metric, *mode;
  int64_t patience;
  double min_delta;
};
struct checkpoint_settings {
  int64_t every_steps, every_epochs, keep;
  double every_minutes;
  struct integer_list archive_epochs;
};
struct eval_settings {
  struct text_list datasets, checkpoints, labels, text;
  char *root, *coco_root, *flickr30k_root, *iiw_root, *docci_root, *urban1k_root, *dci_root, *sharegpt4v_root,
      *protocol;
  int64_t batch_size;
  bool save_features, save_npy, memory_usage;
};
struct segment_settings {
  char *dataset, *root, *classes, *templates;
};
struct parity_settings { /* what other codes do and ours does not, unless asked */
  bool undivided_accumulation, foreign_activation;
};
struct debug_settings { /* each exact saving can be turned off; the numbers stay the same */
  bool pooled_last_block, crop_text, share_prefix, skip_frozen, overlap, graphs, poison;
};
struct settings {
  struct run_settings run;
  struct model_settings model;
  struct teacher_settings teacher;
  struct memory_settings memory;
  struct data_settings data;
  struct loss_settings loss;
  struct optim_settings optim;
  struct validation_settings validation;
  struct early_stop_settings early_stop;
  struct checkpoint_settings checkpoint;
  struct eval_settings eval;
  struct segment_settings segment;
  struct parity_settings parity;
  struct debug_settings debug;
};
#endif

/* The built-in configurations, and what follows from a configuration: tokens and work. Reads and writes no JSON. */
#include "model/config.h"
#include <math.h>
#include <string.h>

static const float openai_mean[3] = {0.48145466f, 0.4578275f, 0.40821073f},
                   openai_std[3] = {0.26862954f, 0.26130258f, 0.27577711f};

/* The native towers of open_clip (contract 1.1): joint width; image, patch; vision width, layers, head width; text
 * width, heads, layers; LayerScale; width of the vision MLP over the tower's, 4 where it is 0. */
static const struct built_in {
  const char *name;
  int embed, image, patch, width, layers, head_width, text_width, text_heads, text_layers;
  double layer_scale, mlp_ratio;
} built_ins[] = {
    {"ViT-B-32", 512, 224, 32, 768, 12, 64, 512, 8, 12, -1, 0},
    {"ViT-B-32-256", 512, 256, 32, 768, 12, 64, 512, 8, 12, -1, 0},
    {"ViT-B-32-plus-256", 640, 256, 32, 896, 12, 64, 640, 10, 12, -1, 0},
    {"ViT-B-16", 512, 224, 16, 768, 12, 64, 512, 8, 12, -1, 0},
    {"ViT-B-16-plus", 640, 224, 16, 896, 12, 64, 640, 10, 12, -1, 0},
    {"ViT-B-16-plus-240", 640, 240, 16, 896, 12, 64, 640, 10, 12, -1, 0},
    {"ViT-L-14", 768, 224, 14, 1024, 24, 64, 768, 12, 12, -1, 0},
    {"ViT-L-14-280", 768, 280, 14, 1024, 24, 64, 768, 12, 12, -1, 0},
    {"ViT-L-14-336", 768, 336, 14, 1024, 24, 64, 768, 12, 12, -1, 0},
    {"ViT-L-16", 768, 224, 16, 1024, 24, 64, 768, 12, 12, -1, 0},
    {"ViT-L-16-320", 768, 320, 16, 1024, 24, 64, 768, 12, 12, -1, 0},
    {"ViT-S-32", 384, 224, 32, 384, 12, 64, 384, 6, 12, -1, 0},
    {"ViT-S-16", 384, 224, 16, 384, 12, 64, 384, 6, 12, -1, 0},
    {"ViT-S-32-alt", 256, 224, 32, 384, 12, 64, 256, 4, 10, -1, 0},
    {"ViT-S-16-alt", 256, 224, 16, 384, 12, 64, 256, 4, 10, -1, 0},
    {"ViT-M-32", 512, 224, 32, 512, 12, 64, 512, 8, 12, -1, 0},
    {"ViT-M-16", 512, 224, 16, 512, 12, 64, 512, 8, 12, -1, 0},
    {"ViT-M-32-alt", 384, 224, 32, 512, 12, 64, 384, 6, 12, -1, 0},
    {"ViT-M-16-alt", 384, 224, 16, 512, 12, 64, 384, 6, 12, 1e-4, 0},
    {"ViT-H-14", 1024, 224, 14, 1280, 32, 80, 1024, 16, 24, -1, 0},
    {"ViT-H-14-378", 1024, 378, 14, 1280, 32, 80, 1024, 16, 24, -1, 0},
    {"ViT-H-16", 1024, 224, 16, 1280, 32, 80, 1024, 16, 24, -1, 0},
    {"ViT-g-14", 1024, 224, 14, 1408, 40, 88, 1024, 16, 24, -1, 4.3637},
    {"ViT-bigG-14", 1280, 224, 14, 1664, 48, 104, 1280, 20, 32, -1, 4.9231},
    {"ViT-e-14", 1280, 224, 14, 1792, 56, 112, 1280, 20, 36, -1, 8.5715},
};
enum { BUILT_IN_COUNT = sizeof built_ins / sizeof *built_ins };

void config_set_defaults(struct clip_config *config) {
  *config = (struct clip_config){.init_logit_scale = log(1 / 0.07),
                                 .context_length = 77,
                                 .vocab_size = 49408,
                                 .text_pool = POOL_ARGMAX,
                                 .vision_pool = POOL_TOKEN};
  config->vision.layer_scale = config->text.layer_scale = -1;
  memcpy(config->image_mean, openai_mean, sizeof openai_mean);
  memcpy(config->image_std, openai_std, sizeof openai_std);
  config->resize_mode = "shortest";
  config->interpolation = "bicubic";
}

const char *config_built_in_name(int number) {
  return number >= 0 && number < BUILT_IN_COUNT ? built_ins[number].name : NULL;
}

enum status config_built_in(const char *name, struct clip_config *config) {
  const char *suffix = "-quickgelu";
  const size_t length = strlen(name), base = text_ends_with(name, suffix) ? length - strlen(suffix) : length;
  const char *names[BUILT_IN_COUNT];
  for (int i = 0; i < BUILT_IN_COUNT; i++) {
    const struct built_in *b = &built_ins[i];
    names[i] = b->name;
    if (strncmp(name, b->name, base) != 0 || b->name[base])
      continue;
    config_set_defaults(config);
    config->embed_dim = b->embed;
    config->image_width = config->image_height = b->image;
    config->patch = b->patch;
    config->vision = (struct tower_config){.width = b->width,
                                           .layers = b->layers,
                                           .heads = b->width / b->head_width,
                                           .mlp_width = (int)floor(b->width * (b->mlp_ratio > 0 ? b->mlp_ratio : 4)),
                                           .layer_scale = b->layer_scale};
    config->text = (struct tower_config){.width = b->text_width,
                                         .layers = b->text_layers,
                                         .heads = b->text_heads,
                                         .mlp_width = 4 * b->text_width,
                                         .layer_scale = -1};
    if (base < length) { /* a plain name says nothing of the activation: OpenAI's own weights carry it, too */
      config->activation = ACTIVATION_QUICKGELU;
      config->activation_known = true;
    }
    return STATUS_OK;
  }
  const char *nearest = text_nearest(name, names, BUILT_IN_COUNT);
  return error_set(STATUS_INPUT, "model configuration '%s' is neither a built-in name nor a readable file%s%s%s", name,
                   nearest ? "; did you mean '" : "", nearest ? nearest : "",
                   nearest ? "'?" : ". Give open_clip's JSON file of the model");
}

int config_vision_tokens(const struct clip_config *config) {
  return (config->image_height / config->patch) * (config->image_width / config->patch) + 1;
}

/* One residual branch pair per block; rows of what follows the attention scores: all tokens, or one when only the
 * pooled token is needed. */
static double flops_tower(const struct tower_config *tower, double tokens, bool causal, bool pooled_last_block) {
  const double width = tower->width, mlp = 2 * width * tower->mlp_width;
  const struct memory_config *memory = &tower->memory;
  const double values = memory->v_dim > 0 ? memory->v_dim : width, half = memory->k_dim / 2.0;
  const double tables = memory->peer ? 2 : 1;
  const double read =
      memory->heads * (memory->k_dim * width + 2 * half * memory->n_keys + tables * memory->knn * values) +
      values * width *
          (memory->swilu_projection ? 2
           : memory->v_dim > 0      ? 1
                                    : 0);
  double total = 0;
  for (int i = 0; i < tower->layers; i++) {
    const double rows = pooled_last_block && i == tower->layers - 1 ? 1 : tokens,
                 keys = causal ? (tokens + 1) / 2 : tokens;
    total += 2 * width * width * tokens + (2 * width * width + 2 * keys * width) * rows +
             (memory->layers[i] ? read : mlp) * rows;
  }
  return 2 * total;
}

double config_flops_image(const struct clip_config *config, bool pooled_last_block) {
  const double tokens = config_vision_tokens(config), width = config->vision.width;
  return flops_tower(&config->vision, tokens, false, pooled_last_block && config->vision_pool == POOL_TOKEN) +
         2 * (tokens - 1) * 3 * config->patch * config->patch * width + 2 * width * config->embed_dim;
}

double config_flops_text(const struct clip_config *config, int tokens, bool pooled_last_block) {
  return flops_tower(&config->text, tokens, !config->no_causal_mask, pooled_last_block) +
         2.0 * config->text.width * config->embed_dim;
}

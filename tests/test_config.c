/* Configurations: every shape of the published table from names and from JSON, parameter counts, and what is refused.
 */
#include "base/file.h"
#include "base/memory.h"
#include "model/model.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static struct device *device;

/* Joint width; image, patch, tokens; vision width, layers, heads; text width, layers, heads; parameters as published,
 * 0 where nobody says. */
static const struct row {
  const char *name;
  int embed, image, patch, tokens, width, layers, heads, text_width, text_layers, text_heads;
  double layer_scale;
  int64_t parameters;
} table[] = {
    {"ViT-B-32", 512, 224, 32, 50, 768, 12, 12, 512, 12, 8, -1, 151277313},
    {"ViT-B-32-256", 512, 256, 32, 65, 768, 12, 12, 512, 12, 8, -1, 151288833},
    {"ViT-B-32-plus-256", 640, 256, 32, 65, 896, 12, 14, 640, 12, 10, -1, 0},
    {"ViT-B-16", 512, 224, 16, 197, 768, 12, 12, 512, 12, 8, -1, 149620737},
    {"ViT-B-16-plus", 640, 224, 16, 197, 896, 12, 14, 640, 12, 10, -1, 0},
    {"ViT-B-16-plus-240", 640, 240, 16, 226, 896, 12, 14, 640, 12, 10, -1, 208377345},
    {"ViT-L-14", 768, 224, 14, 257, 1024, 24, 16, 768, 12, 12, -1, 427616513},
    {"ViT-L-14-280", 768, 280, 14, 401, 1024, 24, 16, 768, 12, 12, -1, 0},
    {"ViT-L-14-336", 768, 336, 14, 577, 1024, 24, 16, 768, 12, 12, -1, 427944193},
    {"ViT-L-16", 768, 224, 16, 197, 1024, 24, 16, 768, 12, 12, -1, 0},
    {"ViT-L-16-320", 768, 320, 16, 401, 1024, 24, 16, 768, 12, 12, -1, 0},
    {"ViT-S-32", 384, 224, 32, 50, 384, 12, 6, 384, 12, 6, -1, 63085825},
    {"ViT-S-16", 384, 224, 16, 197, 384, 12, 6, 384, 12, 6, -1, 62257537},
    {"ViT-S-32-alt", 256, 224, 32, 50, 384, 12, 6, 256, 10, 4, -1, 43224449},
    {"ViT-S-16-alt", 256, 224, 16, 197, 384, 12, 6, 256, 10, 4, -1, 42396161},
    {"ViT-M-32", 512, 224, 32, 50, 512, 12, 8, 512, 12, 8, -1, 103119873},
    {"ViT-M-16", 512, 224, 16, 197, 512, 12, 8, 512, 12, 8, -1, 102015489},
    {"ViT-M-32-alt", 384, 224, 32, 50, 512, 12, 8, 384, 12, 6, -1, 0},
    {"ViT-M-16-alt", 384, 224, 16, 197, 512, 12, 8, 384, 12, 6, 1e-4, 78978177},
    {"ViT-H-14", 1024, 224, 14, 257, 1280, 32, 16, 1024, 24, 16, -1, 986109441},
};
enum { ROWS = sizeof table / sizeof *table };

static int64_t tower_parameters(int64_t width, int64_t layers, bool scaled) {
  return layers * (12 * width * width + 13 * width + (scaled ? 2 * width : 0));
}

/* The sum over the tensors of the published state dict. */
static int64_t counted(const struct row *r) {
  const int64_t d = r->width, w = r->text_width, e = r->embed;
  return tower_parameters(d, r->layers, r->layer_scale >= 0) + tower_parameters(w, r->text_layers, false) +
         3 * r->patch * r->patch * d + d + r->tokens * d + 4 * d + d * e + 49408 * w + 77 * w + 2 * w + w * e + 1;
}

static void expect_row(const struct row *r, const struct clip_config *c) {
  assert_int_equal(c->embed_dim, r->embed);
  assert_int_equal(c->image_height, r->image);
  assert_int_equal(c->image_width, r->image);
  assert_int_equal(c->patch, r->patch);
  assert_int_equal(config_vision_tokens(c), r->tokens);
  assert_int_equal(c->vision.width, r->width);
  assert_int_equal(c->vision.layers, r->layers);
  assert_int_equal(c->vision.heads, r->heads);
  assert_int_equal(c->vision.mlp_width, 4 * r->width);
  assert_int_equal(c->text.width, r->text_width);
  assert_int_equal(c->text.layers, r->text_layers);
  assert_int_equal(c->text.heads, r->text_heads);
  assert_int_equal(c->text.mlp_width, 4 * r->text_width);
  assert_int_equal(c->context_length, 77);
  assert_int_equal(c->vocab_size, 49408);
  assert_true(c->vision.layer_scale == r->layer_scale || (c->vision.layer_scale < 0 && r->layer_scale < 0));
  assert_true(fabs(c->init_logit_scale - log(1 / 0.07)) < 1e-12);
}

static void expect_parameters(const struct row *r, struct clip_config *config) {
  struct model *model;
  config->activation_known = true;
  assert_int_equal(model_create(config, device, DTYPE_F32, (struct model_switches){0}, &model), STATUS_OK);
  assert_int_equal(parameters_count_elements(&model->parameters, false), counted(r));
  if (r->parameters)
    assert_int_equal(counted(r), r->parameters);
  assert_int_equal(model->parameters.count,
                   14 + 12 * (r->layers + r->text_layers) + (r->layer_scale >= 0 ? 2 * r->layers : 0));
  model_release(model);
}

static void built_in_names(void **state) {
  (void)state;
  for (int i = 0; i < ROWS; i++) {
    struct clip_config config;
    char *quick = text_format("%s-quickgelu", table[i].name);
    assert_int_equal(config_read(table[i].name, &config), STATUS_OK);
    assert_false(config.activation_known); /* a plain name does not say */
    expect_row(&table[i], &config);
    expect_parameters(&table[i], &config);
    assert_int_equal(config_read(quick, &config), STATUS_OK);
    assert_true(config.activation_known && config.activation == ACTIVATION_QUICKGELU);
    expect_row(&table[i], &config);
    memory_release(quick);
  }
}

/* As open_clip writes them: heads by head_width, which is left out where it is 64. */
static char *json_of(const struct row *r, const char *before, const char *after) {
  char *scale = r->layer_scale >= 0 ? text_format(", \"ls_init_value\": %g", r->layer_scale) : text_format("%s", ""),
       *heads =
           r->width / r->heads != 64 ? text_format(", \"head_width\": %d", r->width / r->heads) : text_format("%s", "");
  char *json = text_format("%s{\"embed_dim\": %d, \"vision_cfg\": {\"image_size\": %d, \"layers\": %d, \"width\": %d, "
                           "\"patch_size\": %d%s%s}, \"text_cfg\": {\"context_length\": 77, \"vocab_size\": 49408, "
                           "\"width\": %d, \"heads\": %d, \"layers\": %d}}%s",
                           before, r->embed, r->image, r->layers, r->width, r->patch, scale, heads, r->text_width,
                           r->text_heads, r->text_layers, after);
  memory_release(scale);
  memory_release(heads);
  return json;
}

static void json_files(void **state) {
  (void)state;
  static const char *const wrap[2][2] = {
      {"", ""}, {"{\"model_cfg\": ", ", \"preprocess_cfg\": {\"mean\": [0.5, 0.25, 0.125], \"std\": [1, 0.5, 0.25]}}"}};
  for (int i = 0; i < ROWS; i++)
    for (int w = 0; w < 2; w++) {
      struct clip_config config;
      char *json = json_of(&table[i], wrap[w][0], wrap[w][1]),
           *path = text_format("test_config.%d.json", (int)getpid());
      assert_int_equal(file_write_atomic(path, json, strlen(json)), STATUS_OK);
      if (config_read(path, &config) != STATUS_OK)
        fail_msg("%s", error_message());
      unlink(path);
      assert_false(config.activation_known);
      expect_row(&table[i], &config);
      assert_true(config.image_mean[1] == (w ? 0.25f : 0.4578275f) && config.image_std[2] == (w ? 0.25f : 0.27577711f));
      memory_release(json);
      memory_release(path);
    }
}

static void work_is_counted(void **state) {
  (void)state;
  struct clip_config config;
  assert_int_equal(config_read("ViT-B-16", &config), STATUS_OK);
  assert_true(fabs(config_flops_image(&config, false) * 1e-9 - 35.13) < 0.05);
  assert_true(fabs(config_flops_image(&config, true) * 1e-9 - 32.70) < 0.05);
}

static void the_nearest_name_is_told(void **state) {
  (void)state;
  struct clip_config config;
  assert_int_equal(config_read("ViT-B-61", &config), STATUS_INPUT);
  assert_non_null(strstr(error_message(), "ViT-B-16"));
}

static void activation_is_never_guessed(void **state) {
  (void)state;
  struct clip_config config;
  struct model *model;
  assert_int_equal(config_read("ViT-B-16", &config), STATUS_OK);
  assert_int_equal(model_create(&config, device, DTYPE_F32, (struct model_switches){0}, &model), STATUS_INPUT);
  assert_non_null(strstr(error_message(), "activation"));
}

#define JSON(root, vision, text)                                                                                       \
  "{\"embed_dim\": 8, \"vision_cfg\": {\"image_size\": 16, \"width\": 64, \"layers\": 2, \"patch_size\": 8" vision     \
  "}, \"text_cfg\": {\"width\": 16, \"heads\": 2, \"layers\": 2, \"vocab_size\": 99, \"context_length\": 9" text       \
  "}" root "}"

/* Each is refused, and the message names what it is about. */
static void other_architectures_are_refused(void **state) {
  (void)state;
  static const struct {
    const char *json, *word;
  } bad[] = {
      {JSON("", ", \"timm_model_name\": \"vit_base\"", ""), "timm_model_name"},
      {JSON("", ", \"attentional_pool\": true", ""), "attentional_pool"},
      {JSON("", ", \"input_patchnorm\": true", ""), "input_patchnorm"},
      {JSON("", ", \"pool_type\": \"none\"", ""), "pool_type"},
      {JSON("", ", \"pos_embed_type\": \"sin_cos_2d\"", ""), "pos_embed_type"},
      {JSON("", ", \"norm_kwargs\": {\"eps\": 1e-6}", ""), "norm_kwargs"},
      {JSON("", ", \"act_kwargs\": {\"approximate\": \"tanh\"}", ""), "act_kwargs"},
      {"{\"embed_dim\": 8, \"vision_cfg\": {\"layers\": [3, 4, 6, 3], \"width\": 64}, \"text_cfg\": {}}", "ResNet"},
      {JSON("", "", ", \"hf_model_name\": \"roberta-base\""), "hf_model_name"},
      {JSON("", "", ", \"hf_tokenizer_name\": \"t5\""), "hf_tokenizer_name"},
      {JSON("", "", ", \"embed_cls\": true"), "embed_cls"},
      {JSON("", "", ", \"proj_bias\": true"), "proj_bias"},
      {JSON("", "", ", \"proj_type\": \"none\""), "proj_type"},
      {JSON("", "", ", \"pool_type\": \"last\""), "pool_type"},
      {JSON("", "", ", \"text_arch\": \"modern\""), "text_arch"},
      {JSON(", \"multimodal_cfg\": {\"width\": 8}", "", ""), "multimodal_cfg"},
      {JSON(", \"audio_cfg\": {\"width\": 8}", "", ""), "audio_cfg"},
      {JSON(", \"genlip_cfg\": {\"width\": 8}", "", ""), "genlip_cfg"},
      {JSON(", \"init_logit_bias\": -10", "", ""), "init_logit_bias"},
      {JSON("", ", \"head_width\": 20", ""), "head_width"},
      {JSON("", ", \"head_width\": 65", ""), "head_width"},
      {"{\"vision_cfg\": {\"patch_size\": [8, 4]}, \"text_cfg\": {}}", "square"},
      {JSON("", ", \"block_type\": \"other\"", ""), "block_type"},
      {JSON("", ", \"qk_norm\": true", ""), "qk_norm"},
      {JSON("", ", \"widht\": 64", ""), "did you mean 'width'"},
      {JSON("", "", ", \"scale_heads\": true"), "scale_heads"},
      {JSON("", "", ", \"layer\": 2"), "did you mean 'layers'"},
      {JSON("", "", ", \"tokenizer_mode\": \"clips\""), "tokenizer_mode"},
      {JSON("", "", ", \"tokenizer_kwargs\": {\"clean\": \"canonicalize\"}"), "clean"},
      {JSON("", "", ", \"tokenizer_kwargs\": {\"strip_sep_token\": true}"), "strip_sep_token"},
      {JSON(", \"quickgelu\": true", "", ""), "did you mean 'quick_gelu'"},
      {JSON("", "", ", \"tokenizer_kwargs\": [1]"), "must be an object"},
      {JSON(", \"memory\": 3", "", ""), "must be an object"},
      {JSON(", \"memory\": {\"layers\": [1], \"kn\": 3}", "", ""), "did you mean 'knn'"},
      {JSON("", ", \"width\": 64.5", ""), "width"},
      {JSON("", ", \"mlp_ratio\": \"four\"", ""), "mlp_ratio"},
      {JSON("", ", \"mlp_ratio\": 0.001", ""), "mlp_ratio"},
      {JSON("", ", \"patch_dropout\": 1.5", ""), "patch_dropout"},
      {JSON("", "", ", \"heads\": 3"), "heads"},
      {"{\"embed_dim\": 8, \"text_cfg\": {}}", "vision_cfg"},
      {"{\"embed_dim\": 8, \"vision_cfg\": {}}", "text_cfg"},
      {"[1]", "JSON object"},
      {"{\"embed_dim\": ", "JSON"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct clip_config config;
    if (config_parse(bad[i].json, "bad.json", &config) != STATUS_INPUT)
      fail_msg("accepted: %s", bad[i].json);
    if (!strstr(error_message(), bad[i].word) || !strstr(error_message(), "bad.json"))
      fail_msg("the message for %s is: %s", bad[i].word, error_message());
  }
}

/* Keys that say what we do anyway, and variants that are supported. */
static void variants_are_read(void **state) {
  (void)state;
  struct clip_config config;
  assert_int_equal(config_parse(JSON("", "", ""), "good.json", &config), STATUS_OK);
  assert_int_equal(config.vision.heads, 1);
  const char *neutral = JSON(
      ", \"custom_text\": true, \"nonscalar_logit_scale\": true, \"init_logit_scale\": 3, \"init_logit_bias\": null, "
      "\"multimodal_cfg\": null",
      ", \"timm_model_name\": null, \"attentional_pool\": false, \"pos_embed_type\": \"learnable\", \"norm_kwargs\": "
      "{\"eps\": 1e-5}, \"act_kwargs\": {}, \"pool_type\": \"tok\", \"output_tokens\": false, \"qk_norm\": false, "
      "\"block_type\": \"custom\", \"timm_pool\": \"avg\", \"head_width\": 48",
      ", \"tokenizer_kwargs\": {\"clean\": \"lower\"}, \"hf_model_name\": \"\", \"proj_type\": \"linear\", "
      "\"pool_type\": \"argmax\", \"pad_id\": 0, \"eos_id\": 98, "
      "\"no_causal_mask\": true");
  if (config_parse(neutral, "good.json", &config) != STATUS_OK)
    fail_msg("%s", error_message());
  assert_true(config.init_logit_scale == 3 && config.no_causal_mask);
  const char *variant = JSON("",
                             ", \"ls_init_value\": 0.1, \"no_ln_pre\": true, \"pool_type\": \"avg\", "
                             "\"final_ln_after_pool\": true, \"patch_dropout\": 0.25, \"mlp_ratio\": 4.3637",
                             ", \"ls_init_value\": 0.2, \"mlp_ratio\": 2");
  if (config_parse(variant, "good.json", &config) != STATUS_OK)
    fail_msg("%s", error_message());
  assert_true(config.vision.layer_scale == 0.1 && config.text.layer_scale == 0.2 && config.no_ln_pre &&
              config.final_ln_after_pool && config.vision_pool == POOL_AVERAGE && config.patch_dropout == 0.25);
  assert_int_equal(config.vision.mlp_width, 279);
  assert_int_equal(config.text.mlp_width, 32);
  const char *oblong = "{\"vision_cfg\": {\"image_size\": [16, 24], \"patch_size\": [8, 8]}, \"text_cfg\": {}}";
  assert_int_equal(config_parse(oblong, "good.json", &config), STATUS_OK);
  assert_int_equal(config_vision_tokens(&config), 2 * 3 + 1);
  assert_int_equal(config.text.heads, 8);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(built_in_names),
      cmocka_unit_test(json_files),
      cmocka_unit_test(work_is_counted),
      cmocka_unit_test(the_nearest_name_is_told),
      cmocka_unit_test(activation_is_never_guessed),
      cmocka_unit_test(other_architectures_are_refused),
      cmocka_unit_test(variants_are_read),
  };
  if (device_open("cpu", 1, &device) != STATUS_OK)
    fatal("%s", error_message());
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  device_close(device);
  return failed;
}

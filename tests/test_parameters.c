/* The registry: initial values by distribution (contract 1.7, methods 1.5), decay, and what the words of model.train
 * mean. */
#include "base/memory.h"
#include "base/text.h"
#include "model/model.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static struct device *device;

/* Vision width 128, 3 layers; text width 96, 4 layers; memories of both widths in either tower. */
#define MODEL(memory)                                                                                                  \
  "{\"embed_dim\": 80, \"quick_gelu\": true, \"vision_cfg\": {\"image_size\": 64, \"layers\": 3, \"width\": 128, "     \
  "\"head_width\": 32, \"patch_size\": 8, \"ls_init_value\": 0.25}, \"text_cfg\": {\"context_length\": 77, "           \
  "\"vocab_size\": 500, \"width\": 96, \"heads\": 4, \"layers\": 4}" memory "}"
#define MEMORY(tower, more)                                                                                            \
  ", \"memory\": {\"tower\": \"" tower "\", \"layers\": [1, 2], \"n_keys\": 20, \"heads\": 3, \"knn\": 4, "            \
  "\"k_dim\": 60, \"gated\": true" more "}"

static struct model *open_model(const char *json, bool meta) {
  struct clip_config config;
  struct model *model;
  if (config_parse(json, "test", &config) != STATUS_OK)
    fail_msg("%s", error_message());
  config.vision.memory.meta_init = config.text.memory.meta_init = meta;
  assert_int_equal(model_create(&config, device, DTYPE_F32, (struct model_switches){0}, &model), STATUS_OK);
  parameters_allocate(&model->parameters, false);
  parameters_initialize(&model->parameters, 11);
  return model;
}

enum distribution { CONSTANT, NORMAL, UNIFORM };
/* The first pattern that matches a name decides. */
struct rule {
  const char *pattern;
  enum distribution distribution;
  double scale; /* value, standard deviation, or half the width of the interval */
};

static void expect_distribution(const struct parameter *parameter, const float *values, const struct rule *rule) {
  const double n = (double)parameter->count;
  double sum = 0, squares = 0, largest = 0;
  for (int64_t i = 0; i < parameter->count; i++) {
    sum += (double)values[i];
    squares += (double)values[i] * (double)values[i];
    largest = fmax(largest, fabs((double)values[i]));
  }
  const double deviation = rule->distribution == UNIFORM ? rule->scale / sqrt(3) : rule->scale;
  bool right = true;
  if (rule->distribution == CONSTANT)
    right = squares / n - 2 * rule->scale * sum / n + rule->scale * rule->scale <= 1e-14;
  else /* five standard errors of the mean and of the mean square */
    right = fabs(sum / n) <= 5 * deviation / sqrt(n) &&
            fabs(squares / n - deviation * deviation) <= 5 * deviation * deviation * sqrt(2 / n);
  if (rule->distribution == UNIFORM)
    right = right && largest <= rule->scale * (1 + 1e-6) && largest >= rule->scale * (1 - 12 / n);
  if (rule->distribution == NORMAL && n > 1000)
    right = right && largest > 2.5 * deviation;
  if (!right)
    fail_msg("%s: mean %g, deviation %g, largest %g; expected %s %g", parameter->name, sum / n, sqrt(squares / n),
             largest, (const char *[]){"all", "normal", "uniform"}[rule->distribution], rule->scale);
}

static void expect_rules(struct model *model, const struct rule *rules, size_t count) {
  struct parameters *list = &model->parameters;
  for (int i = 0; i < list->count; i++) {
    const struct parameter *parameter = list->items[i];
    size_t r = 0;
    while (r < count && !text_match(rules[r].pattern, parameter->name))
      r++;
    if (r == count)
      fail_msg("no rule for %s", parameter->name);
    float *values = memory_allocate((size_t)parameter->count * sizeof *values, "values");
    parameter_get(list, parameter, values);
    expect_distribution(parameter, values, &rules[r]);
    memory_release(values);
  }
}

static void clip_initial_values(void **state) {
  (void)state;
  const double d = 128, w = 96, deep = sqrt(2 * 4.0);
  const struct rule rules[] = {
      {"logit_scale", CONSTANT, log(1 / 0.07)},
      {"*ln_*.weight", CONSTANT, 1},
      {"*ln_*.bias", CONSTANT, 0},
      {"*.ls_?.gamma", CONSTANT, 0.25},
      {"*.attn.in_proj_bias", CONSTANT, 0},
      {"*.attn.out_proj.bias", CONSTANT, 0},
      {"visual.class_embedding", NORMAL, 1 / sqrt(d)},
      {"visual.positional_embedding", NORMAL, 1 / sqrt(d)},
      {"visual.proj", NORMAL, 1 / sqrt(d)},
      {"visual.conv1.weight", UNIFORM, 1 / sqrt(3 * 64.0)},
      {"visual.*.attn.in_proj_weight", UNIFORM, sqrt(6 / (4 * d))},
      {"visual.*.attn.out_proj.weight", UNIFORM, 1 / sqrt(d)},
      {"visual.*.mlp.c_fc.*", UNIFORM, 1 / sqrt(d)},
      {"visual.*.mlp.c_proj.*", UNIFORM, 1 / sqrt(4 * d)},
      {"positional_embedding", NORMAL, 0.01},
      {"token_embedding.weight", NORMAL, 0.02},
      {"text_projection", NORMAL, 1 / sqrt(w)},
      {"transformer.*.attn.in_proj_weight", NORMAL, 1 / sqrt(w)},
      {"transformer.*.attn.out_proj.weight", NORMAL, 1 / sqrt(w) / deep},
      {"transformer.*.mlp.c_fc.weight", NORMAL, 1 / sqrt(2 * w)},
      {"transformer.*.mlp.c_fc.bias", UNIFORM, 1 / sqrt(w)},
      {"transformer.*.mlp.c_proj.weight", NORMAL, 1 / sqrt(w) / deep},
      {"transformer.*.mlp.c_proj.bias", UNIFORM, 1 / sqrt(4 * w)},
  };
  struct model *model = open_model(MODEL(""), false);
  expect_rules(model, rules, sizeof rules / sizeof *rules);
  model_release(model);
}

/* C width of the tower, V of the values, H * d of the queries. */
static void memory_initial_values(void **state) {
  (void)state;
  static const struct {
    const char *json;
    double c, v;
  } cases[] = {{MODEL(MEMORY("vision", ", \"v_dim\": 48")), 128, 48}, {MODEL(MEMORY("text", "")), 96, 96}};
  for (int i = 0; i < 4; i++) {
    const double c = cases[i / 2].c, v = cases[i / 2].v, d = 60, queries = 3 * d;
    const bool meta = i % 2;
    const struct rule rules[] = {
        {"*.mlp.keys", meta ? UNIFORM : NORMAL, meta ? 1 / sqrt(d) : 0.02},
        {"*.mlp.values.weight", NORMAL, meta ? 1 / sqrt(v) : 1},
        {"*.query_mlps.0.weight", UNIFORM, meta ? sqrt(6 / (c + queries)) : 1 / sqrt(c)},
        {"*.query_mlps.0.bias", UNIFORM, 1 / sqrt(c)},
        {"*.swilu_projection.weight", meta ? NORMAL : UNIFORM, 1 / sqrt(c)},
        {"*.swilu_projection.bias", UNIFORM, 1 / sqrt(c)},
        {"*.value_proj.weight", meta ? NORMAL : UNIFORM, meta ? 1 / sqrt(c) : 1 / sqrt(v)},
        {"*.value_proj.bias", UNIFORM, 1 / sqrt(v)},
        {"*.gating.weight", meta ? NORMAL : UNIFORM, 1 / sqrt(c)},
        {"*.gating.bias", UNIFORM, 1 / sqrt(c)},
    };
    struct model *model = open_model(cases[i / 2].json, meta);
    struct parameters memory = model->parameters;
    memory.items = memory_allocate((size_t)memory.count * sizeof *memory.items, "memory parameters");
    memory.count = 0;
    for (int p = 0; p < model->parameters.count; p++)
      if (model->parameters.items[p]->memory)
        memory.items[memory.count++] = model->parameters.items[p];
    assert_int_equal(memory.count, 2 * 9 + 1); /* one table for both layers */
    struct model only = {.parameters = memory};
    expect_rules(&only, rules, sizeof rules / sizeof *rules);
    memory_release(memory.items);
    model_release(model);
  }
}

/* A tensor's values depend on the seed and its name alone. */
static void values_belong_to_names(void **state) {
  (void)state;
  struct model *plain = open_model(MODEL(""), false), *with = open_model(MODEL(MEMORY("vision", "")), false);
  const char *name = "transformer.resblocks.3.mlp.c_proj.bias";
  float a[96], b[96];
  parameter_get(&plain->parameters, parameters_find(&plain->parameters, name), a);
  parameter_get(&with->parameters, parameters_find(&with->parameters, name), b);
  assert_memory_equal(a, b, sizeof a);
  assert_int_equal(parameters_checksum(&plain->parameters, "transformer."),
                   parameters_checksum(&with->parameters, "transformer."));
  assert_int_not_equal(parameters_checksum(&plain->parameters, "visual."),
                       parameters_checksum(&with->parameters, "visual."));
  struct parameter *bias = parameters_find(&with->parameters, name);
  b[5] += 1;
  parameter_set(&with->parameters, bias, b);
  assert_int_not_equal(parameters_checksum(&plain->parameters, "transformer."),
                       parameters_checksum(&with->parameters, "transformer."));
  assert_ptr_equal(parameters_find(&with->parameters, "visual.transformer.resblocks.1.mlp.values.weight"),
                   parameters_find(&with->parameters, "visual.transformer.resblocks.2.mlp.values.weight"));
  model_release(plain);
  model_release(with);
}

static void decay_follows_the_rule(void **state) {
  (void)state;
  struct model *model = open_model(MODEL(MEMORY("vision", "")), false);
  struct parameters *list = &model->parameters;
  const char *pattern = "*positional_embedding";
  static const char *const decayed[] = {"visual.positional_embedding",
                                        "token_embedding.weight",
                                        "visual.proj",
                                        "visual.conv1.weight",
                                        "visual.transformer.resblocks.1.mlp.keys",
                                        "visual.transformer.resblocks.1.mlp.values.weight",
                                        "visual.transformer.resblocks.1.mlp.gating.weight"},
                           *const spared[] = {"logit_scale",
                                              "visual.class_embedding",
                                              "ln_final.weight",
                                              "visual.transformer.resblocks.0.ln_1.weight",
                                              "visual.transformer.resblocks.0.ls_1.gamma",
                                              "visual.transformer.resblocks.0.attn.in_proj_bias",
                                              "visual.transformer.resblocks.1.mlp.gating.bias"};
  for (size_t i = 0; i < sizeof decayed / sizeof *decayed; i++)
    if (!parameters_find(list, decayed[i])->decay)
      fail_msg("%s is not decayed", decayed[i]);
  for (size_t i = 0; i < sizeof spared / sizeof *spared; i++)
    if (parameters_find(list, spared[i])->decay)
      fail_msg("%s is decayed", spared[i]);
  parameters_set_decay(list, &pattern, 1);
  assert_false(parameters_find(list, "visual.positional_embedding")->decay);
  assert_false(parameters_find(list, "positional_embedding")->decay);
  assert_true(parameters_find(list, "visual.proj")->decay);
  model_release(model);
}

/* Marks of a name: v vision, t text, s the scale of logits, m memory; and block numbers. */
static bool expected_to_train(const char *word, const struct parameter *parameter) {
  const char *name = parameter->name, *block = strstr(name, "resblocks.");
  const bool vision = text_starts_with(name, "visual."), scale = strcmp(name, "logit_scale") == 0;
  const int number = block ? block[strlen("resblocks.")] - '0' : -1;
  if (strcmp(word, "all") == 0)
    return true;
  if (strcmp(word, "memory") == 0)
    return number >= 1 && vision && strstr(name, ".mlp.");
  if (strcmp(word, "vision") == 0)
    return vision;
  if (strcmp(word, "text") == 0)
    return !vision && !scale;
  if (strcmp(word, "vision:last2") == 0)
    return vision && (number >= 1 || strstr(name, "ln_post") || strcmp(name, "visual.proj") == 0);
  if (strcmp(word, "text:last1") == 0)
    return !vision && (number == 3 || strstr(name, "ln_final") || strcmp(name, "text_projection") == 0);
  if (strcmp(word, "*.attn.*") == 0)
    return strstr(name, ".attn.");
  return strcmp(word, name) == 0;
}

static void words_of_train(void **state) {
  (void)state;
  static const char *const words[] = {"all",          "memory",     "vision",   "text",
                                      "vision:last2", "text:last1", "*.attn.*", "visual.conv1.weight"};
  enum { WORDS = sizeof words / sizeof *words };
  struct model *model = open_model(MODEL(MEMORY("vision", "")), false);
  struct parameters *list = &model->parameters;
  for (int w = 0; w < WORDS; w++) {
    const char *pair[] = {words[w], words[(w + 3) % WORDS]};
    for (int count = 1; count <= 2; count++) { /* a list trains what any of its words names */
      assert_int_equal(model_set_trainable(model, pair, count), STATUS_OK);
      for (int i = 0; i < list->count; i++) {
        const bool expected =
            expected_to_train(pair[0], list->items[i]) || (count == 2 && expected_to_train(pair[1], list->items[i]));
        if (list->items[i]->trainable != expected)
          fail_msg("%s%s%s: %s is %s", pair[0], count == 2 ? " and " : "", count == 2 ? pair[1] : "",
                   list->items[i]->name, expected ? "frozen" : "trained");
      }
    }
  }
  const char *none = "visual.transformer.resblocks.9.*", *part = "vision:last2x", *zero = "vision:last0",
             *many = "vision:last4";
  assert_int_equal(model_set_trainable(model, &none, 1), STATUS_INPUT);
  assert_non_null(strstr(error_message(), none));
  assert_int_equal(model_set_trainable(model, &part, 1), STATUS_INPUT);
  assert_int_equal(model_set_trainable(model, &zero, 1), STATUS_OK); /* norm and projection alone */
  assert_int_equal(model_set_trainable(model, &many, 1), STATUS_INPUT);
  model_release(model);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(clip_initial_values),    cmocka_unit_test(memory_initial_values),
      cmocka_unit_test(values_belong_to_names), cmocka_unit_test(decay_follows_the_rule),
      cmocka_unit_test(words_of_train),
  };
  if (device_open("cpu", 1, &device) != STATUS_OK)
    fatal("%s", error_message());
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  device_close(device);
  return failed;
}

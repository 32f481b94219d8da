/* Import and export: going there and back changes no bit, every tensor is accounted for, what nothing says is asked
 * for, positional tables are resampled as open_clip does it, the shapes of every published model give its
 * configuration. */
#include "base/file.h"
#include "base/memory.h"
#include "io/safetensors.h"
#include "network.h"
#include "resample.h"
#include "train/weights.h"
#include "weight_export.h"
#include "weight_import.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static struct device *device;

static void assert_ok(enum status status) {
  if (status != STATUS_OK)
    fail_msg("status %d: %s", (int)status, error_message());
}

/* A file of tests/parity into imported.h5; `report` may be NULL. */
static enum status import_path(const char *path, const struct config_request *config, const char *skip,
                               struct import_summary *summary, struct text *report) {
  struct text own = {0};
  const struct import_request request = {
      .source = path, .out = "imported.h5", .config = *config, .skip = &skip, .skip_count = skip ? 1 : 0};
  const enum status status = weight_import(&request, summary, report ? report : &own);
  text_release(&own);
  return status;
}

static enum status import_fixture(const char *name, const char *config, const char *activation,
                                  struct import_summary *summary, struct text *report) {
  char *path = fixture_path(name), *config_path = config ? fixture_path(config) : NULL;
  const struct config_request request = {.config = config_path, .activation = activation};
  const enum status status = import_path(path, &request, NULL, summary, report);
  memory_release(path);
  memory_release(config_path);
  return status;
}

/* `prefix`: the original has wrappers before its names. */
static void expect_same_weights(const char *path, const char *original, bool prefix, bool all_shapes) {
  struct tensor_file ours, theirs;
  char *original_path = fixture_path(original);
  assert_ok(tensor_file_open(path, NULL, &ours));
  assert_ok(tensor_file_open(original_path, NULL, &theirs));
  assert_int_equal(ours.count, theirs.count);
  for (int64_t i = 0; i < theirs.count; i++) {
    struct weight_name wanted;
    weight_name_resolve(theirs.views[i].name, &wanted);
    const char *name = prefix ? wanted.name : theirs.views[i].name;
    const struct tensor_view *view = NULL;
    for (int64_t j = 0; j < ours.count; j++)
      if (strcmp(ours.views[j].name, name) == 0)
        view = &ours.views[j];
    if (!view || view->dtype != theirs.views[i].dtype || view->elements != theirs.views[i].elements)
      fail_msg("%s is not there as it was", name);
    if (all_shapes)
      assert_true(view->axes == theirs.views[i].axes &&
                  memcmp(view->shape, theirs.views[i].shape, sizeof view->shape) == 0);
    const size_t bytes = (size_t)view->elements * dtype_size(view->dtype);
    void *a = memory_allocate(bytes, "a"), *b = memory_allocate(bytes, "b");
    assert_ok(tensor_view_read(view, view->dtype, a));
    assert_ok(tensor_view_read(&theirs.views[i], view->dtype, b));
    assert_memory_equal(a, b, bytes);
    memory_release(a);
    memory_release(b);
    memory_release(wanted.name);
  }
  tensor_file_close(&ours);
  tensor_file_close(&theirs);
  memory_release(original_path);
}

static void export_to(const char *out) {
  struct export_summary summary;
  assert_ok(weight_export(&(struct export_request){.source = "imported.h5", .out = out}, &summary));
  assert_string_equal(summary.config_path, "open_clip_config.json");
  memory_release(summary.config_path);
}

static void round_trips(void **state) {
  (void)state;
  static const struct {
    const char *weights, *config, *activation;
    bool prefix;
  } cases[] = {{"parity/clip/weights.safetensors", NULL, "gelu", false},
               {"parity/clip/checkpoint.pt", NULL, "quickgelu", true},
               {"parity/student/student.pt", "parity/student/config.json", "quickgelu", true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct import_summary summary;
    assert_ok(import_fixture(cases[i].weights, cases[i].config, cases[i].activation, &summary, NULL));
    for (int form = 0; form < 2; form++) {
      const char *out = form ? "exported.pt" : "exported.safetensors";
      struct clip_config config;
      export_to(out);
      expect_same_weights(out, cases[i].weights, cases[i].prefix, i < 2);
      assert_ok(config_read("open_clip_config.json", &config));
      assert_true(config.activation_known &&
                  (config.activation == ACTIVATION_QUICKGELU) == (cases[i].activation[0] == 'q'));
      assert_int_equal(config.vision.memory.count, i == 2 ? 2 : 0);
      /* and in again, the configuration now lying beside it */
      assert_ok(import_path(out, &(struct config_request){0}, NULL, &summary, NULL));
      unlink(out);
      unlink("open_clip_config.json");
    }
  }
}

/* One storage under every layer, in our file and in the exported one. */
static void shared_table(void **state) {
  (void)state;
  struct import_summary summary;
  struct text report = {0};
  struct store *store;
  struct tensor_file file;
  const void *tables[2] = {NULL, NULL};
  assert_ok(import_fixture("parity/student/student.pt", "parity/student/config.json", "quickgelu", &summary, &report));
  assert_non_null(strstr(report.data, "shared "));
  assert_ok(store_open("imported.h5", &store));
  assert_true(store_has(store, "model/visual.transformer.resblocks.1.mlp.values.weight"));
  store_close(store);
  export_to("exported.pt");
  assert_ok(tensor_file_open("exported.pt", NULL, &file));
  assert_non_null(strstr(file.what, "training checkpoint of epoch"));
  for (int64_t i = 0; i < file.count; i++) {
    int block;
    if (sscanf(file.views[i].name, "visual.transformer.resblocks.%d.mlp.values.weight", &block) == 1 &&
        strstr(file.views[i].name, "values"))
      tables[block] = file.views[i].data;
    if (strcmp(file.views[i].name, "logit_scale") == 0)
      assert_int_equal(file.views[i].axes, 1);
  }
  assert_true(tables[0] && tables[0] == tables[1]);
  tensor_file_close(&file);
  text_release(&report);
  unlink("exported.pt");
  unlink("open_clip_config.json");
}

static void conversion(void **state) {
  (void)state;
  struct import_summary summary;
  struct export_summary exported;
  struct safetensors file;
  assert_ok(import_fixture("parity/clip/checkpoint.pt", NULL, "gelu", &summary, NULL));
  assert_ok(weight_export(
      &(struct export_request){
          .source = "imported.h5", .out = "exported.safetensors", .convert = true, .dtype = DTYPE_BF16},
      &exported));
  memory_release(exported.config_path);
  assert_ok(safetensors_open("exported.safetensors", &file));
  for (int64_t i = 0; i < file.count; i++)
    assert_int_equal(file.entries[i].dtype, DTYPE_BF16);
  safetensors_close(&file);
  unlink("exported.safetensors");
  unlink("open_clip_config.json");
}

static void reports(void **state) {
  (void)state;
  struct import_summary summary;
  struct text report = {0};
  assert_ok(import_fixture("parity/huggingface/model.safetensors", NULL, NULL, &summary, &report));
  assert_true(summary.taken == 1 && summary.passed_over == 1 && summary.missing == 0 && summary.unknown == 0);
  assert_int_equal(summary.renamed, 12 * 3 + 14 - 1);
  assert_non_null(strstr(report.data, "visual_projection.weight -> visual.proj  (transposed)"));
  assert_non_null(strstr(report.data, "passed over text_model.embeddings.position_ids  (position numbers)"));
  assert_non_null(strstr(report.data, "activation quickgelu, from "));
  text_release(&report);
}

static void expect_refusal(enum status status, const char *words) {
  if (status != STATUS_INPUT || !strstr(error_message(), words))
    fail_msg("status %d, wanted \"%s\": %s", (int)status, words, status ? error_message() : "accepted");
}

/* transformers' preprocessor_config.json beside weights of its form, in the forms of its versions. */
static void pictures_of_hugging_face(void **state) {
  (void)state;
  static const struct {
    const char *json, *mode, *interpolation, *refusal;
    float mean, std;
  } cases[] = {
      {"{\"size\": 4, \"crop_size\": 4, \"do_center_crop\": true, \"do_resize\": true, \"do_normalize\": true, "
       "\"resample\": 3, \"image_mean\": [0.5, 0.25, 0.125], \"image_std\": [0.75, 0.5, 0.25]}",
       "shortest", "bicubic", NULL, 0.5f, 0.75f},
      {"{\"size\": {\"shortest_edge\": 4}, \"crop_size\": {\"height\": 4, \"width\": 4}, \"resample\": 2, "
       "\"rescale_factor\": 0.00392156862745098, \"do_normalize\": false}",
       "shortest", "bilinear", NULL, 0, 1},
      {"{\"size\": {\"height\": 4, \"width\": 4}, \"do_center_crop\": false, \"resample\": 3, "
       "\"image_mean\": [0.5, 0.5, 0.5], \"image_std\": [0.5, 0.5, 0.5]}",
       "squash", "bicubic", NULL, 0.5f, 0.5f},
      {"{\"size\": {\"shortest_edge\": 256}, \"crop_size\": 4}", NULL, NULL, "resized to 256", 0, 0},
      {"{\"size\": 4, \"resample\": 1}", NULL, NULL, "resample 1", 0, 0},
      {"{\"size\": 4, \"do_center_crop\": false}", NULL, NULL, "do_center_crop", 0, 0},
      {"{\"size\": 4, \"rescale_factor\": 1}", NULL, NULL, "divided by 255", 0, 0},
      {"{\"size\": 4, \"image_mean\": [1, 2]}", NULL, NULL, "three numbers", 0, 0},
      {"{\"size\": 4, \"image_std\": [1, 2, 0]}", NULL, NULL, "above 0", 0, 0},
      {"[", NULL, NULL, "not a JSON object", 0, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct clip_config config;
    struct text report = {0};
    assert_ok(config_read("ViT-B-32", &config));
    config.image_height = config.image_width = 4;
    assert_ok(file_write_atomic("preprocessor.json", cases[i].json, strlen(cases[i].json)));
    const enum status status = weight_config_read_preprocessor("preprocessor.json", &config, &report);
    if (cases[i].refusal) {
      expect_refusal(status, cases[i].refusal);
    } else {
      assert_ok(status);
      assert_string_equal(config.resize_mode, cases[i].mode);
      assert_string_equal(config.interpolation, cases[i].interpolation);
      assert_true(config.image_mean[0] == cases[i].mean && config.image_std[0] == cases[i].std);
      assert_non_null(strstr(report.data, "preprocessor.json"));
    }
    text_release(&report);
  }
  unlink("preprocessor.json");
}

/* ---- what is refused: weights.safetensors of the fixtures with a change */

static struct safetensors weights;

static enum status import_changed(struct tensor_entry *entries, int64_t count, const struct config_request *config,
                                  const char *skip) {
  struct import_summary summary;
  assert_ok(safetensors_write("changed.safetensors", entries, count, NULL));
  return import_path("changed.safetensors", config, skip, &summary, NULL);
}

static void refusals(void **state) {
  (void)state;
  char *path = fixture_path("parity/clip/weights.safetensors"),
       *json = fixture_path("parity/clip/open_clip_config.json");
  const struct config_request good = {.config = json, .activation = "gelu"};
  assert_ok(safetensors_open(path, &weights));
  const int64_t count = weights.count;
  struct tensor_entry *entries = memory_allocate((size_t)(count + 1) * sizeof *entries, "entries");
  memcpy(entries, weights.entries, (size_t)count * sizeof *entries);
  assert_ok(import_changed(entries, count, &good, NULL));
  /* one is missing, one too many, one of another architecture, two of a name */
  expect_refusal(import_changed(entries + 1, count - 1, &good, NULL), "tensors are missing");
  static float number = 1;
  entries[count] = (struct tensor_entry){.name = "visual.extra", .dtype = DTYPE_F32, .elements = 1, .data = &number};
  expect_refusal(import_changed(entries, count + 1, &good, NULL),
                 "have no place in the model, the first is visual.extra");
  assert_ok(import_changed(entries, count + 1, &good, "visual.ex*"));
  entries[count].name = "logit_bias";
  expect_refusal(import_changed(entries, count + 1, &good, NULL), "SigLIP");
  entries[count].name = "visual.trunk.norm.weight";
  expect_refusal(import_changed(entries, count + 1, &good, NULL), "timm");
  entries[count].name = "module.logit_scale";
  expect_refusal(import_changed(entries, count + 1, &good, NULL), "are logit_scale");
  entries[count].name = "vision_model.encoder.layers.0.self_attn.q_proj.bias";
  entries[count].axes = 1, entries[count].shape[0] = 1;
  expect_refusal(import_changed(entries, count + 1, &good, NULL), "cannot be put together");
  /* not a number; of another shape */
  float poison[64];
  for (int i = 0; i < 64; i++)
    poison[i] = NAN;
  for (int64_t i = 0; i < count; i++)
    if (strcmp(entries[i].name, "visual.proj") == 0)
      entries[i].dtype = DTYPE_F32, entries[i].data = poison;
  expect_refusal(import_changed(entries, count, &good, NULL), "not finite");
  memcpy(entries, weights.entries, (size_t)count * sizeof *entries);
  for (int64_t i = 0; i < count; i++)
    if (strcmp(entries[i].name, "ln_final.weight") == 0)
      entries[i].axes = 2, entries[i].shape[0] = 2, entries[i].shape[1] = 2;
  expect_refusal(import_changed(entries, count, &good, NULL), "another configuration");
  /* what nothing says */
  memcpy(entries, weights.entries, (size_t)count * sizeof *entries);
  expect_refusal(import_changed(entries, count, &(struct config_request){.activation = "gelu"}, NULL),
                 "number of heads");
  expect_refusal(import_changed(entries, count, &(struct config_request){.config = json}, NULL), "which activation");
  expect_refusal(import_changed(entries, count, &(struct config_request){.config = "ViT-B-32"}, NULL), "embed_dim");
  memory_release(entries);
  safetensors_close(&weights);
  memory_release(path);
  memory_release(json);
  unlink("changed.safetensors");
}

static void contradictions(void **state) {
  (void)state;
  struct import_summary summary;
  expect_refusal(import_fixture("parity/huggingface/model.safetensors", NULL, "gelu", &summary, NULL),
                 "the command line says gelu");
  expect_refusal(
      import_fixture("parity/student/student.pt", "parity/clip/open_clip_config.json", "gelu", &summary, NULL),
      "--knn N");
  char *path = fixture_path("parity/student/student.pt"), *json = fixture_path("parity/clip/open_clip_config.json"),
       *own = fixture_path("parity/student/config.json");
  assert_ok(import_path(path, &(struct config_request){json, "gelu", 2}, NULL, &summary, NULL));
  expect_refusal(import_path(path, &(struct config_request){json, "gelu", 5}, NULL, &summary, NULL),
                 "larger than n_keys");
  expect_refusal(import_path(path, &(struct config_request){own, "gelu", 3}, NULL, &summary, NULL), "knn 2");
  memory_release(path);
  memory_release(json);
  memory_release(own);
  path = fixture_path("parity/clip/weights.safetensors"), own = fixture_path("parity/student/config.json");
  expect_refusal(import_path(path, &(struct config_request){own, "gelu", false}, NULL, &summary, NULL), "memories");
  memory_release(path);
  memory_release(own);
}

/* Every block of the student's vision tower has a memory: no weight shows the width of an MLP, only the configuration
 * says it. */
static void memories_alone(void **state) {
  (void)state;
  static const char vision[] = "\"vision_cfg\": {";
  struct import_summary summary;
  struct clip_config config;
  struct text json = {0}, changed = {0};
  char *path = fixture_path("parity/student/student.pt"), *own = fixture_path("parity/student/config.json");
  assert_ok(file_read(own, &json));
  const char *at = strstr(json.data, vision);
  assert_non_null(at);
  text_append(&changed, json.data, (size_t)(at - json.data));
  text_append_format(&changed, "%s\"mlp_ratio\": 2,%s", vision, at + strlen(vision));
  assert_ok(file_write_atomic("ratio.json", changed.data, changed.length));
  assert_ok(import_path(path, &(struct config_request){"ratio.json", "quickgelu", 0}, NULL, &summary, NULL));
  assert_ok(weights_read_config("imported.h5", &config));
  assert_int_equal(config.vision.mlp_width, 2 * config.vision.width);
  unlink("ratio.json");
  text_release(&json);
  text_release(&changed);
  memory_release(path);
  memory_release(own);
}

/* Experts (PEER) as the thesis saves them: with projections that it allocates and never uses. */
static void unused_projections(void **state) {
  (void)state;
  static const char json[] =
      "{\"embed_dim\": 8, \"quick_gelu\": false, \"vision_cfg\": {\"image_size\": 16, \"layers\": 2, \"width\": 64, "
      "\"patch_size\": 8}, \"text_cfg\": {\"context_length\": 8, \"vocab_size\": 600, "
      "\"width\": 64, \"heads\": 1, \"layers\": 1}, \"memory\": {\"layers\": [1], \"n_keys\": 5, "
      "\"heads\": 2, \"knn\": 2, \"k_dim\": 8, \"peer\": true}}";
  static char unused[] = "visual.transformer.resblocks.1.mlp.value_proj.bias",
              foreign[] = "visual.transformer.resblocks.1.mlp.other.bias";
  static const float zeros[64];
  struct clip_config config;
  struct model *model;
  struct import_summary summary;
  assert_ok(config_parse(json, "test", &config));
  assert_ok(model_create(&config, device, DTYPE_F32, (struct model_switches){0}, &model));
  parameters_allocate(&model->parameters, false);
  const int64_t count = model->parameters.count;
  struct tensor_entry *entries = memory_allocate((size_t)(count + 1) * sizeof *entries, "entries");
  for (int64_t i = 0; i < count; i++) {
    const struct parameter *parameter = model->parameters.items[i];
    float *data = memory_allocate((size_t)parameter->count * sizeof *data, "data");
    entries[i] = (struct tensor_entry){parameter->name, DTYPE_F32, parameter->axes, {0}, parameter->count, data};
    memcpy(entries[i].shape, parameter->shape, sizeof parameter->shape);
    parameter_get(&model->parameters, parameter, data);
  }
  entries[count] = (struct tensor_entry){unused, DTYPE_F32, 1, {64}, 64, zeros};
  const struct config_request request = {.activation = "gelu", .knn = 2};
  assert_ok(safetensors_write("changed.safetensors", entries, count + 1, NULL));
  assert_ok(import_path("changed.safetensors", &request, NULL, &summary, NULL));
  assert_int_equal(summary.passed_over, 1);
  entries[count].name = foreign;
  expect_refusal(import_changed(entries, count + 1, &request, NULL),
                 "the first is visual.transformer.resblocks.1.mlp.other");
  for (int64_t i = 0; i < count; i++)
    memory_release((void *)entries[i].data);
  memory_release(entries);
  model_release(model);
  unlink("changed.safetensors");
}

/* ---- positional tables */

static void check_table(const struct safetensors *file, const char *kind, int64_t old, int64_t length, double bound) {
  char *from_name = text_format("%s.%lld.%lld.in", kind, (long long)old, (long long)length),
       *to_name = text_format("%s.%lld.%lld.out", kind, (long long)old, (long long)length);
  int64_t count;
  float *from = fixture_floats(file, from_name, NULL), *wanted = fixture_floats(file, to_name, &count),
        *to = memory_allocate((size_t)count * sizeof *to, "table");
  if (kind[0] == 'g')
    resample_grid(from, old, to, length, length, 1);
  else
    resample_line(from, old, to, length, 1);
  for (int64_t i = 0; i < count; i++)
    if (!(fabsf(to[i] - wanted[i]) <= bound))
      fail_msg("%s %lld: %.8g, open_clip has %.8g", to_name, (long long)i, (double)to[i], (double)wanted[i]);
  void *blocks[] = {from, wanted, to, from_name, to_name};
  for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
    memory_release(blocks[i]);
}

static void tables(void **state) {
  (void)state;
  struct safetensors file = fixture_open("parity/tables.safetensors");
  check_table(&file, "grid", 7, 8, 1e-5);
  check_table(&file, "grid", 4, 7, 1e-5);
  check_table(&file, "grid", 7, 4, 1e-5);
  check_table(&file, "line", 16, 10, 1e-5);
  check_table(&file, "line", 10, 16, 1e-5);
  safetensors_close(&file);
}

/* A configuration of larger images and longer texts than the weights'. */
static void other_sizes(void **state) {
  (void)state;
  static const char json[] =
      "{\"embed_dim\": 6, \"quick_gelu\": false, \"vision_cfg\": {\"image_size\": 6, \"layers\": 2, \"width\": 4, "
      "\"head_width\": 2, \"patch_size\": 2}, \"text_cfg\": {\"context_length\": 11, \"vocab_size\": 23, \"width\": 4, "
      "\"heads\": 2, \"layers\": 1}}";
  char *path = fixture_path("parity/clip/weights.safetensors");
  struct import_summary summary;
  struct store *store;
  struct safetensors file;
  float table[10 * 4], *old;
  assert_ok(file_write_atomic("large.json", json, strlen(json)));
  assert_ok(import_path(path, &(struct config_request){.config = "large.json"}, NULL, &summary, NULL));
  assert_int_equal(summary.resampled, 2);
  assert_ok(safetensors_open(path, &file));
  assert_ok(store_open("imported.h5", &store));
  assert_ok(store_read(store, "model/visual.positional_embedding", DTYPE_F32, 40, table));
  old = fixture_floats(&file, "visual.positional_embedding", NULL);
  assert_memory_equal(table, old, 4 * sizeof *table); /* the class row */
  store_close(store);
  safetensors_close(&file);
  memory_release(old);
  memory_release(path);
  unlink("large.json");
}

/* ---- every published configuration from its shapes */

static void check_shapes(const char *name, struct clip_config config, int knn) {
  struct clip_config found;
  struct model *model;
  struct tensor_file file = {.path = "none.pt", .what = "shapes"};
  struct weight_list list;
  struct text report = {0};
  config.activation_known = true;
  assert_ok(model_create(&config, device, DTYPE_F32, (struct model_switches){0}, &model));
  file.count = model->parameters.count;
  file.views = memory_allocate((size_t)file.count * sizeof *file.views, "views");
  for (int64_t i = 0; i < file.count; i++) {
    const struct parameter *parameter = model->parameters.items[i];
    struct tensor_view *view = &file.views[i];
    view->name = parameter->name;
    view->axes = parameter->axes;
    view->elements = parameter->count;
    memcpy(view->shape, parameter->shape, sizeof parameter->shape);
  }
  assert_ok(weight_list_make(&file, &list));
  assert_ok(
      weight_config_choose(&file, &list, &(struct config_request){.activation = "gelu", .knn = knn}, &found, &report));
  config.vision.memory.meta_init = false;
  if (found.vision.heads != config.vision.heads || found.text.heads != config.text.heads ||
      found.image_height != config.image_height || found.patch != config.patch || found.embed_dim != config.embed_dim ||
      found.vision.mlp_width != config.vision.mlp_width || found.context_length != config.context_length ||
      found.vocab_size != config.vocab_size || found.vision.layers != config.vision.layers ||
      found.text.layers != config.text.layers || (found.vision.layer_scale >= 0) != (config.vision.layer_scale >= 0))
    fail_msg("%s is not found again from its shapes", name);
  text_release(&report);
  weight_list_release(&list);
  memory_release(file.views);
  model_release(model);
}

static void published(void **state) {
  (void)state;
  const char *name;
  for (int i = 0; (name = config_built_in_name(i)); i++) {
    struct clip_config config;
    assert_ok(config_read(name, &config));
    check_shapes(name, config, 0);
  }
}

static void memories(void **state) {
  (void)state;
  static const char *const groups[] = {
      "{\"layers\": [2, 4, 6, 8, 10], \"n_keys\": 8, \"heads\": 2, \"knn\": 4, \"k_dim\": 256, \"v_dim\": 256}",
      "{\"layers\": [3], \"n_keys\": 13, \"heads\": 4, \"knn\": 4, \"k_dim\": 10, \"v_dim\": 30, \"gated\": true}",
      "{\"layers\": [0, 1], \"n_keys\": 5, \"heads\": 3, \"knn\": 4, \"k_dim\": 8, \"swilu_projection\": false}",
      "{\"layers\": [11], \"n_keys\": 5, \"heads\": 2, \"knn\": 4, \"k_dim\": 8, \"v_dim\": 10, \"swilu_projection\": "
      "false}",
      "{\"layers\": [1, 5], \"n_keys\": 7, \"heads\": 2, \"knn\": 4, \"k_dim\": 12, \"peer\": true}"};
  for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
    struct clip_config config;
    char *json = text_format("{\"vision_cfg\": {}, \"text_cfg\": {}, \"memory\": %s}", groups[i]);
    assert_ok(config_parse(json, "test", &config));
    check_shapes(json, config, 4);
    memory_release(json);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(round_trips),
                                     cmocka_unit_test(shared_table),
                                     cmocka_unit_test(conversion),
                                     cmocka_unit_test(reports),
                                     cmocka_unit_test(pictures_of_hugging_face),
                                     cmocka_unit_test(refusals),
                                     cmocka_unit_test(contradictions),
                                     cmocka_unit_test(memories_alone),
                                     cmocka_unit_test(unused_projections),
                                     cmocka_unit_test(tables),
                                     cmocka_unit_test(other_sizes),
                                     cmocka_unit_test(published),
                                     cmocka_unit_test(memories)};
  char directory[] = "test_import.XXXXXX", *source = realpath(getenv("top_srcdir") ? getenv("top_srcdir") : ".", NULL);
  setenv("top_srcdir", source, 1);
  if (device_open("cpu", 1, &device) != STATUS_OK)
    fatal("%s", error_message());
  if (mkdtemp(directory) == NULL || chdir(directory) != 0)
    return 1;
  const int failed = cmocka_run_group_tests_name("import", tests, NULL, NULL);
  device_close(device);
  unlink("imported.h5");
  if (chdir("..") == 0)
    rmdir(directory);
  free(source);
  return failed != 0 || memory_report_live(true) != 0;
}

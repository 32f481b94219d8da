/* Memory of what reads others' files, measured in a process of its own: the growth of its resident set, pages of the
 * mapped file included. Files that lie about themselves: each reader, given a forged one, needs no more than the file
 * has bytes and a fixed allowance. Large files of weights: import and export need a few of their tensors' size. */
#define _GNU_SOURCE
#include "base/file.h"
#include "base/memory.h"
#include "data/index.h"
#include "data/source.h"
#include "data/tokenizer.h"
#include "io/safetensors.h"
#include "io/tensor_file.h"
#include "make_pickle.h"
#include "make_zip.h"
#include "model/config.h"
#include "weight_export.h"
#include "weight_import.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>
#include <cmocka.h>

enum { MIB = 1 << 20, FORGED_BYTES = 24 * MIB, ALLOWANCE_BYTES = 32 * MIB };

static void repeat(struct text *out, const char *words, size_t bytes) {
  const size_t length = strlen(words);
  while (out->length < bytes)
    text_append(out, words, length);
}

/* ---- the forgeries */

/* Tensors without elements: only names, which no data bound. */
static void forge_header(struct text *out, size_t bytes) {
  text_append(out, "\0\0\0\0\0\0\0\0{", 9);
  for (int i = 0; out->length < bytes; i++)
    text_append_format(out, "\"%x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},", i);
  out->data[out->length - 1] = '}';
  const uint64_t length = out->length - 8;
  memcpy(out->data, &length, sizeof length);
}
static void forge_long_header(struct text *out) {
  forge_header(out, FORGED_BYTES);
}
static void forge_free_header(struct text *out) { /* the longest that is taken from a file of nothing else */
  forge_header(out, MIB - 100);
}
/* Numbers take the most memory for their bytes. */
static void forge_json(struct text *out) {
  text_append_string(out, "{\"weight_map\":[");
  repeat(out, "0,", FORGED_BYTES);
  text_append_string(out, "0]}");
}
static void put_torch(struct text *out, const struct text *pickle) {
  const struct zip_part parts[] = {{"top/data.pkl", pickle->data, pickle->length}};
  make_zip(parts, 1, true, false, out);
}
static void forge_nodes(struct text *out) { /* empty lists, one byte each */
  struct text pickle = {0};
  text_append_string(&pickle, "\x80\x02");
  repeat(&pickle, "]", FORGED_BYTES);
  put_torch(out, &pickle);
  text_release(&pickle);
}
static void forge_memo(struct text *out) { /* a memo number as high as a long string before it allows */
  struct text pickle = {0};
  text_append_string(&pickle, "\x80\x02X");
  text_append(&pickle, "\0\0\xff\0", 4);
  repeat(&pickle, "string..", 0xff0000 + 7);
  text_append(&pickle, "r\0\0\xff\0.", 6);
  put_torch(out, &pickle);
  text_release(&pickle);
}
/* A module that holds another twice, that one a third twice, and so on: names by the million. */
static void forge_modules(struct text *out) {
  struct text pickle = {0};
  text_append_string(&pickle, "\x80\x02");
  for (int depth = 0; depth < 40; depth++) {
    text_append_string(&pickle, "c__torch__.m\nM\n)\x81}");
    if (depth > 0)
      text_append_format(&pickle, "(X%c%c%c%clh%cX%c%c%c%crh%cu", 1, 0, 0, 0, depth - 1, 1, 0, 0, 0, depth - 1);
    text_append_format(&pickle, "bq%c", depth);
  }
  text_append_string(&pickle, ".");
  const struct zip_part parts[] = {{"top/data.pkl", pickle.data, pickle.length}, {"top/constants.pkl", ".", 1}};
  make_zip(parts, 2, true, false, out);
  text_release(&pickle);
}
static void forge_directory(struct text *out) {
  enum { PARTS = 200000 };
  struct zip_part *parts = memory_allocate(PARTS * sizeof *parts, "parts");
  struct text names = {0};
  for (int i = 0; i < PARTS; i++)
    text_append_format(&names, "%06x%c", i, 0);
  for (int i = 0; i < PARTS; i++)
    parts[i] = (struct zip_part){.name = names.data + 7 * i, .data = "", .size = 0};
  make_zip(parts, PARTS, true, true, out);
  text_release(&names);
  memory_release(parts);
}
static void forge_bomb(struct text *out) { /* a quarter of a gigabyte of lines in a file of its thousandth */
  static char lines[MIB];
  memset(lines, 'a', sizeof lines);
  for (size_t i = 3; i < sizeof lines; i += 4)
    lines[i] = '\n';
  gzFile file = gzopen("hostile.tmp", "wb9");
  for (int i = 0; i < 256; i++)
    gzwrite(file, lines, sizeof lines);
  gzclose(file);
  assert_int_equal(file_read("hostile.tmp", out), STATUS_OK);
  unlink("hostile.tmp");
}
static void forge_rows(struct text *out) {
  text_append_string(out, "filepath\ttitle\n");
  repeat(out, "pictures/a.jpg\ta picture of something that lies on a table\n", FORGED_BYTES);
}
static void forge_ragged_rows(struct text *out) { /* every one a reason for leaving it out */
  text_append_string(out, "filepath\ttitle\n");
  repeat(out, "a\n", FORGED_BYTES);
}
static void put_tar_header(struct text *out, const char *name, size_t bytes, char kind) {
  char block[512] = {0};
  unsigned sum = 8 * ' ';
  snprintf(block, 100, "%s", name);
  snprintf(block + 100, 24, "0000644%c0000000%c0000000", 0, 0);
  snprintf(block + 124, 12, "%011zo", bytes);
  snprintf(block + 136, 12, "%011o", 0);
  block[156] = kind;
  memcpy(block + 257, "ustar\00000", 8);
  for (size_t i = 0; i < sizeof block; i++)
    sum += (unsigned char)block[i];
  snprintf(block + 148, 8, "%06o", sum);
  block[155] = ' ';
  text_append(out, block, sizeof block);
}
static void forge_members(struct text *out) { /* nothing but headers */
  char name[32];
  for (int i = 0; out->length < FORGED_BYTES; i++) {
    snprintf(name, sizeof name, "%07d.x%d", i, i % 60000);
    put_tar_header(out, name, 0, '0');
  }
}
static void forge_tar_name(struct text *out) { /* GNU's long name, as long as the file */
  put_tar_header(out, "././@LongLink", FORGED_BYTES - 1024, 'L');
  repeat(out, "n", FORGED_BYTES - 512);
  put_tar_header(out, "name.jpg", 0, '0');
}

/* ---- the readers */

static enum status read_weights(const char *path) {
  struct tensor_file file;
  TRY(tensor_file_open(path, NULL, &file));
  tensor_file_close(&file);
  return STATUS_OK;
}
static enum status read_config(const char *path) {
  struct clip_config config;
  return config_read(path, &config);
}
static enum status read_vocabulary(const char *path) {
  struct tokenizer *tokenizer;
  TRY(tokenizer_open(path, &tokenizer));
  tokenizer_close(tokenizer);
  return STATUS_OK;
}
static enum status read_rows(const char *path) {
  struct source *source;
  TRY(source_open(&(struct source_options){.paths = &path, .path_count = 1, .format = "csv"}, &source));
  source_close(source);
  return STATUS_OK;
}
static enum status read_tar(const char *path) {
  struct index index;
  TRY(index_build(path, &index));
  index_release(&index);
  return STATUS_OK;
}

static const struct forgery {
  const char *name, *path;
  void (*forge)(struct text *out);
  enum status (*read)(const char *path);
  const char *refusal; /* NULL: read, though nothing comes of it */
} forgeries[] = {
    {"safetensors, nothing but a header", "hostile.safetensors", forge_long_header, read_weights, "more names than"},
    {"safetensors, a header of 1 MiB", "hostile.safetensors", forge_free_header, read_weights, NULL},
    {"index of safetensors files", "hostile.index.json", forge_json, read_weights, "none is longer than"},
    {"model configuration", "hostile.json", forge_json, read_config, "no file of its kind"},
    {"pickle of empty lists", "hostile.pt", forge_nodes, read_weights, "opcodes"},
    {"pickle with a far memo", "hostile.pt", forge_memo, read_weights, "out of sequence"},
    {"modules within modules", "hostile.pt", forge_modules, read_weights, "more than once"},
    {"zip directory", "hostile.pt", forge_directory, read_weights, "without data.pkl"},
    {"vocabulary that unpacks a thousandfold", "hostile.gz", forge_bomb, read_vocabulary, "bytes of text"},
    {"csv", "hostile.tsv", forge_rows, read_rows, NULL},
    {"csv of ragged rows", "hostile.tsv", forge_ragged_rows, read_rows, "no sample with"},
    {"tar of headers", "hostile.tar", forge_members, read_tar, NULL},
    {"tar with an endless name", "hostile.tar", forge_tar_name, read_tar, ""},
};

struct outcome {
  size_t grown_bytes;
  enum status status;
  char words[512];
};

static size_t peak_bytes(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (size_t)usage.ru_maxrss * 1024;
}

static struct outcome run_apart(enum status (*run)(const char *path), const char *path) {
  struct outcome outcome = {.status = STATUS_SYSTEM};
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const size_t before = peak_bytes();
    outcome.status = run(path);
    outcome.grown_bytes = peak_bytes() - before;
    if (outcome.status != STATUS_OK)
      snprintf(outcome.words, sizeof outcome.words, "%s", error_message());
    _exit(write(ends[1], &outcome, sizeof outcome) == sizeof outcome ? 0 : 1);
  }
  int status = 0;
  close(ends[1]);
  const bool told = read(ends[0], &outcome, sizeof outcome) == sizeof outcome;
  close(ends[0]);
  if (waitpid(child, &status, 0) != child || status != 0 || !told)
    fail_msg("%s: the reader ended with status %d", path, status);
  return outcome;
}

static void needs_no_more_than_the_file(void **state) {
  const struct forgery *forgery = *state;
  struct text content = {0};
  forgery->forge(&content);
  const size_t bytes = content.length;
  assert_int_equal(file_write_atomic(forgery->path, content.data, bytes), STATUS_OK);
  text_release(&content);
  const struct outcome outcome = run_apart(forgery->read, forgery->path);
  unlink(forgery->path);
  print_message("%s: %.1f MiB of file, %.1f MiB of memory: %s\n", forgery->name, (double)bytes / MIB,
                (double)outcome.grown_bytes / MIB, outcome.status == STATUS_OK ? "read" : outcome.words);
  if (forgery->refusal && (outcome.status != STATUS_INPUT || !strstr(outcome.words, forgery->refusal)))
    fail_msg("%s: not refused: %s", forgery->name, outcome.words);
  if (!forgery->refusal && outcome.status != STATUS_OK)
    fail_msg("%s: %s", forgery->name, outcome.words);
  if (!(outcome.grown_bytes <= bytes + ALLOWANCE_BYTES))
    fail_msg("%s: memory grew by %zu bytes over a file of %zu", forgery->name, outcome.grown_bytes, bytes);
}

/* ---- a large model: the bytes of its file stay outside */

enum { WIDTH = 1024, LAYERS = 8, VOCABULARY = 1000, TENSORS = 14 + 12 * 2 * LAYERS };
struct model_list {
  struct tensor_entry entries[TENSORS];
  int count;
};
static void add_tensor(struct model_list *list, const char *prefix, const char *name, int64_t rows, int64_t columns) {
  struct tensor_entry *entry = &list->entries[list->count++];
  *entry = (struct tensor_entry){.name = text_format("%s%s", prefix, name), .dtype = DTYPE_F16};
  const int64_t shape[] = {rows, columns};
  entry->axes = rows == 0 ? 0 : columns == 0 ? 1 : 2;
  entry->elements = (rows ? rows : 1) * (columns ? columns : 1);
  memcpy(entry->shape, shape, sizeof shape);
}
static void add_blocks(struct model_list *list, const char *tower) {
  static const struct {
    const char *name;
    int rows, columns; /* in widths */
  } parts[] = {{"ln_1.weight", 1, 0},          {"ln_1.bias", 1, 0},
               {"attn.in_proj_weight", 3, 1},  {"attn.in_proj_bias", 3, 0},
               {"attn.out_proj.weight", 1, 1}, {"attn.out_proj.bias", 1, 0},
               {"ln_2.weight", 1, 0},          {"ln_2.bias", 1, 0},
               {"mlp.c_fc.weight", 4, 1},      {"mlp.c_fc.bias", 4, 0},
               {"mlp.c_proj.weight", 1, 4},    {"mlp.c_proj.bias", 1, 0}};
  for (int layer = 0; layer < LAYERS; layer++) {
    char *prefix = text_format("%stransformer.resblocks.%d.", tower, layer);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
      add_tensor(list, prefix, parts[i].name, parts[i].rows * WIDTH, parts[i].columns * WIDTH);
    memory_release(prefix);
  }
}
static enum status fill_tensor(void *context, const struct tensor_entry *entry, void *data) {
  (void)context;
  for (int64_t i = 0; i < entry->elements; i++)
    ((uint16_t *)data)[i] = (uint16_t)(0x2000 + i % 1000); /* small numbers */
  return STATUS_OK;
}
static void write_large(const char *path) {
  static struct model_list list;
  add_tensor(&list, "", "positional_embedding", 77, WIDTH);
  add_tensor(&list, "", "text_projection", WIDTH, WIDTH);
  add_tensor(&list, "", "logit_scale", 0, 0);
  add_tensor(&list, "visual.", "class_embedding", WIDTH, 0);
  add_tensor(&list, "visual.", "positional_embedding", 50, WIDTH);
  add_tensor(&list, "visual.", "proj", WIDTH, WIDTH);
  add_tensor(&list, "visual.", "conv1.weight", WIDTH, 3 * 32 * 32);
  list.entries[list.count - 1].axes = 4;
  memcpy(list.entries[list.count - 1].shape, ((int64_t[]){WIDTH, 3, 32, 32}), 4 * sizeof(int64_t));
  static const char *const norms[] = {"visual.ln_pre", "visual.ln_post", "ln_final"};
  for (int i = 0; i < 3; i++) {
    add_tensor(&list, norms[i], ".weight", WIDTH, 0);
    add_tensor(&list, norms[i], ".bias", WIDTH, 0);
  }
  add_tensor(&list, "", "token_embedding.weight", VOCABULARY, WIDTH);
  add_blocks(&list, "visual.");
  add_blocks(&list, "");
  assert_int_equal(list.count, TENSORS);
  assert_int_equal(safetensors_write(path, list.entries, TENSORS, &(struct tensor_reader){.read = fill_tensor}),
                   STATUS_OK);
  for (int i = 0; i < TENSORS; i++)
    memory_release(list.entries[i].name);
}

static enum status import_large(const char *path) {
  struct import_summary summary;
  struct text report = {0};
  const struct import_request request = {
      .source = path, .out = "large.h5", .config = {.config = "large.json", .activation = "gelu"}};
  return weight_import(&request, &summary, &report);
}
static enum status export_large(const char *path) {
  struct export_summary summary;
  return weight_export(&(struct export_request){.source = "large.h5", .out = path}, &summary);
}

static void large_weights_stay_outside(void **state) {
  (void)state;
  static const struct {
    const char *name, *path;
    enum status (*run)(const char *path);
  } steps[] = {{"import of safetensors", "large.safetensors", import_large},
               {"export to safetensors", "large.out.safetensors", export_large},
               {"export to torch", "large.pt", export_large},
               {"import of torch", "large.pt", import_large}};
  static const char json[] = "{\"embed_dim\": 1024, \"vision_cfg\": {\"image_size\": 224, \"layers\": 8, "
                             "\"width\": 1024, \"patch_size\": 32}, \"text_cfg\": {\"context_length\": 77, "
                             "\"vocab_size\": 1000, \"width\": 1024, \"heads\": 16, \"layers\": 8}}";
  enum { MEMORY_MAX = 64 * MIB, FILE_MIN = 390 * MIB };
  assert_int_equal(file_write_atomic("large.json", json, strlen(json)), STATUS_OK);
  write_large("large.safetensors");
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    int64_t bytes = 0, when;
    const struct outcome outcome = run_apart(steps[i].run, steps[i].path);
    if (outcome.status != STATUS_OK)
      fail_msg("%s: %s", steps[i].name, outcome.words);
    assert_int_equal(file_stat(steps[i].path, &bytes, &when), STATUS_OK);
    print_message("%s: %.0f MiB of file, %.1f MiB of memory\n", steps[i].name, (double)bytes / MIB,
                  (double)outcome.grown_bytes / MIB);
    assert_true(bytes >= FILE_MIN);
    if (!(outcome.grown_bytes <= MEMORY_MAX))
      fail_msg("%s: memory grew by %zu bytes", steps[i].name, outcome.grown_bytes);
  }
  static const char *const left[] = {
      "large.json", "large.h5", "large.pt", "large.safetensors", "large.out.safetensors", "open_clip_config.json"};
  for (size_t i = 0; i < sizeof left / sizeof *left; i++)
    unlink(left[i]);
}

int main(void) {
  enum { FORGERIES = sizeof forgeries / sizeof *forgeries };
  struct CMUnitTest tests[FORGERIES + 1] = {[FORGERIES] = cmocka_unit_test(large_weights_stay_outside)};
  for (int i = 0; i < FORGERIES; i++)
    tests[i] = (struct CMUnitTest){
        .name = forgeries[i].name, .test_func = needs_no_more_than_the_file, .initial_state = (void *)&forgeries[i]};
  return cmocka_run_group_tests_name("memory of readers", tests, NULL, NULL);
}

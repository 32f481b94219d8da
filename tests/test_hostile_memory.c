/* Files that others wrote and that lie about themselves: each reader, given a forged one, needs no more memory than
 * the file has bytes and a fixed allowance. Measured in a process of its own: the growth of its resident set, pages of
 * the mapped file included. */
#define _GNU_SOURCE
#include "base/file.h"
#include "base/memory.h"
#include "data/index.h"
#include "data/source.h"
#include "data/tokenizer.h"
#include "io/tensor_file.h"
#include "make_pickle.h"
#include "make_zip.h"
#include "model/config.h"
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

enum { MIB = 1 << 20, FORGED_BYTES = 24 * MIB, ALLOWANCE_BYTES = 24 * MIB };

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
static void forge_bomb(struct text *out) { /* a gigabyte of lines in a megabyte */
  static char lines[MIB];
  memset(lines, 'a', sizeof lines);
  for (size_t i = 3; i < sizeof lines; i += 4)
    lines[i] = '\n';
  gzFile file = gzopen("hostile.tmp", "wb9");
  for (int i = 0; i < 1024; i++)
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
    {"vocabulary that unpacks to a gigabyte", "hostile.gz", forge_bomb, read_vocabulary, "bytes of text"},
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

static struct outcome run_apart(const struct forgery *forgery) {
  struct outcome outcome = {.status = STATUS_SYSTEM};
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const size_t before = peak_bytes();
    outcome.status = forgery->read(forgery->path);
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
    fail_msg("%s: the reader ended with status %d", forgery->name, status);
  return outcome;
}

static void needs_no_more_than_the_file(void **state) {
  const struct forgery *forgery = *state;
  struct text content = {0};
  forgery->forge(&content);
  const size_t bytes = content.length;
  assert_int_equal(file_write_atomic(forgery->path, content.data, bytes), STATUS_OK);
  text_release(&content);
  const struct outcome outcome = run_apart(forgery);
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

int main(void) {
  enum { FORGERIES = sizeof forgeries / sizeof *forgeries };
  struct CMUnitTest tests[FORGERIES];
  for (int i = 0; i < FORGERIES; i++)
    tests[i] = (struct CMUnitTest){
        .name = forgeries[i].name, .test_func = needs_no_more_than_the_file, .initial_state = (void *)&forgeries[i]};
  return cmocka_run_group_tests_name("hostile memory", tests, NULL, NULL);
}

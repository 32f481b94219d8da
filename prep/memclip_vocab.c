/* memclip-vocab: trains a vocabulary in CLIP's format; turns lines of text into ids and back. */
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/option.h"
#include "config.h"
#include "data/tokenizer.h"
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *argp_program_version = "memclip-vocab " PACKAGE_VERSION;

static const struct argp_option option_table[] = {
    {"size", 'n', "N", 0, "train: number of ids, 515 to 49408 (512 + merges + 2)", 0},
    {"out", 'o', "FILE", 0, "train: the vocabulary to write, gzipped", 0},
    {"vocabulary", 'V', "FILE", 0,
     "encode, decode: the vocabulary; 'clip' (default) is CLIP's own, found in $MEMCLIP_DATA", 0},
    {"context-length", 'c', "N", 0, "encode: cut to N ids, the last the end of text (default: no cut)", 0},
    {0},
};

struct command {
  int (*run)(const struct command *command);
  int32_t size, context_length;
  const char *out, *vocabulary;
  char **files;
  int file_count;
};
struct lines {
  struct text content;
  const char **line;
  int64_t count, capacity;
};

static int report(enum status status) {
  if (status != STATUS_OK)
    fprintf(stderr, "memclip-vocab: %s\n", error_message());
  return status;
}

static enum status read_files(const struct command *command, struct text *content) {
  for (int i = 0; i < command->file_count; i++) {
    TRY(strcmp(command->files[i], "-") == 0 ? file_read("/dev/stdin", content) : file_read(command->files[i], content));
    if (content->length > 0 && content->data[content->length - 1] != '\n')
      text_append(content, "\n", 1);
  }
  return STATUS_OK;
}

/* Lines end with \n or \r\n; the text is cut up in place. */
static void cut_lines(struct lines *lines) {
  char *end = lines->content.data + lines->content.length;
  for (char *at = lines->content.data; at && at < end;) {
    char *stop = memchr(at, '\n', (size_t)(end - at));
    *stop = '\0';
    if (stop > at && stop[-1] == '\r')
      stop[-1] = '\0';
    if (lines->count == lines->capacity) {
      lines->capacity = lines->capacity ? lines->capacity * 2 : 1024;
      lines->line = memory_resize(lines->line, (size_t)lines->capacity * sizeof *lines->line, "lines");
    }
    lines->line[lines->count++] = at;
    at = stop + 1;
  }
}

static enum status read_lines(const struct command *command, struct lines *lines) {
  TRY(read_files(command, &lines->content));
  cut_lines(lines);
  return STATUS_OK;
}

static void release_lines(struct lines *lines) {
  text_release(&lines->content);
  memory_release(lines->line);
}

static int run_train(const struct command *command) {
  struct lines lines = {0};
  enum status status = read_lines(command, &lines);
  if (status == STATUS_OK)
    status = vocabulary_train(lines.line, lines.count, command->size, command->out);
  release_lines(&lines);
  return report(status);
}

static void print_ids(const int32_t *ids, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    printf("%s%" PRId32, i ? ", " : "[", ids[i]);
  puts("]");
}

/* A text has at most one id per byte that cleaning leaves, so a second call with the true length is enough. */
static void encode_line(const struct command *command, const struct tokenizer *tokenizer,
                        struct tokenizer_scratch *scratch, const char *line) {
  int32_t end, few[256], *ids = few;
  int context = command->context_length ? command->context_length : (int)(sizeof few / sizeof *few);
  if (context > (int)(sizeof few / sizeof *few))
    ids = memory_allocate((size_t)context * sizeof *ids, "ids");
  int64_t count = tokenizer_encode(tokenizer, scratch, line, context, ids, &end);
  if (count > context && command->context_length == 0) {
    context = (int)count;
    ids = memory_allocate((size_t)context * sizeof *ids, "ids");
    tokenizer_encode(tokenizer, scratch, line, context, ids, &end);
  }
  print_ids(ids, count < context ? count : context);
  if (ids != few)
    memory_release(ids);
}

static int run_encode(const struct command *command) {
  struct lines lines = {0};
  struct tokenizer *tokenizer = NULL;
  enum status status = tokenizer_open(command->vocabulary, &tokenizer);
  if (status == STATUS_OK)
    status = read_lines(command, &lines);
  struct tokenizer_scratch *scratch = tokenizer_scratch_new();
  for (int64_t i = 0; status == STATUS_OK && i < lines.count; i++)
    encode_line(command, tokenizer, scratch, lines.line[i]);
  tokenizer_scratch_release(scratch);
  tokenizer_close(tokenizer);
  release_lines(&lines);
  return report(status);
}

static enum status decode_line(const struct tokenizer *tokenizer, const char *line, int64_t number) {
  json_error_t error;
  json_t *list = json_loads(line, 0, &error);
  if (!json_is_array(list)) {
    json_decref(list);
    return error_set(STATUS_INPUT, "line %" PRId64 " is not a JSON array of ids", number);
  }
  const size_t count = json_array_size(list);
  int32_t *ids = memory_allocate(count * sizeof *ids, "ids");
  enum status status = STATUS_OK;
  for (size_t i = 0; i < count; i++) {
    const json_int_t id = json_integer_value(json_array_get(list, i));
    if (!json_is_integer(json_array_get(list, i)) || id < 0 || id >= tokenizer_vocabulary_size(tokenizer))
      status =
          error_set(STATUS_INPUT, "line %" PRId64 ": element %zu is not an id of this vocabulary (0 to %" PRId32 ")",
                    number, i, tokenizer_end_id(tokenizer));
    ids[i] = (int32_t)id;
  }
  struct text out = {0};
  if (status == STATUS_OK) {
    tokenizer_decode(tokenizer, ids, (int64_t)count, &out);
    puts(out.data ? out.data : "");
  }
  text_release(&out);
  memory_release(ids);
  json_decref(list);
  return status;
}

static int run_decode(const struct command *command) {
  struct lines lines = {0};
  struct tokenizer *tokenizer = NULL;
  enum status status = tokenizer_open(command->vocabulary, &tokenizer);
  if (status == STATUS_OK)
    status = read_lines(command, &lines);
  for (int64_t i = 0; status == STATUS_OK && i < lines.count; i++)
    status = decode_line(tokenizer, lines.line[i], i + 1);
  tokenizer_close(tokenizer);
  release_lines(&lines);
  return report(status);
}

static void finish_parse(struct command *command, struct argp_state *state) {
  if (!command->run)
    argp_error(state, "say what to do: train, encode or decode");
  if (command->file_count == 0)
    argp_error(state, "name a file of text ('-' for standard input)");
  if (command->run == run_train && (command->size == 0 || !command->out))
    argp_error(state, "train needs --size N and --out FILE");
}

static void choose(struct command *command, const char *name, struct argp_state *state) {
  static const struct {
    const char *name;
    int (*run)(const struct command *command);
  } commands[] = {{"train", run_train}, {"encode", run_encode}, {"decode", run_decode}};
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
    if (strcmp(name, commands[i].name) == 0)
      command->run = commands[i].run;
  if (!command->run)
    argp_error(state, "'%s' is not one of train, encode, decode", name);
}

static error_t parse(int key, char *argument, struct argp_state *state) {
  struct command *command = state->input;
  switch (key) {
  case 'n':
    command->size = (int32_t)option_number(argument, "size", 515, 49408, state);
    return 0;
  case 'o':
    command->out = argument;
    return 0;
  case 'V':
    command->vocabulary = argument;
    return 0;
  case 'c':
    command->context_length = (int32_t)option_number(argument, "context-length", 2, 1 << 20, state);
    return 0;
  case ARGP_KEY_ARG:
    if (command->run)
      command->files[command->file_count++] = argument;
    else
      choose(command, argument, state);
    return 0;
  case ARGP_KEY_END:
    finish_parse(command, state);
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

int main(int argc, char **argv) {
  static const struct argp argp = {
      .options = option_table,
      .parser = parse,
      .args_doc =
          "train --size N --out VOCAB.bpe.gz TEXT...\nencode [--vocabulary V] FILE...\ndecode [--vocabulary V] FILE...",
      .doc = "Trains a byte-pair vocabulary in CLIP's file format, turns lines of text into ids (one JSON array per "
             "line) and back.",
  };
  struct command command = {.vocabulary = "clip", .files = memory_allocate((size_t)argc * sizeof(char *), "files")};
  argp_err_exit_status = STATUS_USAGE;
  argp_parse(&argp, argc, argv, 0, NULL, &command);
  const int status = command.run(&command);
  memory_release(command.files);
  return status;
}

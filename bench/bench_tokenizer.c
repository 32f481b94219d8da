/* Captions per second on one core: of a file of captions, one a line, when no word has been met before and when all
 * have; and of captions of ten random words, none of which comes twice.
 *
 *     bench_tokenizer VOCABULARY CAPTIONS */
#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/random.h"
#include "data/tokenizer.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { CONTEXT = 77, RANDOM_CAPTIONS = 20000, RANDOM_WORDS = 10, WORD_LETTERS = 7 };

/* Line ends become NUL. Returns the number of lines. */
static int64_t cut_lines(struct text *lines) {
  int64_t count = 0;
  for (size_t i = 0; i < lines->length; i++)
    if (lines->data[i] == '\n') {
      lines->data[i] = '\0';
      count++;
    }
  return count;
}

static void add_random_captions(struct text *lines) {
  const struct random_key key = {.use = RANDOM_TEST};
  for (uint64_t i = 0; i < (uint64_t)RANDOM_CAPTIONS * RANDOM_WORDS * (WORD_LETTERS + 1); i++) {
    const bool end = i % (WORD_LETTERS + 1) == WORD_LETTERS;
    const bool last = i % (RANDOM_WORDS * (WORD_LETTERS + 1)) == RANDOM_WORDS * (WORD_LETTERS + 1) - 1;
    text_append(lines, last ? "\n" : end ? " " : &"etaoinshrdlucmfwypvbgkjqxz"[random_below(&key, i, 26)], 1);
  }
}

static double encode_all(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch, const struct text *lines,
                         int64_t *tokens) {
  int32_t ids[CONTEXT], end;
  const double start = clock_seconds();
  *tokens = 0;
  for (const char *line = lines->data; line < lines->data + lines->length; line += strlen(line) + 1)
    *tokens += tokenizer_encode(tokenizer, scratch, line, CONTEXT, ids, &end);
  return clock_seconds() - start;
}

static void report(const char *what, const struct text *lines, int64_t count, double seconds, int64_t tokens) {
  printf("%-28s %9.0f captions/s  %6.1f MB/s  (%" PRId64 " captions of %.0f bytes and %.1f tokens)\n", what,
         (double)count / seconds, (double)lines->length / seconds * 1e-6, count, (double)lines->length / (double)count,
         (double)tokens / (double)count);
}

static void measure(const struct tokenizer *tokenizer, struct text *lines, bool twice, const char *const names[2]) {
  const int64_t count = cut_lines(lines);
  struct tokenizer_scratch *scratch = tokenizer_scratch_new();
  for (int pass = 0; pass < 1 + twice && count > 0; pass++) {
    int64_t tokens;
    const double seconds = encode_all(tokenizer, scratch, lines, &tokens);
    report(names[pass], lines, count, seconds, tokens);
  }
  tokenizer_scratch_release(scratch);
}

int main(int argc, char **argv) {
  struct tokenizer *tokenizer;
  struct text lines = {0}, random = {0};
  if (argc != 3) {
    fprintf(stderr, "bench_tokenizer VOCABULARY CAPTIONS\n");
    return 2;
  }
  if (tokenizer_open(argv[1], &tokenizer) != STATUS_OK || file_read(argv[2], &lines) != STATUS_OK) {
    fprintf(stderr, "bench_tokenizer: %s\n", error_message());
    return 1;
  }
  measure(tokenizer, &lines, true, (const char *const[]){"words not met before", "words met before"});
  add_random_captions(&random);
  measure(tokenizer, &random, false, (const char *const[]){"random words, each new", NULL});
  text_release(&lines);
  text_release(&random);
  tokenizer_close(tokenizer);
  return 0;
}

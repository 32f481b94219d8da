/* Cleaned text into pieces: special tokens, contractions, letters, single digits, the rest; tried in this order, white
 * space between them (contract 3.2). */
#include "data/text_clean.h"
#include "data/text_tables.h"
#include "data/tokenizer_private.h"
#include <string.h>
#include <utf8proc.h>

enum kind { KIND_SPACE, KIND_LETTER, KIND_NUMBER, KIND_OTHER };

static enum kind kind_at(const char *at, const char *stop, size_t *length) {
  const uint8_t byte = (uint8_t)*at;
  *length = 1;
  if (byte < 0x80) {
    if ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z')
      return KIND_LETTER;
    return byte >= '0' && byte <= '9' ? KIND_NUMBER : text_is_space(byte) ? KIND_SPACE : KIND_OTHER;
  }
  utf8proc_int32_t code;
  const utf8proc_ssize_t step = utf8proc_iterate((const utf8proc_uint8_t *)at, stop - at, &code);
  *length = step > 0 ? (size_t)step : 1;
  if (step > 0 && text_in_ranges(code, text_letters, text_letters_count))
    return KIND_LETTER;
  if (step > 0 && text_in_ranges(code, text_numbers, text_numbers_count))
    return KIND_NUMBER;
  /* U+0345, a mark whose capital is a letter, falls between the pattern's classes once case is ignored: it is skipped
   */
  return text_is_space(code) || code == 0x345 ? KIND_SPACE : KIND_OTHER;
}

/* Length of `pattern` at `at`, case aside, 0 when it is not there: the long s (C5 BF) stands for an s. */
static size_t match(const char *at, const char *stop, const char *pattern) {
  const char *from = at;
  for (; *pattern; pattern++) {
    if (*pattern == 's' && stop - at >= 2 && (uint8_t)at[0] == 0xc5 && (uint8_t)at[1] == 0xbf)
      at += 2;
    else if (at < stop && *at == *pattern)
      at++;
    else
      return 0;
  }
  return (size_t)(at - from);
}

static size_t match_any(const char *at, const char *stop, const char *const *patterns, size_t count) {
  size_t length = 0;
  for (size_t i = 0; i < count && length == 0; i++)
    length = match(at, stop, patterns[i]);
  return length;
}

static size_t match_fixed(const char *at, const char *stop, struct piece *piece) {
  static const char *const specials[] = {"<start_of_text>", "<end_of_text>"};
  static const char *const contractions[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  if (*at == '\'')
    return match_any(at, stop, contractions, sizeof contractions / sizeof *contractions);
  if (*at != '<')
    return 0;
  for (int i = 0; i < 2; i++) {
    const size_t length = match(at, stop, specials[i]);
    if (length == strlen(specials[i])) /* with a long s it is a word like others */
      piece->special = i == 0 ? PIECE_START : PIECE_END;
    if (length > 0)
      return length;
  }
  return 0;
}

bool tokenizer_next_piece(const char **at, const char *stop, struct piece *piece) {
  size_t length;
  enum kind kind = KIND_SPACE;
  while (*at < stop && (kind = kind_at(*at, stop, &length)) == KIND_SPACE)
    *at += length;
  if (*at >= stop)
    return false;
  *piece = (struct piece){.bytes = *at, .special = PIECE_WORD};
  piece->length = match_fixed(*at, stop, piece);
  if (piece->length == 0) {
    piece->length = length;
    while (kind != KIND_NUMBER && *at + piece->length < stop && kind_at(*at + piece->length, stop, &length) == kind)
      piece->length += length;
  }
  *at += piece->length;
  return true;
}

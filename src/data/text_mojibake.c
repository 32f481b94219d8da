/* UTF-8 that was read as a one-byte encoding: found by unlikely neighbours, repaired by writing the text back in that
 * encoding and reading it as UTF-8. The rules are those of ftfy 6, so that captions become the same ids. */
#include "base/memory.h"
#include "data/text_clean.h"
#include "data/text_tables.h"
#include <stdlib.h>
#include <string.h>
#include <uchar.h>
#include <utf8proc.h>

/* Kinds beyond those of the table. */
enum {
  ASCII_UPPER = 1 << 20,
  ASCII_LOWER = 1 << 21,
  SPACE = 1 << 22,
  WORD = 1 << 23,
  LETTERS = ASCII_UPPER | ASCII_LOWER
};
enum {
  ACCENTED = TEXT_LOWER_ACCENTED | TEXT_UPPER_ACCENTED,
  QUOTES = TEXT_START | TEXT_END,
  AMOUNT = TEXT_CURRENCY | TEXT_NUMERIC
};
enum { SUSPECT = ACCENTED | TEXT_BOX | QUOTES | AMOUNT | TEXT_LAW, LONGEST_RULE = 6 };

struct place { /* one character of a rule: of these kinds, or one of `also`; or, `not`, neither */
  uint32_t kinds;
  const char32_t *also;
  bool not ;
};
struct rule {
  bool at_start; /* of the text */
  struct place places[LONGEST_RULE];
};

#define ARABIC                                                                                                         \
  { TEXT_COMMON | AMOUNT | TEXT_BAD | TEXT_START, U"ŸŠ®°µ»", false }
#define ONE_OF(characters)                                                                                             \
  { 0, characters, false }
#define KIND(kinds)                                                                                                    \
  { kinds, NULL, false }
static const struct rule rules[] = {
    {0, {KIND(TEXT_C1)}},
    {0, {KIND(SUSPECT | TEXT_BAD), KIND(TEXT_BAD)}},
    {0, {KIND(LETTERS), KIND(TEXT_LOWER_COMMON | TEXT_UPPER_COMMON), KIND(TEXT_BAD)}},
    {0, {KIND(TEXT_BAD), KIND(SUSPECT)}},
    {0, {KIND(TEXT_LOWER_ACCENTED | TEXT_LOWER_COMMON | TEXT_BOX | TEXT_END | AMOUNT), KIND(TEXT_UPPER_ACCENTED)}},
    {0, {KIND(TEXT_BOX | TEXT_END | AMOUNT), KIND(TEXT_LOWER_ACCENTED)}},
    {0, {KIND(TEXT_LOWER_ACCENTED | TEXT_BOX | TEXT_END), KIND(TEXT_CURRENCY)}},
    {0, {KIND(SPACE), KIND(TEXT_UPPER_ACCENTED), KIND(TEXT_CURRENCY)}},
    {0, {KIND(TEXT_UPPER_ACCENTED | TEXT_BOX), KIND(TEXT_NUMERIC | TEXT_LAW)}},
    {0, {KIND(ACCENTED | TEXT_BOX | TEXT_CURRENCY | TEXT_END), KIND(TEXT_START), KIND(TEXT_NUMERIC)}},
    {0, {KIND(ACCENTED | AMOUNT | TEXT_BOX | TEXT_LAW), KIND(TEXT_END), KIND(TEXT_START)}},
    {0, {KIND(AMOUNT | TEXT_BOX), KIND(TEXT_START)}},
    {0, {KIND(ASCII_LOWER), KIND(TEXT_UPPER_ACCENTED), KIND(TEXT_START | TEXT_CURRENCY)}},
    {0, {KIND(TEXT_BOX), KIND(TEXT_KAOMOJI)}},
    {0, {KIND(ACCENTED | AMOUNT | QUOTES | TEXT_LAW), KIND(TEXT_BOX)}},
    {0, {KIND(TEXT_BOX), KIND(TEXT_END)}},
    {0, {KIND(ACCENTED), KIND(QUOTES), KIND(WORD)}},
    {0, {ONE_OF(U"Œœ"), {LETTERS, NULL, true}}},
    {0, {KIND(TEXT_UPPER_ACCENTED), ONE_OF(U"°")}},
    {0, {ONE_OF(U"ÂÃÎÐ"), {QUOTES, U"€œŠš¢£Ÿž\u00a0\u00ad®©°·»–—´", false}}},
    {0, {ONE_OF(U"×"), ONE_OF(U"²³")}},
    {0, {ONE_OF(U"ØÙ"), ARABIC, ONE_OF(U"ØÙ"), ARABIC}},
    {0, {ONE_OF(U"à"), ONE_OF(U"²µ¹¼½¾")}},
    {0, {ONE_OF(U"√"), ONE_OF(U"±∂†≠®™´≤≥¥µø")}},
    {0, {ONE_OF(U"≈"), ONE_OF(U"°¢")}},
    {0, {ONE_OF(U"‚"), ONE_OF(U"Ä"), ONE_OF(U"ìîïòôúùû†°¢π")}},
    {0, {ONE_OF(U"‚"), ONE_OF(U"âó"), ONE_OF(U"àä°ê")}},
    {0, {ONE_OF(U"в"), ONE_OF(U"Ђ")}},
    {0, {ONE_OF(U"ВГРС"), {TEXT_C1 | TEXT_BAD | QUOTES | TEXT_CURRENCY, U"°µ", false}, ONE_OF(U"ВГРС")}},
    {0,
     {ONE_OF(U"Г"), ONE_OF(U"ў"), ONE_OF(U"В"), ONE_OF(U"Ђ"), ONE_OF(U"В"), {0, U"\n", true}}}, /* and a letter or
                                                                                                   space: see below */
    {0, {ONE_OF(U"Ã"), ONE_OF(U"\u00a0¡")}},
    {0, {KIND(ASCII_LOWER), ONE_OF(U"ÃÂ"), ONE_OF(U" ")}},
    {0, {KIND(ASCII_LOWER), KIND(SPACE), ONE_OF(U"ÃÂ"), ONE_OF(U" ")}},
    {1, {ONE_OF(U"ÃÂ"), ONE_OF(U" ")}},
    {0, {{ASCII_LOWER | TEXT_END, U".,?!", false}, ONE_OF(U"Â"), {QUOTES, U" ", false}}},
    {0, {ONE_OF(U"β"), ONE_OF(U"€"), ONE_OF(U"™\u00a0Ά\u00ad®°")}},
    {0, {ONE_OF(U"ΒΓΞΟ"), {TEXT_C1 | TEXT_BAD | QUOTES | TEXT_CURRENCY, U"°", false}, ONE_OF(U"ΒΓΞΟ")}},
    {0, {ONE_OF(U"ā"), ONE_OF(U"€")}},
};

static int compare_classes(const void *key, const void *entry) {
  const int32_t code = *(const int32_t *)key, other = ((const struct text_class *)entry)->code;
  return (code > other) - (code < other);
}

static bool is_word(int32_t code) {
  const utf8proc_category_t category = utf8proc_category(code);
  return code == '_' || (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
         (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

static uint32_t kinds_of(int32_t code) {
  const struct text_class *found =
      bsearch(&code, text_classes, (size_t)text_class_count, sizeof *text_classes, compare_classes);
  uint32_t kinds = found ? found->kinds : 0;
  kinds |= code >= 'A' && code <= 'Z' ? ASCII_UPPER : 0;
  kinds |= code >= 'a' && code <= 'z' ? ASCII_LOWER : 0;
  return kinds | (text_is_space(code) ? SPACE : 0) | (is_word(code) ? WORD : 0);
}

static bool fits(const struct place *place, int32_t code, uint32_t kinds) {
  bool found = (place->kinds & kinds) != 0;
  for (const char32_t *also = place->also; also && *also && !found; also++)
    found = (int32_t)*also == code;
  return found != place->not ;
}

static bool rule_fits(const struct rule *rule, const struct codes *codes, const uint32_t *kinds, size_t at) {
  size_t i = at;
  for (int p = 0; p < LONGEST_RULE && (rule->places[p].kinds || rule->places[p].also); p++, i++)
    if (i >= codes->length || !fits(&rule->places[p], codes->data[i], kinds[i]))
      return false;
  const bool longest = rule->places[LONGEST_RULE - 1].also != NULL; /* seven characters, the last a letter or a space */
  return !longest || (i < codes->length && ((kinds[i] & LETTERS) || codes->data[i] == ' '));
}

static bool is_bad(const struct codes *codes) {
  uint32_t *kinds = memory_allocate(codes->length * sizeof *kinds, "kinds");
  for (size_t i = 0; i < codes->length; i++)
    kinds[i] = kinds_of(codes->data[i]);
  bool bad = false;
  for (size_t i = 0; i < codes->length && !bad; i++)
    for (size_t r = 0; r < sizeof rules / sizeof *rules && !bad; r++)
      bad = (!rules[r].at_start || i == 0) && rule_fits(&rules[r], codes, kinds, i);
  memory_release(kinds);
  return bad;
}

/* The byte that stands for `code` in charmap `map` (-1: Latin-1), or -1. */
static int byte_of(int32_t code, int map) {
  const bool sloppy = map >= 0 && map < TEXT_CHARMAP_SLOPPY;
  if (sloppy && (code == 0xfffd || code == 0x1a))
    return code == 0xfffd ? 0x1a : -1;
  if (code < 0x80)
    return code;
  if (map < 0)
    return code <= 0xff ? code : -1;
  for (int byte = 0; byte < 128; byte++)
    if (text_charmaps[map][byte] == code)
      return byte + 128;
  return -1;
}

static bool encode(const struct codes *codes, int map, struct text *bytes) {
  text_clear(bytes);
  text_append(bytes, "", 0);
  for (size_t i = 0; i < codes->length; i++) {
    const int byte = byte_of(codes->data[i], map);
    if (byte < 0)
      return false;
    text_append(bytes, &(char){(char)byte}, 1);
  }
  return true;
}

static bool between(const struct text *bytes, size_t at, int first, int last) {
  return at < bytes->length && (uint8_t)bytes->data[at] >= first && (uint8_t)bytes->data[at] <= last;
}

static bool is_byte(const struct text *bytes, size_t at, int byte) {
  return between(bytes, at, byte, byte);
}

static bool is_tail(const struct text *bytes, size_t at) {
  return between(bytes, at, 0x80, 0xbf);
}

/* A continuation byte that is neither 0x85 nor 0xa0. */
static bool is_plain_tail(const struct text *bytes, size_t at) {
  return is_tail(bytes, at) && !is_byte(bytes, at, 0x85) && !is_byte(bytes, at, 0xa0);
}

/* Length of a sequence at `at` that would be UTF-8 if one space were byte 0xa0, else 0. */
static size_t altered_length(const struct text *bytes, size_t at) {
  static const char pairs[] = "\xc2\xc3\xc5\xce\xd0\xd9";
  if (bytes->data[at] != 0 && strchr(pairs, bytes->data[at]) && is_byte(bytes, at + 1, ' '))
    return 2;
  if (between(bytes, at, 0xe2, 0xe3) && is_byte(bytes, at + 1, ' ') && is_plain_tail(bytes, at + 2))
    return 3;
  if (between(bytes, at, 0xe0, 0xe3) && is_plain_tail(bytes, at + 1) && is_byte(bytes, at + 2, ' '))
    return 3;
  if (!is_byte(bytes, at, 0xf0))
    return 0;
  int spaces = 0, tails = 0;
  for (size_t i = 1; i <= 3; i++) {
    spaces += is_byte(bytes, at + i, ' ');
    tails += is_tail(bytes, at + i);
  }
  return spaces == 1 && tails == 2 ? 4 : 0;
}

/* After byte 0xc3 and a space: a word of its own, unless these letters follow. */
static bool is_a_grave_word(const struct text *bytes, size_t at) {
  static const char *const endings[] = {" ", "quele", "quela", "quilo", "s "};
  if (!is_byte(bytes, at, 0xc3) || !is_byte(bytes, at + 1, ' '))
    return false;
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
    if (strncmp(bytes->data + at + 2, endings[i], strlen(endings[i])) == 0)
      return false;
  return true;
}

static void restore_a0(struct text *bytes) {
  struct text words = {0};
  bool altered = false;
  for (size_t i = 0; i < bytes->length; i++) {
    altered = altered || altered_length(bytes, i) > 0;
    text_append(&words, bytes->data + i, 1);
    if (is_a_grave_word(bytes, i))
      text_append(&words, "\xa0", 1);
  }
  if (altered) {
    for (size_t i = 0; i < words.length;) {
      const size_t length = altered_length(&words, i);
      for (size_t k = 0; k < length; k++)
        if (words.data[i + k] == ' ')
          words.data[i + k] = (char)0xa0;
      i += length ? length : 1;
    }
    text_clear(bytes);
    text_append(bytes, words.data, words.length);
  }
  text_release(&words);
}

/* A lost byte: 0x1a for certain, '?' perhaps. */
static bool is_lost(const struct text *bytes, size_t at) {
  return is_byte(bytes, at, 0x1a) || is_byte(bytes, at, '?');
}

static bool is_tail_or_lost(const struct text *bytes, size_t at) {
  return is_tail(bytes, at) || is_byte(bytes, at, 0x1a);
}

/* Tails of a sequence of `length` bytes: one lost, the others tails or 0x1a. */
static bool has_lost_tail(const struct text *bytes, size_t at, size_t length) {
  for (size_t lost = 1; lost < length; lost++) {
    bool good = is_lost(bytes, at + lost);
    for (size_t i = 1; i < length && good; i++)
      good = i == lost || is_tail_or_lost(bytes, at + i);
    if (good)
      return true;
  }
  return false;
}

/* Length of a UTF-8 or CESU-8 sequence in which bytes were lost, else 0. */
static size_t lossy_length(const struct text *bytes, size_t at) {
  if ((between(bytes, at, 0xc2, 0xdf) && is_byte(bytes, at + 1, 0x1a)) ||
      (between(bytes, at, 0xc2, 0xc3) && is_byte(bytes, at + 1, '?')))
    return 2;
  if (is_byte(bytes, at, 0xed) && between(bytes, at + 1, 0xa0, 0xaf) && is_byte(bytes, at + 3, 0xed) &&
      between(bytes, at + 4, 0xb0, 0xbf)) {
    const bool first = is_lost(bytes, at + 2), second = is_lost(bytes, at + 5);
    if ((first && (second || is_tail(bytes, at + 5))) || (second && is_tail(bytes, at + 2)))
      return 6;
  }
  if (between(bytes, at, 0xe0, 0xef) && has_lost_tail(bytes, at, 3))
    return 3;
  if (between(bytes, at, 0xf0, 0xf4) && has_lost_tail(bytes, at, 4))
    return 4;
  return is_byte(bytes, at, 0x1a) ? 1 : 0;
}

static void replace_lossy(struct text *bytes) {
  struct text out = {0};
  text_append(&out, "", 0);
  for (size_t i = 0; i < bytes->length;) {
    const size_t length = lossy_length(bytes, i);
    text_append(&out, length ? "\xef\xbf\xbd" : bytes->data + i, length ? 3 : 1);
    i += length ? length : 1;
  }
  text_clear(bytes);
  text_append(bytes, out.data, out.length);
  text_release(&out);
}

/* Strict UTF-8, and two variants of it: surrogate pairs as 3 + 3 bytes, and C0 80 for U+0000. */
static bool decode(const struct text *bytes, struct codes *out) {
  out->length = 0;
  for (size_t i = 0; i < bytes->length;) {
    if (is_byte(bytes, i, 0xc0) && is_byte(bytes, i + 1, 0x80)) {
      codes_append(out, 0);
      i += 2;
      continue;
    }
    if (is_byte(bytes, i, 0xed) && between(bytes, i + 1, 0xa0, 0xaf) && is_tail(bytes, i + 2) &&
        is_byte(bytes, i + 3, 0xed) && between(bytes, i + 4, 0xb0, 0xbf) && is_tail(bytes, i + 5)) {
      const uint8_t *b = (const uint8_t *)bytes->data + i;
      codes_append(out, ((b[1] & 0x0f) << 16) + ((b[2] & 0x3f) << 10) + ((b[4] & 0x0f) << 6) + (b[5] & 0x3f) + 0x10000);
      i += 6;
      continue;
    }
    utf8proc_int32_t code;
    const utf8proc_ssize_t step =
        utf8proc_iterate((const utf8proc_uint8_t *)bytes->data + i, (utf8proc_ssize_t)(bytes->length - i), &code);
    if (step <= 0)
      return false;
    codes_append(out, code);
    i += (size_t)step;
  }
  return true;
}

/* Back to bytes in the first encoding that gives UTF-8. */
static bool fix_whole(const struct codes *codes, struct codes *out) {
  struct text bytes = {0};
  bool fixed = false;
  for (int map = -1; map < TEXT_CHARMAP_COUNT && !fixed; map++) {
    if (!encode(codes, map, &bytes))
      continue;
    if (map != TEXT_CHARMAP_MACROMAN)
      restore_a0(&bytes);
    if (map >= 0 && map < TEXT_CHARMAP_SLOPPY)
      replace_lossy(&bytes);
    fixed = decode(&bytes, out);
  }
  text_release(&bytes);
  return fixed;
}

/* Length of a run of characters that looks like UTF-8 read in some one-byte encoding. */
static size_t run_length(const struct codes *codes, size_t at) {
  static const uint32_t leads[] = {TEXT_FIRST_OF_2, TEXT_FIRST_OF_3, TEXT_FIRST_OF_4};
  size_t end = at;
  for (bool grown = true; grown;) {
    grown = false;
    const uint32_t kinds = end < codes->length ? kinds_of(codes->data[end]) : 0;
    for (size_t tails = 1; tails <= 3 && !grown; tails++) {
      bool good = (kinds & leads[tails - 1]) && end + tails < codes->length;
      for (size_t i = 1; i <= tails && good; i++)
        good = kinds_of(codes->data[end + i]) & TEXT_CONTINUATION;
      if (good)
        end += tails + 1;
      grown = good;
    }
  }
  return end - at;
}

/* Garbled stretches within text that as a whole is not garbled. */
static void fix_stretches(const struct codes *codes, struct codes *out) {
  out->length = 0;
  for (size_t at = 0; at < codes->length;) {
    const bool open = at == 0 || !(kinds_of(codes->data[at - 1]) & TEXT_CONTINUATION_STRICT);
    const size_t length = open ? run_length(codes, at) : 0;
    struct codes run = {0};
    codes_append_all(&run, codes->data + at, length ? length : 1);
    if (length > 0 && length < codes->length && is_bad(&run))
      text_fix_mojibake(&run);
    codes_append_all(out, run.data, run.length);
    codes_release(&run);
    at += length ? length : 1;
  }
}

static bool is_undefined_1252(int32_t code) {
  return code == 0x81 || code == 0x8d || code == 0x8f || code == 0x90 || code == 0x9d;
}

/* C1 controls stand for Windows-1252 (in text that fits Latin-1 only if all of them do, which comes to the same in the
 * end). */
static void fix_controls(const struct codes *codes, struct codes *out) {
  out->length = 0;
  for (size_t i = 0; i < codes->length; i++) {
    const int32_t code = codes->data[i];
    codes_append(out, code >= 0x80 && code <= 0x9f && !is_undefined_1252(code) ? text_charmaps[0][code - 0x80] : code);
  }
}

static bool is_ascii(const struct codes *codes) {
  for (size_t i = 0; i < codes->length; i++)
    if (codes->data[i] >= 0x80)
      return false;
  return true;
}

void text_fix_mojibake(struct codes *codes) {
  struct codes out = {0};
  while (!is_ascii(codes) && is_bad(codes)) {
    if (!fix_whole(codes, &out)) {
      fix_stretches(codes, &out);
      if (codes_equal(codes, &out))
        fix_controls(codes, &out);
    }
    if (codes_equal(codes, &out))
      break;
    codes_swap(codes, &out);
  }
  codes_release(&out);
}

/* Facts about characters, made by text_tables.py: every table is sorted by its first member. */
#ifndef MEMCLIP_DATA_TEXT_TABLES_H
#define MEMCLIP_DATA_TEXT_TABLES_H
#include <stdint.h>

struct text_entity {
  const char *name, *value; /* without the ampersand, with the semicolon where it belongs; UTF-8 */
};
extern const struct text_entity text_entities[], text_capital_entities[];
extern const int text_entity_count, text_capital_entity_count;

struct text_replacement { /* Latin ligatures, half-width and full-width forms */
  int32_t code;
  const char *value;
};
extern const struct text_replacement text_replacements[];
extern const int text_replacement_count;

enum {
  TEXT_CHARMAP_COUNT = 9,
  TEXT_CHARMAP_SLOPPY = 6 /* the first six let byte 0x1a stand for U+FFFD */,
  TEXT_CHARMAP_MACROMAN = 7
};
extern const uint16_t text_charmaps[TEXT_CHARMAP_COUNT][128];

/* Kinds of characters that occur where UTF-8 was read as a one-byte encoding. */
enum {
  TEXT_COMMON = 1 << 0,
  TEXT_C1 = 1 << 1,
  TEXT_BAD = 1 << 2,
  TEXT_LAW = 1 << 3,
  TEXT_CURRENCY = 1 << 4,
  TEXT_START = 1 << 5,
  TEXT_END = 1 << 6,
  TEXT_NUMERIC = 1 << 7,
  TEXT_KAOMOJI = 1 << 8,
  TEXT_UPPER_ACCENTED = 1 << 9,
  TEXT_LOWER_ACCENTED = 1 << 10,
  TEXT_UPPER_COMMON = 1 << 11,
  TEXT_LOWER_COMMON = 1 << 12,
  TEXT_BOX = 1 << 13,
  TEXT_FIRST_OF_2 = 1 << 14,
  TEXT_FIRST_OF_3 = 1 << 15,
  TEXT_FIRST_OF_4 = 1 << 16,
  TEXT_CONTINUATION = 1 << 17,
  TEXT_CONTINUATION_STRICT = 1 << 18
};
struct text_class {
  int32_t code;
  uint32_t kinds;
};
extern const struct text_class text_classes[];
extern const int text_class_count;

struct text_range {
  int32_t first, last;
};
extern const struct text_range text_cased[], text_case_ignorable[];
extern const int text_cased_count, text_case_ignorable_count;
/* Unicode's L and N as the pattern's engine has them, newer than utf8proc's. */
extern const struct text_range text_letters[], text_numbers[];
extern const int text_letters_count, text_numbers_count;
#endif

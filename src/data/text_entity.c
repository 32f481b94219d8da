/* HTML entities in text. */
#include "data/text_clean.h"
#include "data/text_tables.h"
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_LENGTH = 32, CAREFUL_MAX_LENGTH = 24 };

static int compare_entities(const void *key, const void *entry) {
  return strcmp(key, ((const struct text_entity *)entry)->name);
}

static const char *find_entity(const struct text_entity *table, int count, const char *name) {
  const struct text_entity *found = bsearch(name, table, (size_t)count, sizeof *table, compare_entities);
  return found ? found->value : NULL;
}

static int digit_of(int32_t code, int base) {
  if (code >= '0' && code <= '9')
    return code - '0';
  if (base == 16 && (code | 0x20) >= 'a' && (code | 0x20) <= 'f' && code < 0x80)
    return (code | 0x20) - 'a' + 10;
  return -1;
}

static bool is_forbidden(int32_t code) {
  return (code >= 0x01 && code <= 0x08) || code == 0x0b || (code >= 0x0e && code <= 0x1f) ||
         (code >= 0x7f && code <= 0x9f) || (code >= 0xfdd0 && code <= 0xfdef) || (code & 0xfffe) == 0xfffe;
}

/* HTML5 reads 0x80 to 0x9f as Windows-1252, and passes over what is no character. */
static void append_number(struct codes *out, int64_t number) {
  if (number == 0 || (number >= 0xd800 && number <= 0xdfff) || number > 0x10ffff)
    codes_append(out, 0xfffd);
  else if (number >= 0x80 && number <= 0x9f)
    codes_append(out, text_charmaps[0][number - 0x80]);
  else if (!is_forbidden((int32_t)number))
    codes_append(out, (int32_t)number);
}

/* "&#123;" or "&#x1f;" at `at`, the semicolon optional. Returns its length, 0 when there is none. */
static size_t read_number(const struct codes *codes, size_t at, int64_t *number) {
  size_t i = at + 2;
  const int base = i < codes->length && (codes->data[i] | 0x20) == 'x' ? 16 : 10;
  i += base == 16;
  const size_t first = i;
  *number = 0;
  for (; i < codes->length && digit_of(codes->data[i], base) >= 0; i++)
    *number = *number > 0x110000 ? *number : *number * base + digit_of(codes->data[i], base);
  if (i == first)
    return 0;
  return i + (i < codes->length && codes->data[i] == ';') - at;
}

static bool may_be_in_name(int32_t code) {
  return code != '\t' && code != '\n' && code != '\f' && code != ' ' && code != '<' && code != '&' && code != '#' &&
         code != ';';
}

/* The longest entity at the ampersand `at`. Returns the length it replaces, 0 when there is none. */
static size_t append_named(const struct codes *codes, size_t at, struct codes *out) {
  char name[NAME_MAX_LENGTH + 2];
  size_t length = 0;
  for (size_t i = at + 1;
       i < codes->length && length < NAME_MAX_LENGTH && codes->data[i] < 0x80 && may_be_in_name(codes->data[i]); i++)
    name[length++] = (char)codes->data[i];
  if (at + 1 + length < codes->length && codes->data[at + 1 + length] == ';')
    name[length++] = ';';
  for (; length >= 2; length--) {
    name[length] = '\0';
    const char *value = find_entity(text_entities, text_entity_count, name);
    if (!value)
      continue;
    codes_append_utf8(out, value, strlen(value));
    return length + 1;
  }
  return 0;
}

void text_unescape(struct codes *codes) {
  if (codes->length == 0)
    return;
  struct codes out = {0};
  for (size_t at = 0; at < codes->length;) {
    size_t length = 0;
    int64_t number;
    if (codes->data[at] == '&' && at + 1 < codes->length && codes->data[at + 1] == '#') {
      length = read_number(codes, at, &number);
      if (length > 0)
        append_number(&out, number);
    } else if (codes->data[at] == '&')
      length = append_named(codes, at, &out);
    if (length == 0)
      codes_append(&out, codes->data[at]);
    at += length ? length : 1;
  }
  codes_swap(codes, &out);
  codes_release(&out);
}

/* "&name;" or "&#...;" whose name is 1 to 24 letters and digits. Returns its length, 0 when there is none. */
static size_t careful_length(const struct codes *codes, size_t at) {
  size_t i = at + 1;
  i += i < codes->length && codes->data[i] == '#';
  const size_t first = i;
  while (i < codes->length && i - first < CAREFUL_MAX_LENGTH && codes->data[i] < 0x80 &&
         (digit_of(codes->data[i], 10) >= 0 || ((codes->data[i] | 0x20) >= 'a' && (codes->data[i] | 0x20) <= 'z')))
    i++;
  return i > first && i < codes->length && codes->data[i] == ';' ? i + 1 - at : 0;
}

static bool append_careful(const struct codes *codes, size_t at, size_t length, struct codes *out) {
  if (codes->data[at + 1] == '#') {
    int64_t number;
    if (read_number(codes, at, &number) != length || number == ';')
      return false;
    append_number(out, number);
    return true;
  }
  char name[CAREFUL_MAX_LENGTH + 2];
  for (size_t i = 0; i < length - 1; i++)
    name[i] = (char)codes->data[at + 1 + i];
  name[length - 1] = '\0';
  const char *value = find_entity(text_entities, text_entity_count, name);
  if (!value)
    value = find_entity(text_capital_entities, text_capital_entity_count, name);
  if (value)
    codes_append_utf8(out, value, strlen(value));
  return value != NULL;
}

void text_unescape_careful(struct codes *codes) {
  struct codes out = {0};
  for (size_t at = 0; at < codes->length;) {
    size_t length = codes->data[at] == '&' ? careful_length(codes, at) : 0;
    if (length > 0 && !append_careful(codes, at, length, &out))
      length = 0;
    if (length == 0)
      codes_append(&out, codes->data[at]);
    at += length ? length : 1;
  }
  codes_swap(codes, &out);
  codes_release(&out);
}

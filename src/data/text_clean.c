#include "data/text_clean.h"
#include "base/memory.h"
#include "data/text_tables.h"
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

void codes_append(struct codes *codes, int32_t code) {
  if (codes->length == codes->capacity) {
    codes->capacity = codes->capacity ? codes->capacity * 2 : 256;
    codes->data = memory_resize(codes->data, codes->capacity * sizeof *codes->data, "codes");
  }
  codes->data[codes->length++] = code;
}

void codes_append_all(struct codes *codes, const int32_t *data, size_t length) {
  for (size_t i = 0; i < length; i++)
    codes_append(codes, data[i]);
}

void codes_append_utf8(struct codes *codes, const char *bytes, size_t length) {
  for (size_t at = 0; at < length;) {
    utf8proc_int32_t code;
    const utf8proc_ssize_t step =
        utf8proc_iterate((const utf8proc_uint8_t *)bytes + at, (utf8proc_ssize_t)(length - at), &code);
    codes_append(codes, step > 0 ? code : 0xfffd);
    at += step > 0 ? (size_t)step : 1;
  }
}

void codes_write_utf8(const struct codes *codes, struct text *out) {
  for (size_t i = 0; i < codes->length; i++) {
    utf8proc_uint8_t bytes[4];
    text_append(out, (const char *)bytes, (size_t)utf8proc_encode_char(codes->data[i], bytes));
  }
}

bool codes_equal(const struct codes *a, const struct codes *b) {
  return a->length == b->length && (a->length == 0 || memcmp(a->data, b->data, a->length * sizeof *a->data) == 0);
}

void codes_swap(struct codes *a, struct codes *b) {
  const struct codes kept = *a;
  *a = *b;
  *b = kept;
}

void codes_release(struct codes *codes) {
  memory_release(codes->data);
  *codes = (struct codes){0};
}

bool text_is_space(int32_t code) {
  return (code >= 0x09 && code <= 0x0d) || (code >= 0x1c && code <= 0x20) || code == 0x85 || code == 0xa0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f ||
         code == 0x205f || code == 0x3000;
}

static int compare_replacements(const void *key, const void *entry) {
  const int32_t code = *(const int32_t *)key, other = ((const struct text_replacement *)entry)->code;
  return (code > other) - (code < other);
}

static bool is_unwanted_control(int32_t code) {
  return code <= 0x08 || code == 0x0b || (code >= 0x0e && code <= 0x1f) || code == 0x7f ||
         (code >= 0x206a && code <= 0x206f) || code == 0xfeff || (code >= 0xfff9 && code <= 0xfffc);
}

/* ESC [ digits and semicolons, a letter. Returns its length, 0 when there is none at `at`. */
static size_t terminal_escape(const struct codes *codes, size_t at) {
  if (codes->data[at] != 0x1b || at + 1 >= codes->length || codes->data[at + 1] != '[')
    return 0;
  size_t end = at + 2;
  while (end < codes->length &&
         (codes->data[end] == ';' || utf8proc_category(codes->data[end]) == UTF8PROC_CATEGORY_ND))
    end++;
  const int32_t last = end < codes->length ? codes->data[end] | 0x20 : 0;
  return last >= 'a' && last <= 'z' && codes->data[end] < 0x80 ? end + 1 - at : 0;
}

/* One character of ftfy's table steps: C1 controls, ligatures, widths, quotes, line breaks. */
static void append_plain(struct codes *out, int32_t code) {
  if (code >= 0x80 && code <= 0x9f)
    code = text_charmaps[0][code - 0x80];
  const struct text_replacement *found = NULL;
  if (code >= 0x132)
    found = bsearch(&code, text_replacements, (size_t)text_replacement_count, sizeof *text_replacements,
                    compare_replacements);
  if (found)
    codes_append_utf8(out, found->value, strlen(found->value));
  else if (code == 0x2bc || (code >= 0x2018 && code <= 0x201b))
    codes_append(out, '\'');
  else if (code >= 0x201c && code <= 0x201f)
    codes_append(out, '"');
  else if (code == 0x2028 || code == 0x2029 || code == 0x85)
    codes_append(out, '\n');
  else
    codes_append(out, code);
}

static void replace_characters(struct codes *codes) {
  struct codes plain = {0};
  for (size_t i = 0; i < codes->length; i++) {
    const int32_t code = codes->data[i];
    if (code == '\r' && i + 1 < codes->length && codes->data[i + 1] == '\n')
      continue;
    append_plain(&plain, code == '\r' ? '\n' : code);
  }
  codes->length = 0;
  for (size_t i = 0; i < plain.length;) {
    const size_t escape = terminal_escape(&plain, i);
    if (escape == 0 && !is_unwanted_control(plain.data[i]))
      codes_append(codes, plain.data[i]);
    i += escape ? escape : 1;
  }
  codes_release(&plain);
}

static bool contains(const struct codes *codes, int32_t wanted) {
  for (size_t i = 0; i < codes->length; i++)
    if (codes->data[i] == wanted)
      return true;
  return false;
}

/* The repairs over and over until nothing changes. Text that is garbled or escaped deeper than this is hostile, and is
 * left as it then is, so that the time stays in proportion to its length. */
static void fix_segment(struct codes *codes, bool unescape) {
  enum { ROUNDS_MAX = 20 };
  struct codes before = {0};
  int rounds = 0;
  do {
    before.length = 0;
    codes_append_all(&before, codes->data, codes->length);
    if (unescape)
      text_unescape_careful(codes);
    text_fix_mojibake(codes);
    replace_characters(codes);
    text_compose(codes);
  } while (++rounds < ROUNDS_MAX && !codes_equal(&before, codes));
  codes_release(&before);
}

/* Line by line; from the first '<' on, entities are left alone. */
static void fix_text(struct codes *codes) {
  struct codes fixed = {0}, line = {0};
  bool unescape = true;
  for (size_t at = 0; at < codes->length;) {
    line.length = 0;
    bool ended = false;
    while (at < codes->length && !ended) {
      ended = codes->data[at] == '\n';
      codes_append(&line, codes->data[at++]);
    }
    unescape = unescape && !contains(&line, '<');
    fix_segment(&line, unescape);
    codes_append_all(&fixed, line.data, line.length);
  }
  codes_swap(codes, &fixed);
  codes_release(&fixed);
  codes_release(&line);
}

static void collapse_spaces(struct codes *codes) {
  size_t length = 0;
  for (size_t i = 0; i < codes->length; i++) {
    if (!text_is_space(codes->data[i]))
      codes->data[length++] = codes->data[i];
    else if (length > 0 && codes->data[length - 1] != ' ')
      codes->data[length++] = ' ';
  }
  if (length > 0 && codes->data[length - 1] == ' ')
    length--;
  codes->length = length;
}

bool text_in_ranges(int32_t code, const struct text_range *ranges, int count) {
  int low = 0, high = count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (ranges[middle].last < code)
      low = middle + 1;
    else
      high = middle;
  }
  return low < count && ranges[low].first <= code;
}

/* A cased letter in this direction, case-ignorable characters between them passed over. */
static bool cased_beyond(const struct codes *codes, size_t at, int step) {
  for (size_t i = at + (size_t)step; i < codes->length; i += (size_t)step) { /* wraps below 0 to above length */
    if (text_in_ranges(codes->data[i], text_case_ignorable, text_case_ignorable_count))
      continue;
    return text_in_ranges(codes->data[i], text_cased, text_cased_count);
  }
  return false;
}

/* Capital sigma at the end of a word becomes the final form; U+0130 is the one character that grows. */
static void lower_case(struct codes *codes) {
  struct codes lower = {0};
  for (size_t i = 0; i < codes->length; i++) {
    const int32_t code = codes->data[i];
    if (code == 0x3a3)
      codes_append(&lower, cased_beyond(codes, i, -1) && !cased_beyond(codes, i, 1) ? 0x3c2 : 0x3c3);
    else
      codes_append(&lower, code == 0x130 ? 'i' : utf8proc_tolower(code));
    if (code == 0x130)
      codes_append(&lower, 0x307);
  }
  codes_swap(codes, &lower);
  codes_release(&lower);
}

void text_clean(const char *text, size_t length, struct text *out) {
  struct codes codes = {0};
  codes_append_utf8(&codes, text, length);
  fix_text(&codes);
  text_unescape(&codes);
  text_unescape(&codes);
  collapse_spaces(&codes);
  lower_case(&codes);
  text_clear(out);
  text_append(out, "", 0);
  codes_write_utf8(&codes, out);
  codes_release(&codes);
}

#include "base/text.h"
#include "base/error.h"
#include "base/memory.h"
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Room for `extra` more bytes and the NUL. */
static void reserve(struct text *text, size_t extra) {
  size_t needed = text->length + extra + 1;
  if (needed <= text->capacity)
    return;
  size_t capacity = needed < 32 ? 64 : needed + needed / 2;
  text->data = memory_resize(text->data, capacity, "text");
  text->capacity = capacity;
}

void text_append(struct text *text, const char *bytes, size_t length) {
  reserve(text, length);
  if (length > 0)
    memcpy(text->data + text->length, bytes, length);
  text->length += length;
  text->data[text->length] = '\0';
}

void text_append_string(struct text *text, const char *string) {
  text_append(text, string, strlen(string));
}

static void append_list(struct text *text, const char *format, va_list arguments) {
  va_list again;
  va_copy(again, arguments);
  int length = vsnprintf(NULL, 0, format, again);
  va_end(again);
  if (length < 0)
    fatal("the format \"%s\" cannot be printed", format);
  reserve(text, (size_t)length);
  vsnprintf(text->data + text->length, (size_t)length + 1, format, arguments);
  text->length += (size_t)length;
}

void text_append_format(struct text *text, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  append_list(text, format, arguments);
  va_end(arguments);
}

void text_resize(struct text *text, size_t length) {
  if (length > text->length)
    reserve(text, length - text->length);
  text->length = length;
  if (text->data)
    text->data[length] = '\0';
}

void text_clear(struct text *text) {
  text->length = 0;
  if (text->data)
    text->data[0] = '\0';
}

void text_release(struct text *text) {
  memory_release(text->data);
  *text = (struct text){0};
}

char *text_format_list(const char *format, va_list arguments) {
  struct text text = {0};
  append_list(&text, format, arguments);
  return text.data;
}

char *text_format(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *result = text_format_list(format, arguments);
  va_end(arguments);
  return result;
}

char *text_join_path(const char *directory, const char *name) {
  if (name[0] == '/' || directory[0] == '\0')
    return memory_copy_string(name, "path");
  return text_format("%s%s%s", directory, text_ends_with(directory, "/") ? "" : "/", name);
}

const char *text_base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

bool text_starts_with(const char *string, const char *prefix) {
  return strncmp(string, prefix, strlen(prefix)) == 0;
}

bool text_ends_with(const char *string, const char *suffix) {
  size_t length = strlen(string), tail = strlen(suffix);
  return length >= tail && memcmp(string + length - tail, suffix, tail) == 0;
}

static int lower(char c) {
  return tolower((unsigned char)c);
}

bool text_equal_ignore_case(const char *a, const char *b) {
  while (*a && lower(*a) == lower(*b))
    a++, b++;
  return lower(*a) == lower(*b);
}

/* Bytes of the well-formed UTF-8 sequence at `p`, 0 if there is none (Unicode, table 3-7). */
static size_t utf8_sequence(const unsigned char *p, size_t left) {
  if (p[0] < 0x80)
    return 1;
  size_t size = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
  if (p[0] < 0xc2 || p[0] > 0xf4 || left < size)
    return 0;
  unsigned char low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
  unsigned char high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
  if (p[1] < low || p[1] > high)
    return 0;
  for (size_t i = 2; i < size; i++)
    if ((p[i] & 0xc0) != 0x80)
      return 0;
  return size;
}

bool text_is_utf8(const char *bytes, size_t length) {
  const unsigned char *p = (const unsigned char *)bytes;
  for (size_t i = 0, size; i < length; i += size)
    if ((size = utf8_sequence(p + i, length - i)) == 0)
      return false;
  return true;
}

bool text_match(const char *pattern, const char *name) {
  const char *star = NULL, *retry = NULL; /* the last * and where its match would end next */
  while (*name) {
    if (*pattern == '*') {
      star = pattern++;
      retry = name;
    } else if (*pattern == '?' || *pattern == *name) {
      pattern++;
      name++;
    } else if (star) {
      pattern = star + 1;
      name = ++retry;
    } else {
      return false;
    }
  }
  while (*pattern == '*')
    pattern++;
  return *pattern == '\0';
}

enum { NEAREST_LENGTH = 64 };

static size_t smallest(size_t a, size_t b, size_t c) {
  size_t ab = a < b ? a : b;
  return ab < c ? ab : c;
}

/* Optimal string alignment distance, case ignored; both strings at most NEAREST_LENGTH long. */
static size_t edit_distance(const char *a, const char *b) {
  size_t rows[3][NEAREST_LENGTH + 1], *before = rows[0], *above = rows[1], *row = rows[2];
  size_t columns = strlen(b);
  for (size_t j = 0; j <= columns; j++)
    row[j] = j;
  for (size_t i = 1; a[i - 1]; i++) {
    size_t *spare = before;
    before = above, above = row, row = spare;
    row[0] = i;
    for (size_t j = 1; j <= columns; j++) {
      bool same = lower(a[i - 1]) == lower(b[j - 1]);
      row[j] = smallest(above[j] + 1, row[j - 1] + 1, above[j - 1] + !same);
      if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]) &&
          before[j - 2] + 1 < row[j])
        row[j] = before[j - 2] + 1;
    }
  }
  return row[columns];
}

const char *text_nearest(const char *name, const char *const *candidates, size_t count) {
  size_t length = strlen(name), best = 1 + length / 3;
  const char *nearest = NULL;
  if (length > NEAREST_LENGTH)
    return NULL;
  for (size_t i = 0; i < count; i++) {
    if (strlen(candidates[i]) > NEAREST_LENGTH)
      continue;
    size_t distance = edit_distance(name, candidates[i]);
    if (distance < best || (distance == best && !nearest)) {
      best = distance;
      nearest = candidates[i];
    }
  }
  return nearest;
}

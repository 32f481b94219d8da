/* Values as namelist text. */
#include "config.h"
#include "base/memory.h"
#include "input/value.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void append_quoted(struct text *out, const char *text) {
  text_append_string(out, "'");
  for (; *text; text++)
    text_append(out, *text == '\'' ? "''" : text, *text == '\'' ? 2 : 1);
  text_append_string(out, "'");
}

/* The shortest digits that read back as the same number, always recognisable as a real. */
static void append_real(struct text *out, double value) {
  char digits[40];
  for (int precision = 1; precision <= 17; precision++) {
    snprintf(digits, sizeof digits, "%.*g", precision, value);
    if (strtod(digits, NULL) == value)
      break;
  }
  text_append_string(out, digits);
  if (!strpbrk(digits, ".e"))
    text_append_string(out, ".0");
}

static void append_absolute(struct text *out, const char *path, size_t length) {
  char here[PATH_MAX];
  if (length > 0 && path[0] != '/' && getcwd(here, sizeof here))
    text_append_format(out, "%s/", here);
  text_append(out, path, length);
}

/* "a::b" is a list of paths. */
static void append_path(struct text *out, const struct key *key, const char *path) {
  struct text absolute = {0};
  text_append(&absolute, "", 0);
  if (key->path == KEY_NAME_OR_PATH && !strpbrk(path, "/.")) {
    text_append_string(&absolute, path);
  } else {
    const char *cut;
    for (; (cut = strstr(path, "::")); path = cut + 2) {
      append_absolute(&absolute, path, (size_t)(cut - path));
      text_append_string(&absolute, "::");
    }
    append_absolute(&absolute, path, strlen(path));
  }
  append_quoted(out, absolute.data);
  text_release(&absolute);
}

static void append_text(struct text *out, const struct key *key, const char *text, bool absolute) {
  if (absolute && key->path != KEY_NO_PATH)
    append_path(out, key, text);
  else
    append_quoted(out, text);
}

static void append_separator(struct text *out, int index) {
  enum { PER_LINE = 12 };
  if (index > 0)
    text_append_string(out, index % PER_LINE == 0 ? ",\n    " : ", ");
}

static void append_texts(struct text *out, const struct key *key, const struct text_list *list, bool absolute) {
  for (int i = 0; i < list->count; i++) {
    text_append_string(out, i > 0 ? ",\n    " : "");
    append_text(out, key, list->items[i], absolute);
  }
  if (list->count == 0 && key->fallback[0] != '\0')
    text_append_string(out, "''");
}

void value_print(const struct key *key, const struct settings *settings, bool absolute, struct text *out) {
  const void *place = (const char *)settings + key->offset;
  const struct integer_list *integers = place;
  const struct real_list *reals = place;
  text_append(out, "", 0);
  switch (key->type) {
  case KEY_TEXT:
    append_text(out, key, *(char *const *)place, absolute);
    break;
  case KEY_TEXTS:
    append_texts(out, key, place, absolute);
    break;
  case KEY_INTEGER:
    text_append_format(out, "%lld", (long long)*(const int64_t *)place);
    break;
  case KEY_REAL:
    append_real(out, *(const double *)place);
    break;
  case KEY_LOGICAL:
    text_append_string(out, *(const bool *)place ? ".true." : ".false.");
    break;
  case KEY_INTEGERS:
    for (int i = 0; i < integers->count; i++) {
      append_separator(out, i);
      text_append_format(out, "%lld", (long long)integers->items[i]);
    }
    break;
  case KEY_REALS:
    for (int i = 0; i < reals->count; i++) {
      append_separator(out, i);
      append_real(out, reals->items[i]);
    }
    break;
  }
}

#include "input/namelist.h"
#include "base/memory.h"
#include "base/text.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { VALUES_MAX = 1000000 }; /* of one key: a mistyped repeat count shall not fill the memory */

struct reader {
  const char *source;
  const char *p, *line_start;
  int line;
  int open_text_line; /* where the last text that runs over a line's end began, 0: none; errors after it mention it */
  struct namelist *list;
};
/* A place of the input, for messages. */
struct place {
  int line, column;
};

static struct place place_of(const struct reader *reader) {
  return (struct place){reader->line, (int)(reader->p - reader->line_start) + 1};
}

static enum status fail(const struct reader *reader, struct place place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static enum status fail(const struct reader *reader, struct place place, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *what = text_format_list(format, arguments);
  va_end(arguments);
  if (reader->open_text_line)
    error_set(
        STATUS_INPUT,
        "%s:%d:%d: %s (the text that begins in line %d runs over the end of its line: is its closing quote missing?)",
        reader->source, place.line, place.column, what, reader->open_text_line);
  else
    error_set(STATUS_INPUT, "%s:%d:%d: %s", reader->source, place.line, place.column, what);
  memory_release(what);
  return STATUS_INPUT;
}

static void advance(struct reader *reader) {
  if (*reader->p++ == '\n') {
    reader->line++;
    reader->line_start = reader->p;
  }
}

/* Blanks, line ends and comments. */
static void skip_blanks(struct reader *reader) {
  while (*reader->p && (isspace((unsigned char)*reader->p) || *reader->p == '!')) {
    if (*reader->p == '!')
      while (reader->p[1] && reader->p[1] != '\n')
        advance(reader);
    advance(reader);
  }
}

static bool is_name_start(char c) {
  return isalpha((unsigned char)c) || c == '_';
}

static bool is_name(char c) {
  return isalnum((unsigned char)c) || c == '_';
}

/* Characters of values without quotes. */
static bool is_word(char c) {
  return is_name(c) || c == '.' || c == '+' || c == '-' || c == '%';
}

static size_t name_length(const char *p) {
  size_t length = 0;
  if (is_name_start(*p))
    while (is_name(p[length]))
      length++;
  return length;
}

static char *lower_copy(const char *bytes, size_t length, const char *label) {
  char *copy = memory_allocate(length + 1, label);
  for (size_t i = 0; i < length; i++)
    copy[i] = (char)tolower((unsigned char)bytes[i]);
  return copy;
}

struct namelist_item *namelist_add_item(struct namelist *list, const char *source, const char *group, const char *key) {
  list->items = memory_resize(list->items, (size_t)(list->count + 1) * sizeof *list->items, "namelist items");
  struct namelist_item *item = &list->items[list->count++];
  item->source = memory_copy_string(source, "namelist source");
  item->group = lower_copy(group, strlen(group), "namelist group");
  item->key = lower_copy(key, strlen(key), "namelist key");
  return item;
}

static struct namelist_value *add_value(struct namelist_item *item, const char *text, size_t length) {
  int count = item->count;
  if ((count & (count - 1)) == 0) /* grows at powers of two */
    item->values =
        memory_resize(item->values, (size_t)(count ? 2 * count : 1) * sizeof *item->values, "namelist values");
  struct namelist_value *value = &item->values[item->count++];
  *value = (struct namelist_value){
      .text = memory_allocate(length + 1, "namelist value"), .line = item->line, .column = item->column};
  if (length > 0)
    memcpy(value->text, text, length);
  return value;
}

void namelist_add_text(struct namelist_item *item, const char *text, size_t length) {
  add_value(item, text, length)->quoted = true;
}

/* Appends `repeats` values, all at `place`. */
static enum status add_values(const struct reader *reader, struct namelist_item *item, long repeats, struct place place,
                              const char *text, size_t length, bool quoted) {
  if (repeats > VALUES_MAX - item->count)
    return fail(reader, place, "%s has more than %d values", item->key, VALUES_MAX);
  for (long i = 0; i < repeats; i++) {
    struct namelist_value *value = add_value(item, text, length);
    value->quoted = quoted;
    value->null = !quoted && length == 0;
    value->line = place.line;
    value->column = place.column;
  }
  return STATUS_OK;
}

/* The reader stands on the opening quote; a doubled quote stands for one, and the end of a line for nothing. */
static enum status read_text(struct reader *reader, struct text *out) {
  struct place start = place_of(reader);
  char quote = *reader->p;
  advance(reader);
  while (*reader->p != quote || reader->p[1] == quote) {
    if (!*reader->p)
      return fail(reader, start, "this text has no closing quote (%c)", quote);
    if (*reader->p == quote)
      advance(reader);
    if (*reader->p == '\n')
      reader->open_text_line = start.line;
    else if (*reader->p != '\r')
      text_append(out, reader->p, 1);
    advance(reader);
  }
  advance(reader);
  return STATUS_OK;
}

static bool ends_value(const struct reader *reader) {
  return !*reader->p || isspace((unsigned char)*reader->p) || strchr(",/!&$", *reader->p);
}

/* "3*" in front of a value; 1 without. */
static enum status read_repeat(struct reader *reader, long *repeats) {
  *repeats = 1;
  size_t digits = strspn(reader->p, "0123456789");
  if (digits == 0 || reader->p[digits] != '*')
    return STATUS_OK;
  *repeats = digits > 9 ? VALUES_MAX + 1L : strtol(reader->p, NULL, 10);
  if (*repeats == 0)
    return fail(reader, place_of(reader), "a repeat count is at least 1");
  for (size_t i = 0; i <= digits; i++)
    advance(reader);
  return STATUS_OK;
}

static enum status read_quoted(struct reader *reader, struct namelist_item *item, long repeats, struct place place) {
  struct text text = {0};
  text_append(&text, "", 0);
  enum status status = read_text(reader, &text);
  if (status == STATUS_OK && !ends_value(reader))
    status = fail(reader, place_of(reader), "a blank or a comma is missing after the text");
  if (status == STATUS_OK)
    status = add_values(reader, item, repeats, place, text.data, text.length, true);
  text_release(&text);
  return status;
}

static enum status read_word(struct reader *reader, struct namelist_item *item, long repeats, struct place place) {
  const char *start = reader->p;
  while (is_word(*reader->p))
    advance(reader);
  int length = (int)(reader->p - start);
  if (*reader->p == '/' && is_name(reader->p[1]))
    return fail(reader, place, "put quotes around the text that begins with %.*s/: a / without quotes ends the group",
                length, start);
  if (*reader->p == '\'' || *reader->p == '"')
    return fail(reader, place_of(reader), "a blank or a comma is missing before the quote");
  if (!ends_value(reader))
    return fail(reader, place_of(reader), "'%c' cannot stand here; a text needs quotes, as in %s = 'text'", *reader->p,
                item->key);
  return add_values(reader, item, repeats, place, start, (size_t)length, false);
}

/* One value, with its repeat count. */
static enum status read_value(struct reader *reader, struct namelist_item *item) {
  struct place place = place_of(reader);
  long repeats;
  TRY(read_repeat(reader, &repeats));
  if (*reader->p == '\'' || *reader->p == '"')
    return read_quoted(reader, item, repeats, place);
  if (reader->p[0] == '(')
    return fail(
        reader, place,
        "'(' cannot stand here: there are no complex numbers and no indices; write all values of a list after the =");
  return read_word(reader, item, repeats, place);
}

static bool at_group_start(const struct reader *reader) {
  return *reader->p == '&' || *reader->p == '$';
}

/* Does "name =" or "name(" follow, that is, the next key? */
static bool at_key(const struct reader *reader) {
  size_t length = name_length(reader->p);
  if (length == 0)
    return false;
  struct reader ahead = *reader;
  ahead.p += length;
  skip_blanks(&ahead);
  return *ahead.p == '=' || *ahead.p == '(';
}

/* Values up to the next key, the group's end or the end of the content. Each comma ends one value, which is null if
 * nothing stands before the comma. */
static enum status read_values(struct reader *reader, struct namelist_item *item) {
  bool after_value = false;
  for (;;) {
    skip_blanks(reader);
    if (!*reader->p || *reader->p == '/' || at_group_start(reader) || at_key(reader))
      return STATUS_OK;
    if (*reader->p == ',') {
      if (!after_value)
        TRY(add_values(reader, item, 1, place_of(reader), "", 0, false));
      after_value = false;
      advance(reader);
    } else {
      TRY(read_value(reader, item));
      after_value = true;
    }
  }
}

/* "key = values" */
static enum status read_item(struct reader *reader, const char *group) {
  struct place place = place_of(reader);
  size_t length = name_length(reader->p);
  if (length == 0)
    return fail(reader, place, "expected a key such as \"seed = 1\", or / to end the group &%s, but found '%c'", group,
                *reader->p);
  char *key = lower_copy(reader->p, length, "namelist key");
  struct namelist_item *item = namelist_add_item(reader->list, reader->source, group, key);
  memory_release(key);
  item->line = place.line;
  item->column = place.column;
  reader->p += length;
  skip_blanks(reader);
  if (*reader->p == '(' || *reader->p == '%')
    return fail(reader, place_of(reader),
                "indices and members are not used here: write all values of %s after the =", item->key);
  if (*reader->p != '=')
    return fail(reader, place, "expected = after %s", item->key);
  advance(reader);
  return read_values(reader, item);
}

/* Consumes / or &end; otherwise leaves the reader where it was. */
static bool read_group_end(struct reader *reader) {
  if (*reader->p == '/') {
    advance(reader);
    return true;
  }
  if (!at_group_start(reader) || name_length(reader->p + 1) != 3 || strncasecmp(reader->p + 1, "end", 3) != 0)
    return false;
  reader->p += 4;
  return true;
}

static enum status read_items(struct reader *reader, const char *group, struct place start) {
  for (;;) {
    skip_blanks(reader);
    if (read_group_end(reader))
      return STATUS_OK;
    if (!*reader->p)
      return fail(reader, start, "the group &%s is not closed: put a / after its last key", group);
    if (at_group_start(reader))
      return fail(reader, place_of(reader), "a new group begins here, but &%s of line %d is not closed: put a / before",
                  group, start.line);
    TRY(read_item(reader, group));
  }
}

static enum status add_group(struct reader *reader, char *name, struct place place) {
  struct namelist *list = reader->list;
  for (int i = 0; i < list->group_count; i++)
    if (strcmp(list->groups[i].name, name) == 0) {
      memory_release(name);
      return fail(reader, place, "the group &%s stands already in line %d: put its keys together", list->groups[i].name,
                  list->groups[i].line);
    }
  list->groups = memory_resize(list->groups, (size_t)(list->group_count + 1) * sizeof *list->groups, "namelist groups");
  list->groups[list->group_count++] =
      (struct namelist_group){.name = name,
                              .source = memory_copy_string(reader->source, "namelist source"),
                              .line = place.line,
                              .column = place.column};
  return STATUS_OK;
}

static enum status read_group(struct reader *reader) {
  struct place start = place_of(reader);
  if (!at_group_start(reader))
    return fail(reader, start,
                "expected a group such as &run; between groups only comments (! ...) may stand (did a / without quotes "
                "end a group early?)");
  advance(reader);
  size_t length = name_length(reader->p);
  if (length == 0)
    return fail(reader, start, "expected the name of a group after %c", reader->p[-1]);
  TRY(add_group(reader, lower_copy(reader->p, length, "namelist group"), start));
  reader->p += length;
  return read_items(reader, reader->list->groups[reader->list->group_count - 1].name, start);
}

static struct reader reader_of(const char *source, const char *content, struct namelist *list) {
  if (text_starts_with(content, "\xef\xbb\xbf")) /* a byte order mark */
    content += 3;
  return (struct reader){.source = source, .p = content, .line_start = content, .line = 1, .list = list};
}

enum status namelist_parse(const char *source, const char *content, struct namelist *list) {
  struct reader reader = reader_of(source, content, list);
  for (;;) {
    skip_blanks(&reader);
    if (!*reader.p)
      return STATUS_OK;
    TRY(read_group(&reader));
  }
}

enum status namelist_parse_values(const char *source, const char *group, const char *key, const char *values,
                                  struct namelist *list) {
  struct reader reader = reader_of(source, values, list);
  struct namelist_item *item = namelist_add_item(list, source, group, key);
  item->line = item->column = 1;
  TRY(read_values(&reader, item));
  if (*reader.p)
    return fail(&reader, place_of(&reader), "'%c' cannot stand in the values of %s.%s", *reader.p, group, key);
  return STATUS_OK;
}

void namelist_release(struct namelist *list) {
  for (int i = 0; i < list->count; i++) {
    struct namelist_item *item = &list->items[i];
    for (int j = 0; j < item->count; j++)
      memory_release(item->values[j].text);
    memory_release(item->values);
    memory_release(item->group);
    memory_release(item->key);
    memory_release(item->source);
  }
  for (int i = 0; i < list->group_count; i++) {
    memory_release(list->groups[i].name);
    memory_release(list->groups[i].source);
  }
  memory_release(list->items);
  memory_release(list->groups);
  *list = (struct namelist){0};
}

#include "input/value.h"
#include "base/memory.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static void *place_in(struct settings *settings, const struct key *key) {
  return (char *)settings + key->offset;
}

enum status value_fail(const struct namelist_item *item, const struct namelist_value *value, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char *what = text_format_list(format, arguments);
  va_end(arguments);
  if (text_starts_with(item->source, "--")) /* an option of the command line */
    error_set(STATUS_INPUT, "%s: %s", item->source, what);
  else
    error_set(STATUS_INPUT, "%s:%d:%d: %s", item->source, value ? value->line : item->line,
              value ? value->column : item->column, what);
  memory_release(what);
  return STATUS_INPUT;
}

static void append_number(struct text *out, double value) {
  if (value == floor(value) && fabs(value) < 1e16)
    text_append_format(out, "%.0f", value);
  else
    text_append_format(out, "%g", value);
}

void value_append_range(const struct key *key, struct text *out) {
  if (isinf(key->minimum) && isinf(key->maximum))
    return;
  text_append_string(out, isinf(key->maximum) ? ", at least " : ", from ");
  append_number(out, key->minimum);
  if (isinf(key->maximum))
    return;
  text_append_string(out, " to ");
  append_number(out, key->maximum);
}

static enum status check_range(const struct key *key, const struct namelist_item *item,
                               const struct namelist_value *value, double number) {
  if (number >= key->minimum && number <= key->maximum)
    return STATUS_OK;
  struct text range = {0};
  value_append_range(key, &range);
  enum status status =
      value_fail(item, value, "%s.%s is %s, but must be%s", key->group, key->name, value->text, range.data + 1);
  text_release(&range);
  return status;
}

static enum status read_integer(const struct key *key, const struct namelist_item *item,
                                const struct namelist_value *value, int64_t *out) {
  char *end;
  errno = 0;
  *out = strtoll(value->text, &end, 10);
  if (value->quoted || *end || end == value->text)
    return value_fail(item, value, "%s.%s takes an integer, not %s%s%s", key->group, key->name,
                      value->quoted ? "'" : "", value->text, value->quoted ? "'" : "");
  if (errno == ERANGE)
    return value_fail(item, value, "%s.%s: %s is too large for an integer", key->group, key->name, value->text);
  return check_range(key, item, value, (double)*out);
}

/* Fortran's forms in C's: 1.5d-3 and 1.5-3 become 1.5e-3. memory_release. */
static char *plain_number(const char *number) {
  struct text out = {0};
  for (const char *p = number; *p; p++) {
    const bool sign = *p == '+' || *p == '-', after_digit = p > number && strchr("0123456789.", p[-1]);
    if (sign && after_digit)
      text_append_string(&out, "e");
    text_append(&out, *p == 'd' || *p == 'D' ? "e" : p, 1);
  }
  text_append(&out, "", 0);
  return out.data;
}

static enum status read_real(const struct key *key, const struct namelist_item *item,
                             const struct namelist_value *value, double *out) {
  char *number = plain_number(value->text), *end;
  bool plain = strspn(number, "0123456789+-.eE") == strlen(number);
  *out = strtod(number, &end);
  bool whole = plain && !*end && end != number;
  memory_release(number);
  if (value->quoted || !whole || !isfinite(*out))
    return value_fail(item, value, "%s.%s takes a number, not %s%s%s", key->group, key->name, value->quoted ? "'" : "",
                      value->text, value->quoted ? "'" : "");
  return check_range(key, item, value, *out);
}

static enum status read_logical(const struct key *key, const struct namelist_item *item,
                                const struct namelist_value *value, bool *out) {
  static const char *const words[2][4] = {{".false.", "false", ".f.", "f"}, {".true.", "true", ".t.", "t"}};
  for (int truth = 0; truth < 2; truth++)
    for (int i = 0; i < 4; i++)
      if (!value->quoted && text_equal_ignore_case(value->text, words[truth][i])) {
        *out = truth;
        return STATUS_OK;
      }
  return value_fail(item, value, "%s.%s takes .true. or .false., not %s%s%s", key->group, key->name,
                    value->quoted ? "'" : "", value->text, value->quoted ? "'" : "");
}

enum { CHOICES_MAX = 16 };

/* Cuts "a|b|c" in a copy that the caller releases. */
static int split_choices(const char *choices, char **copy, const char *parts[CHOICES_MAX]) {
  int count = 0;
  *copy = memory_copy_string(choices, "choices");
  for (char *p = *copy, *saved; (p = strtok_r(p, "|", &saved)) && count < CHOICES_MAX; p = NULL)
    parts[count++] = p;
  return count;
}

void value_append_choices(const char *choices, struct text *out) {
  for (const char *p = choices; *p; p++)
    text_append(out, *p == '|' ? ", " : p, *p == '|' ? 2 : 1);
}

static enum status check_choice(const struct key *key, const struct namelist_item *item,
                                const struct namelist_value *value) {
  char *copy;
  const char *parts[CHOICES_MAX];
  int count = split_choices(key->choices, &copy, parts);
  bool found = value->text[0] == '\0' && key->fallback[0] == '\0'; /* a key without default may stay empty */
  for (int i = 0; i < count; i++)
    found |= strcmp(parts[i], value->text) == 0;
  enum status status = STATUS_OK;
  if (!found) {
    const char *nearest = text_nearest(value->text, parts, (size_t)count);
    struct text list = {0};
    value_append_choices(key->choices, &list);
    status = value_fail(item, value, "%s.%s='%s' is none of %s%s%s%s", key->group, key->name, value->text, list.data,
                        nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
    text_release(&list);
  }
  memory_release(copy);
  return status;
}

static enum status check_text(const struct key *key, const struct namelist_item *item,
                              const struct namelist_value *value) {
  if (!value->quoted)
    return value_fail(item, value, "%s.%s takes a text, which needs quotes: %s = '%s'", key->group, key->name,
                      key->name, value->text);
  for (const char *p = value->text; *p; p++)
    if ((unsigned char)*p < 0x20 && *p != '\t')
      return value_fail(item, value, "%s.%s holds a control character (code %d)", key->group, key->name, *p);
  return key->choices ? check_choice(key, item, value) : STATUS_OK;
}

static enum status store_text(const struct key *key, const struct namelist_item *item, struct settings *settings) {
  TRY(check_text(key, item, &item->values[0]));
  char **place = place_in(settings, key);
  memory_release(*place);
  *place = memory_copy_string(item->values[0].text, "setting");
  return STATUS_OK;
}

static enum status store_scalar(const struct key *key, const struct namelist_item *item, struct settings *settings) {
  if (item->count > 1)
    return value_fail(item, &item->values[1], "%s.%s takes one value; a second one stands here", key->group, key->name);
  if (item->count == 0 || item->values[0].null)
    return STATUS_OK;
  void *place = place_in(settings, key);
  switch (key->type) {
  case KEY_TEXT:
    return store_text(key, item, settings);
  case KEY_INTEGER:
    return read_integer(key, item, &item->values[0], place);
  case KEY_REAL:
    return read_real(key, item, &item->values[0], place);
  default:
    return read_logical(key, item, &item->values[0], place);
  }
}

static enum status missing_value(const struct key *key, const struct namelist_item *item, int index) {
  return value_fail(item, &item->values[index], "value %d of %s.%s is left out and has no default", index + 1,
                    key->group, key->name);
}

static void release_texts(struct text_list *list) {
  for (int i = 0; i < list->count; i++)
    memory_release(list->items[i]);
  memory_release(list->items);
  *list = (struct text_list){0};
}

/* '' alone stands for the empty list. */
static enum status store_texts(const struct key *key, const struct namelist_item *item, struct text_list *list) {
  struct text_list fresh = {0};
  bool empty = item->count == 1 && item->values[0].quoted && !item->values[0].text[0];
  enum status status = STATUS_OK;
  fresh.items = empty ? NULL : memory_allocate((size_t)item->count * sizeof *fresh.items, "settings");
  for (int i = 0; !empty && i < item->count && status == STATUS_OK; i++) {
    const struct namelist_value *value = &item->values[i];
    status = !value->null ? check_text(key, item, value) : i < list->count ? STATUS_OK : missing_value(key, item, i);
    if (status == STATUS_OK)
      fresh.items[fresh.count++] = memory_copy_string(value->null ? list->items[i] : value->text, "setting");
  }
  release_texts(status == STATUS_OK ? list : &fresh);
  if (status == STATUS_OK)
    *list = fresh;
  return status;
}

static enum status store_integers(const struct key *key, const struct namelist_item *item, struct integer_list *list) {
  int64_t *items = memory_allocate((size_t)item->count * sizeof *items, "settings");
  enum status status = STATUS_OK;
  for (int i = 0; i < item->count && status == STATUS_OK; i++)
    if (!item->values[i].null)
      status = read_integer(key, item, &item->values[i], &items[i]);
    else if (i < list->count)
      items[i] = list->items[i];
    else
      status = missing_value(key, item, i);
  memory_release(status == STATUS_OK ? list->items : items);
  if (status == STATUS_OK)
    *list = (struct integer_list){items, item->count};
  return status;
}

static enum status store_reals(const struct key *key, const struct namelist_item *item, struct real_list *list) {
  double *items = memory_allocate((size_t)item->count * sizeof *items, "settings");
  enum status status = STATUS_OK;
  for (int i = 0; i < item->count && status == STATUS_OK; i++)
    if (!item->values[i].null)
      status = read_real(key, item, &item->values[i], &items[i]);
    else if (i < list->count)
      items[i] = list->items[i];
    else
      status = missing_value(key, item, i);
  memory_release(status == STATUS_OK ? list->items : items);
  if (status == STATUS_OK)
    *list = (struct real_list){items, item->count};
  return status;
}

enum status value_store(const struct key *key, const struct namelist_item *item, struct settings *settings) {
  bool list = key->type == KEY_TEXTS || key->type == KEY_INTEGERS || key->type == KEY_REALS;
  if (!list)
    return store_scalar(key, item, settings);
  if (item->count == 0)
    return STATUS_OK;
  if (key->type == KEY_TEXTS)
    return store_texts(key, item, place_in(settings, key));
  if (key->type == KEY_INTEGERS)
    return store_integers(key, item, place_in(settings, key));
  return store_reals(key, item, place_in(settings, key));
}

void value_store_default(const struct key *key, struct settings *settings) {
  if (key->type == KEY_TEXT)
    *(char **)place_in(settings, key) = memory_copy_string("", "setting");
  struct namelist list = {0};
  enum status status = namelist_parse_values("default", key->group, key->name, key->fallback, &list);
  if (status == STATUS_OK)
    status = value_store(key, &list.items[0], settings);
  namelist_release(&list);
  if (status != STATUS_OK)
    fatal("the default of %s.%s: %s", key->group, key->name, error_message());
}

void value_release(const struct key *key, struct settings *settings) {
  void *place = place_in(settings, key);
  if (key->type == KEY_TEXT) {
    memory_release(*(char **)place);
    *(char **)place = NULL;
  } else if (key->type == KEY_TEXTS) {
    release_texts(place);
  } else if (key->type == KEY_INTEGERS) {
    memory_release(((struct integer_list *)place)->items);
    *(struct integer_list *)place = (struct integer_list){0};
  } else if (key->type == KEY_REALS) {
    memory_release(((struct real_list *)place)->items);
    *(struct real_list *)place = (struct real_list){0};
  }
}

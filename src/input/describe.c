/* The table of keys for people: used.nml, --describe, the reference input, and the comparison on resume. */
#include "base/memory.h"
#include "input/reading.h"
#include "input/value.h"
#include <string.h>

static const char *const type_words[] = {
    [KEY_TEXT] = "text",   [KEY_TEXTS] = "texts",   [KEY_INTEGER] = "integer",          [KEY_INTEGERS] = "integers",
    [KEY_REAL] = "number", [KEY_REALS] = "numbers", [KEY_LOGICAL] = ".true. or .false."};

/* "integer, at least 1, in steps" */
static void append_type(const struct key *key, struct text *out) {
  bool number = key->type >= KEY_INTEGER && key->type <= KEY_REALS;
  text_append_string(out, type_words[key->type]);
  if (key->choices) {
    text_append_string(out, ": ");
    value_append_choices(key->choices, out);
  }
  if (number)
    value_append_range(key, out);
  if (key->unit[0] != '\0' && number)
    text_append_format(out, ", in %s", key->unit);
}

/* `words` in lines of at most 100 columns, each after `prefix`. */
static void append_wrapped(struct text *out, const char *prefix, const char *words) {
  enum { COLUMNS = 100 };
  size_t column = 0;
  while (*words) {
    size_t length = strcspn(words, " ");
    if (column > 0 && column + 1 + length > COLUMNS) {
      text_append_string(out, "\n");
      column = 0;
    }
    text_append_string(out, column == 0 ? prefix : " ");
    column += (column == 0 ? strlen(prefix) : 1) + length;
    text_append(out, words, length);
    words += length;
    words += strspn(words, " ");
  }
  text_append_string(out, "\n");
}

static void append_assignment(struct text *out, const char *indent, const struct key *key, const char *value) {
  text_append_format(out, "%s%s =%s%s\n", indent, key->name, value[0] ? " " : "", value);
}

/* `settings` NULL: the defaults. */
static void append_key(struct text *out, const struct key *key, const struct settings *settings) {
  struct text value = {0}, type = {0};
  append_type(key, &type);
  text_append_format(&type, ". %s", key->help);
  append_wrapped(out, "  ! ", type.data);
  if (settings)
    value_print(key, settings, true, &value);
  append_assignment(out, "  ", key, settings ? value.data : key->fallback);
  text_release(&value);
  text_release(&type);
}

static void append_group(struct text *out, const struct key_group *group, const struct settings *settings) {
  append_wrapped(out, "! ", group->help);
  text_append_format(out, "&%s\n", group->name);
  for (size_t i = 0; i < key_table_count; i++)
    if (strcmp(key_table[i].group, group->name) == 0)
      append_key(out, &key_table[i], settings);
  text_append_string(out, "/\n");
}

void input_write_used(const struct settings *settings, struct text *out) {
  text_append_string(out, "! The settings of a memclip run: every key, given or defaulted, paths made absolute.\n");
  for (size_t i = 0; i < key_group_count; i++) {
    text_append_string(out, "\n");
    if (strcmp(key_group_table[i].name, "memory") == 0 && !settings->memory.present)
      text_append_string(out, "! No group &memory: the model has no memories.\n");
    else
      append_group(out, &key_group_table[i], settings);
  }
}

static const char *resume_words(const struct key *key) {
  return key->on_resume == RESUME_FREE   ? "may change"
         : key->on_resume == RESUME_WARN ? "may change, with a warning"
                                         : "must stay";
}

/* The key as --describe shows it. */
static void describe_key(struct text *out, const struct key *key) {
  struct text type = {0};
  append_type(key, &type);
  append_assignment(out, "  ", key, key->fallback);
  append_wrapped(out, "      ", type.data);
  append_wrapped(out, "      ", key->help);
  text_clear(&type);
  text_append_format(&type, "Stages: %s. On resume: %s.", key->stages, resume_words(key));
  append_wrapped(out, "      ", type.data);
  text_release(&type);
}

static void describe_group(struct text *out, const struct key_group *group) {
  text_append_format(out, "&%s\n", group->name);
  append_wrapped(out, "  ", group->help);
  for (size_t i = 0; i < key_table_count; i++)
    if (strcmp(key_table[i].group, group->name) == 0) {
      text_append_string(out, "\n");
      describe_key(out, &key_table[i]);
    }
}

/* Does `name` (of `length` characters) say the group, whatever the case? */
static bool names_group(const struct key_group *group, const char *name, size_t length) {
  char *copy = text_format("%.*s", (int)length, name);
  bool same = text_equal_ignore_case(group->name, copy);
  memory_release(copy);
  return same;
}

static enum status describe_named(const struct key_group *group, const char *name, struct text *out) {
  struct namelist lower = {0};
  const struct namelist_item *item = namelist_add_item(&lower, "--describe", group->name, name);
  const struct key *key = key_find(item->group, item->key);
  enum status status = STATUS_OK;
  if (key) {
    describe_key(out, key);
  } else {
    name_unknown_key(item);
    status = STATUS_USAGE;
  }
  namelist_release(&lower);
  return status;
}

static enum status describe(const char *what, struct text *out) {
  bool all = !what || what[0] == '\0';
  size_t length = all ? 0 : strcspn(what, ".");
  for (size_t i = 0; i < key_group_count; i++) {
    if (all && i > 0)
      text_append_string(out, "\n");
    if (all || names_group(&key_group_table[i], what, length)) {
      if (!all && what[length] == '.')
        return describe_named(&key_group_table[i], what + length + 1, out);
      describe_group(out, &key_group_table[i]);
      if (!all)
        return STATUS_OK;
    }
  }
  if (all)
    return STATUS_OK;
  char *name = text_format("%.*s", (int)length, what);
  name_unknown_group("--describe", name);
  memory_release(name);
  return STATUS_USAGE;
}

enum status input_describe(const char *what, FILE *out) {
  struct text text = {0};
  enum status status = describe(what, &text);
  if (status == STATUS_OK)
    fwrite(text.data, 1, text.length, out);
  text_release(&text);
  return status;
}

void input_write_reference(FILE *out) {
  struct text text = {0};
  text_append_string(&text, "! Every key of memclip's input with its default. Copy the groups and keys you need; what "
                            "is left out takes the default.\n");
  for (size_t i = 0; i < key_group_count; i++) {
    text_append_string(&text, "\n");
    append_group(&text, &key_group_table[i], NULL);
  }
  fwrite(text.data, 1, text.length, out);
  text_release(&text);
}

static bool is_compared(const struct key *key, const struct settings *now, const struct settings *then) {
  if (strcmp(key->group, "memory") == 0 && !(now->memory.present && then->memory.present))
    return false;
  return key_serves(key, now->run.stage);
}

/* Adds "optim.lr: 0.1, was 0.2" to `fixed`, or tells `warn`. */
static void compare_key(const struct key *key, const struct settings *now, const struct settings *then,
                        struct text *fixed, void (*warn)(const char *message)) {
  struct text a = {0}, b = {0};
  value_print(key, now, true, &a);
  value_print(key, then, true, &b);
  if (strcmp(a.data, b.data) != 0) {
    struct text difference = {0};
    text_append_format(&difference, "%s.%s is %s, was %s", key->group, key->name, a.length ? a.data : "empty",
                       b.length ? b.data : "empty");
    if (key->on_resume == RESUME_FIXED)
      text_append_format(fixed, "\n  %s", difference.data);
    else if (warn) {
      text_append_string(&difference, key->on_resume == RESUME_WARN ? " when this run began: its results change"
                                                                    : " when this run began");
      warn(difference.data);
    }
    text_release(&difference);
  }
  text_release(&b);
  text_release(&a);
}

enum status input_compare_for_resume(const struct settings *now, const char *used_then,
                                     void (*warn)(const char *message)) {
  struct settings then;
  struct text fixed = {0};
  TRY(reading_of_used(used_then, &then));
  if (now->memory.present != then.memory.present)
    text_append_format(&fixed, "\n  the group &memory is %s, was %s", now->memory.present ? "there" : "absent",
                       then.memory.present ? "there" : "absent");
  for (size_t i = 0; i < key_table_count; i++)
    if (is_compared(&key_table[i], now, &then))
      compare_key(&key_table[i], now, &then, &fixed, warn);
  enum status status = STATUS_OK;
  if (fixed.length > 0)
    status = error_set(STATUS_INPUT,
                       "the run directory %s belongs to another input:%s\n"
                       "Take another run.directory (run.resume='PATH' branches from a checkpoint there), or put these "
                       "back",
                       now->run.directory, fixed.data);
  text_release(&fixed);
  settings_release(&then);
  return status;
}

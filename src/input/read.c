#include "base/file.h"
#include "base/memory.h"
#include "input/reading.h"
#include "input/value.h"
#include <string.h>

const struct key *key_find(const char *group, const char *name) {
  for (size_t i = 0; i < key_table_count; i++)
    if (strcmp(key_table[i].group, group) == 0 && strcmp(key_table[i].name, name) == 0)
      return &key_table[i];
  return NULL;
}

bool key_serves(const struct key *key, const char *stage) {
  size_t length = strlen(stage);
  if (strcmp(key->stages, "all") == 0)
    return true;
  for (const char *p = key->stages; length > 0 && (p = strstr(p, stage)); p += length)
    if ((p == key->stages || p[-1] == ' ') && (p[length] == '\0' || p[length] == ' '))
      return true;
  return false;
}

static bool group_exists(const char *name) {
  for (size_t i = 0; i < key_group_count; i++)
    if (strcmp(key_group_table[i].name, name) == 0)
      return true;
  return false;
}

static enum status check_groups(const struct reading *reading) {
  for (int i = 0; i < reading->file.group_count; i++) {
    const struct namelist_group *group = &reading->file.groups[i];
    if (group_exists(group->name))
      continue;
    char *place = text_format("%s:%d:%d", group->source, group->line, group->column);
    name_unknown_group(place, group->name);
    memory_release(place);
    return STATUS_INPUT;
  }
  return STATUS_OK;
}

static const struct namelist_item *find_earlier(const struct namelist *list, const struct namelist_item *item) {
  for (const struct namelist_item *earlier = list->items; earlier < item; earlier++)
    if (strcmp(earlier->group, item->group) == 0 && strcmp(earlier->key, item->key) == 0)
      return earlier;
  return NULL;
}

/* Stores every item of the list; a second item for a key of the same list is an error. */
static enum status apply(struct reading *reading, const struct namelist *list) {
  for (int i = 0; i < list->count; i++) {
    const struct namelist_item *item = &list->items[i], *earlier = find_earlier(list, item);
    const struct key *key = key_find(item->group, item->key);
    if (!key)
      return name_unknown_key(item);
    if (earlier && list == &reading->assignments)
      return value_fail(item, NULL, "%s.%s is set twice", key->group, key->name);
    if (earlier)
      return value_fail(item, NULL, "%s.%s stands already in line %d", key->group, key->name, earlier->line);
    reading->given[key - key_table] = item;
    TRY(value_store(key, item, reading->settings));
  }
  return STATUS_OK;
}

/* Texts of an assignment need no quotes: one text, or texts at commas outside braces. */
static void add_plain_texts(struct namelist_item *item, const struct key *key, const char *text) {
  int depth = 0;
  const char *start = text;
  for (const char *p = text; key->type == KEY_TEXTS && *p; p++) {
    depth += (*p == '{') - (*p == '}');
    if (*p == ',' && depth == 0) {
      namelist_add_text(item, start, (size_t)(p - start));
      start = p + 1;
    }
  }
  namelist_add_text(item, start, strlen(start));
}

static enum status parse_assignment_of(const struct key *key, const char *source, const char *values,
                                       struct namelist *list) {
  bool text = key->type == KEY_TEXT || key->type == KEY_TEXTS;
  values += strspn(values, " \t");
  if (!text || *values == '\'' || *values == '"')
    return namelist_parse_values(source, key->group, key->name, values, list);
  add_plain_texts(namelist_add_item(list, source, key->group, key->name), key, values);
  return STATUS_OK;
}

static bool is_known_group(const char *assignment, size_t length) {
  char *group = text_format("%.*s", (int)length, assignment);
  bool known = group_exists(group);
  memory_release(group);
  return known;
}

static enum status parse_assignment(const char *assignment, struct namelist *list) {
  const char *dot = strchr(assignment, '.'), *equals = strchr(assignment, '=');
  if (!dot || !equals || equals < dot)
    return error_set(STATUS_INPUT, "--set %s: expected group.key=value, such as optim.lr=1e-4", assignment);
  size_t group_length = (size_t)(dot - assignment), name_length = strcspn(dot + 1, " \t=");
  char *source = text_format("--set %s", assignment), *group = text_format("%.*s", (int)group_length, assignment),
       *name = text_format("%.*s", (int)name_length, dot + 1);
  struct namelist lower = {0}; /* names in lower case */
  const struct namelist_item *item = namelist_add_item(&lower, source, group, name);
  const struct key *key = key_find(item->group, item->key);
  enum status status;
  if (key)
    status = parse_assignment_of(key, source, equals + 1, list);
  else if (is_known_group(item->group, group_length))
    status = name_unknown_key(item);
  else
    status = name_unknown_group(source, item->group);
  namelist_release(&lower);
  memory_release(name);
  memory_release(group);
  memory_release(source);
  return status;
}

static bool has_memory(const struct reading *reading) {
  for (int i = 0; i < reading->file.group_count; i++)
    if (strcmp(reading->file.groups[i].name, "memory") == 0)
      return true;
  for (int i = 0; i < reading->assignments.count; i++)
    if (strcmp(reading->assignments.items[i].group, "memory") == 0)
      return true;
  return false;
}

static void warn_unused_groups(const struct reading *reading, void (*warn)(const char *message)) {
  for (int i = 0; i < reading->file.group_count && warn; i++) {
    const struct namelist_group *group = &reading->file.groups[i];
    bool used = false;
    for (size_t k = 0; k < key_table_count; k++)
      used |= strcmp(key_table[k].group, group->name) == 0 && key_serves(&key_table[k], reading->settings->run.stage);
    if (!used) {
      char *message = text_format("%s:%d: the stage '%s' does not use the group &%s", group->source, group->line,
                                  reading->settings->run.stage, group->name);
      warn(message);
      memory_release(message);
    }
  }
}

static void store_defaults(struct settings *settings) {
  *settings = (struct settings){0};
  for (size_t i = 0; i < key_table_count; i++)
    value_store_default(&key_table[i], settings);
}

static enum status fill(struct reading *reading, const char *content, const char *const *assignments,
                        int assignment_count) {
  TRY(namelist_parse(reading->source, content, &reading->file));
  TRY(check_groups(reading));
  for (int i = 0; i < assignment_count; i++)
    TRY(parse_assignment(assignments[i], &reading->assignments));
  TRY(apply(reading, &reading->file));
  TRY(apply(reading, &reading->assignments));
  reading->settings->memory.present = has_memory(reading);
  return STATUS_OK;
}

static enum status read_text(const char *source, const char *content, const char *const *assignments,
                             int assignment_count, struct settings *settings, void (*warn)(const char *message),
                             bool check) {
  struct reading reading = {.source = source, .settings = settings};
  reading.given = memory_allocate(key_table_count * sizeof *reading.given, "given keys");
  store_defaults(settings);
  enum status status = fill(&reading, content, assignments, assignment_count);
  if (status == STATUS_OK && check)
    status = checks_run(&reading);
  if (status == STATUS_OK)
    warn_unused_groups(&reading, warn);
  else
    settings_release(settings);
  memory_release(reading.given);
  namelist_release(&reading.file);
  namelist_release(&reading.assignments);
  return status;
}

enum status input_read_text(const char *source, const char *content, const char *const *assignments,
                            int assignment_count, struct settings *settings, void (*warn)(const char *message)) {
  return read_text(source, content, assignments, assignment_count, settings, warn, true);
}

enum status reading_of_used(const char *content, struct settings *settings) {
  return read_text("used.nml", content, NULL, 0, settings, NULL, false);
}

enum status input_read(const char *path, const char *const *assignments, int assignment_count,
                       struct settings *settings, void (*warn)(const char *message)) {
  struct text content = {0};
  *settings = (struct settings){0};
  enum status status = file_read(path, &content);
  if (status == STATUS_OK && strlen(content.data) != content.length)
    status = error_set(STATUS_INPUT, "%s holds a NUL byte: it is not an input file", path);
  if (status == STATUS_OK)
    status = input_read_text(path, content.data, assignments, assignment_count, settings, warn);
  text_release(&content);
  return status;
}

void settings_release(struct settings *settings) {
  for (size_t i = 0; i < key_table_count; i++)
    value_release(&key_table[i], settings);
  *settings = (struct settings){0};
}

#include "data/captions.h"
#include "base/memory.h"
#include <jansson.h>
#include <string.h>

struct name_list name_list_parse(const char *names) {
  struct name_list list = {0};
  char *copy = memory_copy_string(names, "names"), *rest = copy;
  list.names = memory_allocate((strlen(names) + 1) * sizeof list.names[0], "names");
  for (char *name; (name = strsep(&rest, ";")) != NULL;)
    if (*name)
      list.names[list.count++] = memory_copy_string(name, "name");
  memory_release(copy);
  return list;
}

void name_list_release(struct name_list *list) {
  for (int i = 0; i < list->count; i++)
    memory_release(list->names[i]);
  memory_release(list->names);
  *list = (struct name_list){0};
}

enum status caption_from_json(const struct text *json, const struct name_list *keys, const int *order,
                              struct text *caption) {
  json_error_t error;
  json_t *root = json_loadb(json->length > 0 ? json->data : "", json->length, JSON_ALLOW_NUL, &error);
  if (!json_is_object(root)) {
    json_decref(root);
    return error_set(STATUS_INPUT, "the json member is no JSON object: %s", error.text);
  }
  bool found = false;
  for (int i = 0; i < keys->count && caption->length == 0; i++) {
    const json_t *value = json_object_get(root, keys->names[order ? order[i] : i]);
    if (!json_is_string(value))
      continue;
    found = true;
    text_append(caption, json_string_value(value), json_string_length(value));
  }
  json_decref(root);
  return found ? STATUS_OK : error_set(STATUS_INPUT, "the json member has no text under \"%s\"", keys->names[0]);
}

void caption_shorten(struct text *caption) {
  char *stop = caption->data ? memchr(caption->data, '.', caption->length) : NULL;
  if (!stop)
    return;
  *stop = '\0';
  caption->length = (size_t)(stop - caption->data);
}

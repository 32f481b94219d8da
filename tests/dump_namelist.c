/* Prints what the namelist reader takes from a file, as a JSON object of groups of keys of lists: quoted values as
 * texts, null ones as null, words as {"word": ...}. For comparison with other readers. */
#include "base/file.h"
#include "base/memory.h"
#include "input/namelist.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static json_t *value_object(const struct namelist_value *value) {
  if (value->null)
    return json_null();
  return value->quoted ? json_string(value->text) : json_pack("{s:s}", "word", value->text);
}

int main(int argc, char **argv) {
  struct text content = {0};
  struct namelist list = {0};
  const char *path = argc == 2 ? argv[1] : "/dev/stdin";
  if (file_read(path, &content) != STATUS_OK || namelist_parse("input", content.data, &list) != STATUS_OK) {
    fprintf(stderr, "%s\n", error_message());
    return STATUS_INPUT;
  }
  json_t *groups = json_object();
  for (int i = 0; i < list.group_count; i++)
    json_object_set_new(groups, list.groups[i].name, json_object());
  for (int i = 0; i < list.count; i++) {
    json_t *values = json_array();
    for (int j = 0; j < list.items[i].count; j++)
      json_array_append_new(values, value_object(&list.items[i].values[j]));
    json_object_set_new(json_object_get(groups, list.items[i].group), list.items[i].key, values);
  }
  char *dump = json_dumps(groups, 0);
  puts(dump);
  free(dump);
  json_decref(groups);
  namelist_release(&list);
  text_release(&content);
  return 0;
}

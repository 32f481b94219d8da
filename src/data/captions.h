/* Where a sample's caption comes from: "txt" (alternatives "txt;caption"), or "json:KEY" (alternatives "json:a;b": the
 * first field that is not empty). */
#ifndef MEMCLIP_DATA_CAPTIONS_H
#define MEMCLIP_DATA_CAPTIONS_H
#include "base/error.h"
#include "base/text.h"
#include <stdbool.h>

struct name_list { /* the parts between semicolons */
  char **names;
  int count;
};
struct name_list name_list_parse(const char *names);
void name_list_release(struct name_list *list);

/* The first of `keys` that is a text and not empty in the JSON object; all empty: an empty caption. STATUS_INPUT when
 * it is no object or has none. `order`: in which the keys are tried (their numbers), NULL as they stand. */
enum status caption_from_json(const struct text *json, const struct name_list *keys, const int *order,
                              struct text *caption);
/* Cuts a caption to its first sentence: up to, not including, the first "." (methods 3.1); without one it stays whole.
 */
void caption_shorten(struct text *caption);
#endif

/* Values of one key: from a namelist item into struct settings, and back into namelist text. */
#ifndef MEMCLIP_INPUT_VALUE_H
#define MEMCLIP_INPUT_VALUE_H
#include "input/keys.h"
#include "input/namelist.h"

/* STATUS_INPUT with the item's place: of the value, or of the key when `value` is NULL. */
enum status value_fail(const struct namelist_item *item, const struct namelist_value *value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts the item's values into the key's place after checking type, range and choices. Null values leave what is there.
 */
enum status value_store(const struct key *key, const struct namelist_item *item, struct settings *settings);
void value_store_default(const struct key *key, struct settings *settings);
void value_release(const struct key *key, struct settings *settings);
/* As one would write it after the =; "" for an empty list of numbers. With `absolute`, paths are made so. */
void value_print(const struct key *key, const struct settings *settings, bool absolute, struct text *out);
/* ", at least 0", ", from 0 to 1" or nothing; "a, b, c" for "a|b|c". */
void value_append_range(const struct key *key, struct text *out);
void value_append_choices(const char *choices, struct text *out);
#endif

#include "model/config_reader.h"
#include "base/text.h"
#include <string.h>

/* NULL where the key is absent or null: both leave the default. */
static json_t *given(const struct config_reader *reader, const char *key) {
  json_t *item = json_object_get(reader->object, key);
  return json_is_null(item) ? NULL : item;
}

enum status config_read_integer(const struct config_reader *reader, const char *key, int minimum, int *value) {
  json_t *item = given(reader, key);
  if (!item)
    return STATUS_OK;
  if (!json_is_integer(item) || json_integer_value(item) < minimum || json_integer_value(item) > 1 << 24)
    return error_set(STATUS_INPUT, "%s: %s.%s must be a whole number of at least %d", reader->source, reader->section,
                     key, minimum);
  *value = (int)json_integer_value(item);
  return STATUS_OK;
}

enum status config_read_real(const struct config_reader *reader, const char *key, double *value) {
  json_t *item = given(reader, key);
  if (!item)
    return STATUS_OK;
  if (!json_is_number(item))
    return error_set(STATUS_INPUT, "%s: %s.%s must be a number", reader->source, reader->section, key);
  *value = json_number_value(item);
  return STATUS_OK;
}

enum status config_read_logical(const struct config_reader *reader, const char *key, bool *value) {
  json_t *item = given(reader, key);
  if (!item)
    return STATUS_OK;
  if (!json_is_boolean(item))
    return error_set(STATUS_INPUT, "%s: %s.%s must be true or false", reader->source, reader->section, key);
  *value = json_is_true(item);
  return STATUS_OK;
}

enum status config_refuse(const struct config_reader *reader, const char *const *keys, size_t count) {
  for (size_t i = 0; i < count; i++) {
    json_t *item = given(reader, keys[i]);
    if (item && !json_is_false(item) && !(json_is_string(item) && json_string_length(item) == 0))
      return error_set(STATUS_INPUT,
                       "%s: %s.%s belongs to another architecture; only open_clip's native vision and text "
                       "transformers are supported",
                       reader->source, reader->section, keys[i]);
  }
  return STATUS_OK;
}

enum status config_read_word(const struct config_reader *reader, const char *key, const char *const *words,
                             const char **value) {
  json_t *item = given(reader, key);
  if (!item)
    return STATUS_OK;
  for (; json_is_string(item) && *words; words++)
    if (strcmp(json_string_value(item), *words) == 0) {
      *value = *words;
      return STATUS_OK;
    }
  return error_set(STATUS_INPUT, "%s: %s.%s: \"%s\" is not supported", reader->source, reader->section, key,
                   json_is_string(item) ? json_string_value(item) : "no text");
}

enum status config_know_all(const struct config_reader *reader, const char *const *names, size_t count) {
  const char *key;
  json_t *item;
  if (reader->object && !json_is_object(reader->object) && !json_is_null(reader->object))
    return error_set(STATUS_INPUT, "%s: %s must be an object of keys", reader->source, reader->section);
  json_object_foreach(reader->object, key, item) {
    bool known = json_is_null(item) || json_is_false(item);
    for (size_t i = 0; i < count && !known; i++)
      known = text_ends_with(names[i], "_") ? text_starts_with(key, names[i]) : strcmp(key, names[i]) == 0;
    const char *nearest = known ? NULL : text_nearest(key, names, count);
    if (!known)
      return error_set(STATUS_INPUT, "%s: %s.%s is not known here%s%s%s", reader->source, reader->section, key,
                       nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
  }
  return STATUS_OK;
}

enum status config_expect_word(const struct config_reader *reader, const char *key, const char *word) {
  json_t *item = given(reader, key);
  if (!item || (json_is_string(item) && strcmp(json_string_value(item), word) == 0))
    return STATUS_OK;
  return error_set(STATUS_INPUT, "%s: %s.%s is not supported unless it is '%s'", reader->source, reader->section, key,
                   word);
}

enum status config_expect_argument(const struct config_reader *reader, const char *key, const char *argument,
                                   double value) {
  json_t *object = json_object_get(reader->object, key), *item = json_object_get(object, argument);
  const bool fits = json_object_size(object) == 0 ||
                    (json_object_size(object) == 1 && json_is_number(item) && json_number_value(item) == value);
  return fits ? STATUS_OK
              : error_set(STATUS_INPUT, "%s: %s.%s is not supported: it changes the arithmetic", reader->source,
                          reader->section, key);
}

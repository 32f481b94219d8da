/* Single keys of a JSON section. Absent or null leaves the value; a wrong type or an impossible value is an error that
 * names the key. */
#ifndef MEMCLIP_MODEL_CONFIG_READER_H
#define MEMCLIP_MODEL_CONFIG_READER_H
#include "base/error.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct config_reader {
  json_t *object;
  const char *source, *section; /* for messages */
};
enum status config_read_integer(const struct config_reader *reader, const char *key, int minimum, int *value);
enum status config_read_real(const struct config_reader *reader, const char *key, double *value);
enum status config_read_logical(const struct config_reader *reader, const char *key, bool *value);
/* One of `words` (the last is NULL), of which *value becomes the literal. */
enum status config_read_word(const struct config_reader *reader, const char *key, const char *const *words,
                             const char **value);
/* A key that may only say what this program does anyway. */
enum status config_expect_word(const struct config_reader *reader, const char *key, const char *word);
/* An object of arguments with at most one known key, whose value is fixed here. */
enum status config_expect_argument(const struct config_reader *reader, const char *key, const char *argument,
                                   double value);
/* Keys that mean another architecture when they are present and not null, false or empty. */
enum status config_refuse(const struct config_reader *reader, const char *const *keys, size_t count);
/* open_clip refuses a key that it does not know; here a value that says "off" passes as well. A name that ends in '_'
 * stands for all that begin so: arguments of what is refused or absent. */
enum status config_know_all(const struct config_reader *reader, const char *const *names, size_t count);
#endif

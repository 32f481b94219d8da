#include "data/csv.h"
#include <string.h>

/* A quoted stretch from behind the opening quote to behind the closing one; a doubled quote stands for one. */
static size_t take_quoted(const char *bytes, size_t size, size_t at, struct text *field) {
  while (at < size) {
    const char *quote = memchr(bytes + at, '"', size - at);
    size_t end = quote ? (size_t)(quote - bytes) : size;
    bool doubled = end + 1 < size && bytes[end + 1] == '"';
    if (field)
      text_append(field, bytes + at, end - at + (quote && doubled ? 1 : 0));
    if (!quote || !doubled)
      return quote ? end + 1 : size;
    at = end + 2;
  }
  return size;
}

bool csv_next_field(const char *bytes, size_t size, char separator, size_t *at, struct text *field) {
  size_t i = *at;
  if (field)
    text_clear(field);
  if (i < size && bytes[i] == '"')
    i = take_quoted(bytes, size, i + 1, field);
  const size_t start = i;
  while (i < size && bytes[i] != separator && bytes[i] != '\n' && bytes[i] != '\r')
    i++;
  const bool more = i < size && bytes[i] == separator;
  if (field)
    text_append(field, bytes + start, i - start);
  i += i + 1 < size && bytes[i] == '\r' && bytes[i + 1] == '\n';
  *at = i < size ? i + 1 : size;
  if (more && *at == size)
    return false; /* the file ends with a separator: the last field is empty and stands for nothing */
  return more;
}

/* Growable strings, path joining, and the nearest of several names (for "did you mean"). */
#ifndef MEMCLIP_BASE_TEXT_H
#define MEMCLIP_BASE_TEXT_H
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>

/* Zero-initialised is empty; `data` is NUL-terminated once anything was appended, else NULL. */
struct text {
  char *data;
  size_t length, capacity;
};
void text_append(struct text *text, const char *bytes, size_t length);
void text_append_string(struct text *text, const char *string);
void text_append_format(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Makes `length` bytes and the NUL behind them; new bytes are unspecified. For readers that fill `data` themselves. */
void text_resize(struct text *text, size_t length);
void text_clear(struct text *text);   /* keeps the memory */
void text_release(struct text *text); /* frees it */

/* A new string the caller releases with memory_release. */
char *text_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *text_format_list(const char *format, va_list arguments);
char *text_join_path(const char *directory, const char *name); /* an absolute `name` is returned alone */
const char *text_base_name(const char *path);                  /* points into path */
bool text_starts_with(const char *string, const char *prefix);
bool text_ends_with(const char *string, const char *suffix);
bool text_equal_ignore_case(const char *a, const char *b);
bool text_is_utf8(const char *bytes, size_t length);
/* Pattern with * and ? over a whole name. */
bool text_match(const char *pattern, const char *name);

/* The candidate with the smallest edit distance (transpositions count one) to `name`, or NULL if none is near
 * (distance > 1 + length / 3). */
const char *text_nearest(const char *name, const char *const *candidates, size_t count);

#endif

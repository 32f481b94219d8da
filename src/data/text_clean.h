/* Captions cleaned as open_clip does: ftfy's repairs, HTML entities, white space, lower case (contract 3.2, step 1).
 * Text is worked on as code points. */
#ifndef MEMCLIP_DATA_TEXT_CLEAN_H
#define MEMCLIP_DATA_TEXT_CLEAN_H
#include "base/text.h"
#include <stdbool.h>
#include <stdint.h>

struct text_range;
bool text_in_ranges(int32_t code, const struct text_range *ranges, int count);

struct codes { /* zero-initialised is empty */
  int32_t *data;
  size_t length, capacity;
};
void codes_append(struct codes *codes, int32_t code);
void codes_append_all(struct codes *codes, const int32_t *data, size_t length);
void codes_append_utf8(struct codes *codes, const char *bytes, size_t length); /* what is not UTF-8 becomes U+FFFD */
void codes_write_utf8(const struct codes *codes, struct text *out);            /* appends */
bool codes_equal(const struct codes *a, const struct codes *b);
void codes_swap(struct codes *a, struct codes *b);
void codes_release(struct codes *codes);

/* White space as Python's str.split() knows it. */
bool text_is_space(int32_t code);
/* UTF-8 that a one-byte encoding garbled is read again as UTF-8, as far as it looks like that. */
void text_fix_mojibake(struct codes *codes);
/* Unicode's normal form C. */
void text_compose(struct codes *codes);
/* HTML entities as HTML5 says: names without semicolons too, the longest that fits. */
void text_unescape(struct codes *codes);
/* Only what ends in a semicolon and is one whole entity, and names in capitals. */
void text_unescape_careful(struct codes *codes);
/* The whole cleaning; out is replaced. */
void text_clean(const char *text, size_t length, struct text *out);
#endif

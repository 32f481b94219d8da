/* Rows of a csv file in place (RFC 4180: quotes, doubled quotes, LF, CRLF or CR, line breaks inside quotes). */
#ifndef MEMCLIP_DATA_CSV_H
#define MEMCLIP_DATA_CSV_H
#include "base/text.h"
#include <stdbool.h>
#include <stddef.h>

/* Parses the field at *at, which must be < size; `field` (may be NULL) gets its text. Leaves *at behind the separator
 * or line end; returns whether the row goes on. */
bool csv_next_field(const char *bytes, size_t size, char separator, size_t *at, struct text *field);
#endif

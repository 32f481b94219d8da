/* Makes zip archives for tests, sound ones and, by changing bytes afterwards, broken ones. */
#ifndef MEMCLIP_TESTS_MAKE_ZIP_H
#define MEMCLIP_TESTS_MAKE_ZIP_H
#include "base/text.h"
#include <stdint.h>

struct zip_part {
  const char *name;
  const void *data;
  size_t size;
};
/* Stored records; with `streamed` the local headers hold no sizes, as torch writes them; with `zip64` every size and
 * offset of the directory is a long one. */
void make_zip(const struct zip_part *parts, int count, bool streamed, bool zip64, struct text *out);
#endif

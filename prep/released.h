/* Published weights and how they were trained: nothing in a file of weights says it, only the name under which they
 * were released (contract 1.8). Told to users, never applied. */
#ifndef MEMCLIP_PREP_RELEASED_H
#define MEMCLIP_PREP_RELEASED_H
#include "base/text.h"
void released_print(struct text *out);
/* One line about the release whose tag occurs in `path`; nothing when none does. */
void released_hint(const char *path, struct text *out);
#endif

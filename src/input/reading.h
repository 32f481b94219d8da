/* What is known while an input is read: its items, and which item gave each key. Shared by read.c, names.c and
 * checks.c. */
#ifndef MEMCLIP_INPUT_READING_H
#define MEMCLIP_INPUT_READING_H
#include "input/keys.h"
#include "input/namelist.h"

struct reading {
  const char *source;
  struct namelist file, assignments;
  const struct namelist_item *
      *given; /* [key_table_count], NULL for a default; points into the two lists once both are complete */
  struct settings *settings;
};

/* names.c: the messages about a name that is not in the table. */
enum status name_unknown_group(const char *place, const char *name);
enum status name_unknown_key(const struct namelist_item *item);

/* read.c: what an earlier program wrote; the keys are not held against each other. */
enum status reading_of_used(const char *content, struct settings *settings);

/* checks.c: the keys against each other, as far as the stage reads them. */
enum status checks_run(const struct reading *reading);
#endif

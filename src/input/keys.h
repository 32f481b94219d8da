/* The typed table of keys: the one list of what an input file may say. It makes the parser's checks, --describe,
 * inputs/reference.nml, used.nml, the manual page and the comparison on resume. Values land in struct settings by
 * offset. */
#ifndef MEMCLIP_INPUT_KEYS_H
#define MEMCLIP_INPUT_KEYS_H
#include "base/error.h"
#include "base/text.h"
#include "input/settings.h"
#include <stddef.h>
#include <stdio.h>

enum key_type { KEY_TEXT, KEY_TEXTS, KEY_INTEGER, KEY_INTEGERS, KEY_REAL, KEY_REALS, KEY_LOGICAL };
enum on_resume { RESUME_FREE, RESUME_WARN, RESUME_FIXED };
/* A path is made absolute in used.nml; of KEY_NAME_OR_PATH only a text with a / or a . is one. */
enum key_path { KEY_NO_PATH, KEY_PATH, KEY_NAME_OR_PATH };
struct key {
  const char *group, *name;
  enum key_type type;
  size_t offset;           /* in struct settings */
  const char *unit;        /* "" where there is none */
  const char *fallback;    /* the default, as one would write it in a namelist */
  double minimum, maximum; /* of numbers; -INFINITY, INFINITY when free */
  const char *choices;     /* "a|b|c" for texts, NULL when free */
  enum key_path path;
  enum on_resume on_resume;
  const char *stages; /* "all", or the stages that read it: "distill finetune" */
  const char *help;   /* a few sentences */
};
extern const struct key key_table[];
extern const size_t key_table_count;

struct key_group {
  const char *name, *help;
};
extern const struct key_group key_group_table[];
extern const size_t key_group_count;

/* The entry of group.name, or NULL. */
const struct key *key_find(const char *group, const char *name);
/* Does the stage read the key? */
bool key_serves(const struct key *key, const char *stage);

/* Reads the file and the --set assignments ("group.key=value", which win over the file) into `settings` (defaults
 * first), checks names, types, ranges, choices, doubles, and the keys against each other; the first error is returned
 * with file:line:column and the nearest right name, and `settings` is then empty. Warnings (groups that the stage does
 * not use) go to `warn`, which may be NULL. Afterwards settings_release. */
enum status input_read(const char *path, const char *const *assignments, int assignment_count,
                       struct settings *settings, void (*warn)(const char *message));
/* The same from memory; `source` is what messages call the content. Ranks that did not open the file read what rank 0
 * broadcast. */
enum status input_read_text(const char *source, const char *content, const char *const *assignments,
                            int assignment_count, struct settings *settings, void (*warn)(const char *message));
/* Every key with its value, set or defaulted, and its help as a comment. Paths are made absolute. Reading it gives the
 * same settings. */
void input_write_used(const struct settings *settings, struct text *out);
/* --describe: NULL or "" for all, a group, or group.key; STATUS_USAGE with the nearest name for an unknown one. */
enum status input_describe(const char *what, FILE *out);
/* The reference input: every key with default and help. */
void input_write_reference(FILE *out);
/* Compares with the used.nml of an earlier run, key by key as far as the stage reads them: FIXED differences give
 * STATUS_INPUT naming all of them; WARN and FREE ones are reported to `warn`. */
enum status input_compare_for_resume(const struct settings *now, const char *used_then,
                                     void (*warn)(const char *message));
void settings_release(struct settings *settings);
#endif

/* The typed table of keys: the one list of what an input file may say. It makes the parser's checks, --describe, inputs/reference.nml,
 * used.nml, the manual page and the comparison on resume. Values land in struct settings by offset. */
#ifndef MEMCLIP_INPUT_KEYS_H
#define MEMCLIP_INPUT_KEYS_H
#include "base/error.h"
#include "base/text.h"
#include "input/settings.h"
#include <stddef.h>
#include <stdio.h>

enum key_type { KEY_TEXT, KEY_TEXTS, KEY_INTEGER, KEY_INTEGERS, KEY_REAL, KEY_REALS, KEY_LOGICAL };
enum on_resume { RESUME_FREE, RESUME_WARN, RESUME_FIXED };
struct key {
  const char *group, *name;
  enum key_type type;
  size_t offset;           /* in struct settings */
  const char *unit;        /* "" where there is none */
  const char *fallback;    /* the default, as one would write it in a namelist */
  double minimum, maximum; /* of numbers; -INFINITY, INFINITY when free */
  const char *choices;     /* "a|b|c" for texts, NULL when free */
  enum on_resume on_resume;
  const char *stages;      /* "all", or the stages that read it: "distill finetune" */
  const char *help;        /* one sentence */
};
extern const struct key key_table[];
extern const size_t key_table_count;

/* Reads the file and the --set assignments ("group.key=value") into `settings` (defaults first), checks names, types, ranges, choices, doubles; the
 * first error is returned with file:line:column and the nearest right name. Warnings (groups that the stage does not use) go to `warn`. */
enum status input_read(const char *path, const char *const *assignments, int assignment_count, struct settings *settings,
                       void (*warn)(const char *message));
/* Every key with its value, set or defaulted, and its help as a comment. Paths are made absolute. */
void input_write_used(const struct settings *settings, struct text *out);
/* --describe: all, a group, or group.key; STATUS_USAGE with the nearest name for an unknown one. */
enum status input_describe(const char *what, FILE *out);
/* The reference input: every key with default and help. */
void input_write_reference(FILE *out);
/* Compares with the used.nml of an earlier run: FIXED differences give STATUS_INPUT naming all of them; WARN and FREE ones are reported to `warn`. */
enum status input_compare_for_resume(const struct settings *now, const char *used_then, void (*warn)(const char *message));
void settings_release(struct settings *settings);
#endif

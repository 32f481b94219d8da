/* Fortran namelist input as f90nml and Fortran read it: groups &name ... / (or &end), case-insensitive names, !
 * comments, 'text' and "text" (doubled quotes inside), numbers, logicals, lists by commas or blanks over several lines,
 * repeats 3*0.1, null values (a=1,,3, 2*). This module knows syntax only; input/keys.h knows what keys mean. Everything
 * keeps its line and column.
 *
 * Stricter than Fortran where that hides mistakes: only comments may stand between groups, a group may stand once, no
 * indices a(2)=.... */
#ifndef MEMCLIP_INPUT_NAMELIST_H
#define MEMCLIP_INPUT_NAMELIST_H
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>

struct namelist_value {
  char *text; /* unquoted; "" for a null value */
  bool quoted, null;
  int line, column;
};
struct namelist_item {
  char *group, *key; /* lower case */
  struct namelist_value *values;
  int count; /* 0 for "key =" */
  int line, column;
  char *source; /* file name, or "--set" */
};
struct namelist_group {
  char *name; /* lower case */
  char *source;
  int line, column;
};
struct namelist {
  struct namelist_item *items;
  int count;
  struct namelist_group *groups; /* empty ones too */
  int group_count;
};
/* Appends the groups of `content`; `source` is what messages call it. On failure the list holds what was read so far.
 */
enum status namelist_parse(const char *source, const char *content, struct namelist *list);
/* Appends one item whose values are written as in a file: "2, 4", "3*0.1", "'text'". */
enum status namelist_parse_values(const char *source, const char *group, const char *key, const char *values,
                                  struct namelist *list);
/* Appends one item without values (position 0), and one quoted value to an item. */
struct namelist_item *namelist_add_item(struct namelist *list, const char *source, const char *group, const char *key);
void namelist_add_text(struct namelist_item *item, const char *text, size_t length);
void namelist_release(struct namelist *list);
#endif

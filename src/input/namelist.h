/* Fortran namelist input as f90nml and Fortran read it: groups &name ... / , case-insensitive names, ! comments, 'text' and "text" (doubled quotes
 * inside), .true./.false./T/F, numbers with e or d exponents, lists by commas or blanks over several lines, repeats 3*0.1, null values. This module knows
 * syntax only; input/keys.h knows what keys mean. Every item keeps file, line and column. */
#ifndef MEMCLIP_INPUT_NAMELIST_H
#define MEMCLIP_INPUT_NAMELIST_H
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

struct namelist_value {
  char *text;   /* unquoted */
  bool quoted, null;
  int line, column;
};
struct namelist_item {
  char *group, *key; /* lower case */
  struct namelist_value *values;
  int count;
  int line, column;
  char *source; /* file name, or "--set" */
};
struct namelist {
  struct namelist_item *items;
  int count;
};
/* Appends the groups of `content`; `source` is what messages call it. */
enum status namelist_parse(const char *source, const char *content, struct namelist *list);
void namelist_release(struct namelist *list);
#endif

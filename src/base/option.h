/* Numbers on the command lines of the tools. */
#ifndef MEMCLIP_BASE_OPTION_H
#define MEMCLIP_BASE_OPTION_H
#include <argp.h>
#include <stdint.h>

/* The value of option --NAME, from `low` to `high`; anything else ends the program as argp does for wrong usage. */
int64_t option_number(const char *argument, const char *name, int64_t low, int64_t high, struct argp_state *state);

#endif

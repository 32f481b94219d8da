#include "base/option.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

int64_t option_number(const char *argument, const char *name, int64_t low, int64_t high, struct argp_state *state) {
  char *end;
  errno = 0;
  const int64_t value = strtoll(argument, &end, 10);
  if (*argument == '\0' || *end != '\0' || errno != 0 || value < low || value > high)
    argp_error(state, "--%s: '%s' is not a number from %" PRId64 " to %" PRId64, name, argument, low, high);
  return value;
}

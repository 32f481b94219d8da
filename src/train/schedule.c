#include "train/schedule.h"
#include <math.h>
#include <string.h>

enum schedule_kind schedule_kind_of(const char *name) {
  if (strcmp(name, "const") == 0)
    return SCHEDULE_CONST;
  return strcmp(name, "const-cooldown") == 0 ? SCHEDULE_CONST_COOLDOWN : SCHEDULE_COSINE;
}

double schedule_rate(const struct schedule *schedule, int64_t step) {
  const double base = schedule->base;
  if (step < schedule->warmup)
    return base * (double)(step + 1) / (double)schedule->warmup;
  if (schedule->kind == SCHEDULE_COSINE)
    return 0.5 * base *
           (1 + cos(M_PI * (double)(step - schedule->warmup) / (double)(schedule->total - schedule->warmup)));
  const int64_t start = schedule->total - schedule->cooldown;
  if (schedule->kind == SCHEDULE_CONST || step < start)
    return base;
  const double decay = pow(1 - (double)(step - start) / (double)schedule->cooldown, schedule->cooldown_power);
  return decay * (base - schedule->cooldown_end) + schedule->cooldown_end;
}

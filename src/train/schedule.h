/* Learning rate of optimiser step t = 0, 1, ... (contract 6.5). */
#ifndef MEMCLIP_TRAIN_SCHEDULE_H
#define MEMCLIP_TRAIN_SCHEDULE_H
#include <stdint.h>
enum schedule_kind { SCHEDULE_COSINE, SCHEDULE_CONST, SCHEDULE_CONST_COOLDOWN };
struct schedule {
  enum schedule_kind kind;
  double base;
  int64_t warmup, total, cooldown;
  double cooldown_power, cooldown_end;
};
/* "cosine", "const", "const-cooldown". */
enum schedule_kind schedule_kind_of(const char *name);
double schedule_rate(const struct schedule *schedule, int64_t step);
#endif

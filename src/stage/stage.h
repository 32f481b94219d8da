/* The stages that an input can name. A stage opens what it needs in a session, then does its work; with `check` it
 * stops before the first step and prints the plan. Collective. */
#ifndef MEMCLIP_STAGE_STAGE_H
#define MEMCLIP_STAGE_STAGE_H
#include "train/session.h"

struct stage {
  const char *name;
  enum status (*run)(struct session *session, bool check);
};
const struct stage *stage_find(const char *name); /* NULL when there is none */

enum status stage_pretrain(struct session *session, bool check);
enum status stage_distill(struct session *session, bool check);
enum status stage_finetune(struct session *session, bool check);
enum status stage_eval(struct session *session, bool check);
#endif

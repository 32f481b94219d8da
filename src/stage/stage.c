#include "stage/stage.h"
#include <string.h>

static const struct stage stages[] = {
    {"pretrain", stage_pretrain},
    {"distill", stage_distill},
    {"finetune", stage_finetune},
    {"eval", stage_eval},
};

const struct stage *stage_find(const char *name) {
  for (size_t i = 0; i < sizeof stages / sizeof *stages; i++)
    if (strcmp(stages[i].name, name) == 0)
      return &stages[i];
  return NULL;
}

/* Contrastive fine-tuning of trained weights on long and short captions (methods 3). */
#include "stage/contrastive.h"
#include "stage/stage.h"

enum status stage_finetune(struct session *session, bool check) {
  if (!session->settings->model.weights[0])
    return error_set(STATUS_INPUT, "finetune starts from trained weights: set model.weights to a checkpoint or "
                                   "WEIGHTS.h5 (stage = 'pretrain' starts from initial values)");
  return stage_train_contrastive(session, check);
}

/* What pretraining and fine-tuning share: both minimise the CLIP loss. */
#ifndef MEMCLIP_STAGE_CONTRASTIVE_H
#define MEMCLIP_STAGE_CONTRASTIVE_H
#include "train/session.h"
enum status stage_train_contrastive(struct session *session, bool check);
#endif

/* Contrastive training from initial values (or given weights), with or without memories. */
#include "stage/contrastive.h"
#include "stage/stage.h"
#include "train/loop.h"
#include "train/plan.h"

enum status stage_train_contrastive(struct session *session, bool check) {
  const struct settings *settings = session->settings;
  const bool short_captions = settings->loss.short_weight > 0;
  struct objective objective;
  TRY(session_open_device(session));
  TRY(session_open_model(session,
                         &(struct model_request){.config = settings->model.config,
                                                 .weights = settings->model.weights,
                                                 .activation = settings->model.activation,
                                                 .what = "model",
                                                 .with_memory = true,
                                                 .training = true,
                                                 .words = session_trainable(session, "all"),
                                                 .word_count = session_trainable_count(session)},
                         &session->model));
  TRY(session_open_tokenizer(session));
  TRY(session_open_training_data(session, short_captions, true));
  TRY(session_open_validation_data(session));
  TRY(plan_memory(session, "activations", objective_contrastive_bytes(session)));
  if (check)
    return plan_print(session);
  TRY(objective_open_contrastive(session, &objective));
  enum status status = train_loop(session, &objective, short_captions);
  objective.close(objective.state);
  return status;
}

enum status stage_pretrain(struct session *session, bool check) {
  return stage_train_contrastive(session, check);
}

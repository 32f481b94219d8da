/* Distillation of a frozen teacher's image embeddings into a student whose MLPs are memories in some blocks (methods
 * 2). */
#include "stage/stage.h"
#include "train/loop.h"
#include "train/plan.h"

static enum status open_teacher(struct session *session) {
  const struct settings *settings = session->settings;
  const bool own = settings->teacher.weights[0] != '\0'; /* else the student's own starting point */
  return session_open_model(
      session,
      &(struct model_request){.config = own ? settings->teacher.config : settings->model.config,
                              .weights = own ? settings->teacher.weights : settings->model.weights,
                              .activation = own ? settings->teacher.activation : settings->model.activation,
                              .what = "teacher"},
      &session->teacher);
}

/* The student starts from the teacher's weights unless it has its own. */
static enum status open_student(struct session *session) {
  const struct settings *settings = session->settings;
  const bool own = settings->model.weights[0] != '\0';
  return session_open_model(
      session,
      &(struct model_request){.config =
                                  own || settings->model.config[0] ? settings->model.config : settings->teacher.config,
                              .weights = own ? settings->model.weights : settings->teacher.weights,
                              .activation = own ? settings->model.activation : settings->teacher.activation,
                              .what = "student",
                              .with_memory = true,
                              .training = true,
                              .words = session_trainable(session, "memory"),
                              .word_count = session_trainable_count(session)},
      &session->model);
}

static enum status check_pair(const struct session *session) {
  const struct clip_config *student = &session->model->config, *teacher = &session->teacher->config;
  if (student->activation != teacher->activation)
    return error_set(STATUS_INPUT, "the teacher's activation is %s and the student's is %s: they must be equal",
                     teacher->activation == ACTIVATION_GELU ? "gelu" : "quickgelu",
                     student->activation == ACTIVATION_GELU ? "gelu" : "quickgelu");
  if (student->embed_dim != teacher->embed_dim)
    return error_set(STATUS_INPUT, "the teacher's embeddings have %d values, the student's %d: they cannot be compared",
                     teacher->embed_dim, student->embed_dim);
  if (student->image_height != teacher->image_height || student->image_width != teacher->image_width)
    return error_set(STATUS_INPUT,
                     "the teacher sees images of %d x %d pixels, the student of %d x %d: both must see the same crop",
                     teacher->image_width, teacher->image_height, student->image_width, student->image_height);
  return STATUS_OK;
}

enum status stage_distill(struct session *session, bool check) {
  struct objective objective;
  if (!session->settings->teacher.weights[0] && !session->settings->model.weights[0])
    return error_set(
        STATUS_INPUT,
        "distill needs a trained teacher: set teacher.weights (and model.weights when the student starts elsewhere)");
  TRY(session_open_device(session));
  TRY(open_teacher(session));
  TRY(open_student(session));
  TRY(check_pair(session));
  if (session->settings->data.val.count)
    TRY(session_open_tokenizer(session));
  TRY(session_open_training_data(session, false, false));
  TRY(session_open_validation_data(session));
  TRY(plan_memory(session, "activations", objective_distill_bytes(session)));
  if (check)
    return plan_print(session);
  TRY(objective_open_distill(session, &objective));
  enum status status = train_loop(session, &objective, true);
  objective.close(objective.state);
  return status;
}

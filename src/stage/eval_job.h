/* What an evaluation consists of: one job per model, text tower and data set, in this order. A finished job leaves a
 * line in evaluation.jsonl; a restart takes it over when weights, data and settings are still the same. */
#ifndef MEMCLIP_STAGE_EVAL_JOB_H
#define MEMCLIP_STAGE_EVAL_JOB_H
#include "stage/eval_set.h"
#include <jansson.h>

struct eval_job {
  int checkpoint; /* number in eval.checkpoints; 0 with model.weights */
  bool teacher_text;
  const struct eval_set *set;
  int set_number;
  char *label;    /* of the model; with the teacher's text tower "LABEL-teacher-text" */
  char *identity; /* of weights, texts, data and settings */
  bool done;
  json_t *record; /* rank 0, when done: {"label","set","identity","values":{...}, ...} */
};
struct eval_plan {
  struct eval_job *jobs;
  int count, label_count;
  char **labels; /* of the models */
  int model_count;
  char *path; /* evaluation.jsonl; NULL: nothing is kept */
};
/* eval.labels, or names made from the paths; STATUS_INPUT when two would be equal. Comes first. */
enum status eval_plan_label(const struct settings *settings, struct eval_plan *plan);
void eval_plan_make(const struct session *session, const struct eval_set *sets, int set_count, struct eval_plan *plan);
/* Takes over what an earlier start finished. Collective. */
enum status eval_plan_resume(struct eval_plan *plan, const struct session *session);
void eval_plan_release(struct eval_plan *plan);
const char *eval_plan_weights(const struct settings *settings, int checkpoint);
/* Do the two paths lead to the same file? */
bool eval_same_file(const char *a, const char *b);
/* Rank 0: keeps the record of a job that is done. */
enum status eval_job_finish(struct eval_plan *plan, struct eval_job *job, json_t *record);

/* results.json of all jobs done so far: the thesis's flat keys, each behind "LABEL." when there are several labels. */
enum status eval_write_results(const struct session *session, const struct eval_plan *plan);
/* The table that eval prints on stdout and keeps as results.txt: one row per model, a part per set. */
void eval_table_write(const struct eval_plan *plan, struct text *out);
#endif

/* results.json: the thesis's flat keys. */
#include "base/file.h"
#include "base/memory.h"
#include "stage/eval_job.h"
#include <stdlib.h>
#include <string.h>

/* Of a model, once per label: without "retrieval_SET_". */
static const char *const of_model[] = {"parameters", "image_gflop", "text_gflop", "epoch"};

static bool is_of_model(const char *name) {
  for (size_t i = 0; i < sizeof of_model / sizeof of_model[0]; i++)
    if (strcmp(of_model[i], name) == 0)
      return true;
  return false;
}

static void put_job(json_t *results, const struct eval_plan *plan, const struct eval_job *job) {
  const char *name, *label = plan->label_count > 1 ? job->label : "", *dot = plan->label_count > 1 ? "." : "";
  json_t *value;
  json_object_foreach(json_object_get(job->record, "values"), name, value) {
    char *key = is_of_model(name) ? text_format("%s%s%s", label, dot, name)
                                  : text_format("%s%sretrieval_%s_%s", label, dot, job->set->result_name, name);
    json_object_set(results, key, value);
    memory_release(key);
  }
}

enum status eval_write_results(const struct session *session, const struct eval_plan *plan) {
  json_t *results = json_object();
  struct text table = {0};
  for (int i = 0; i < plan->count; i++)
    if (plan->jobs[i].record)
      put_job(results, plan, &plan->jobs[i]);
  char *path = run_path(session->run, "results.json"), *table_path = run_path(session->run, "results.txt"),
       *words = json_dumps(results, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
  eval_table_write(plan, &table);
  enum status status = file_write_atomic(path, words, strlen(words));
  if (status == STATUS_OK)
    status = file_write_atomic(table_path, table.data ? table.data : "", table.length);
  free(words);
  json_decref(results);
  text_release(&table);
  memory_release(path);
  memory_release(table_path);
  return status;
}

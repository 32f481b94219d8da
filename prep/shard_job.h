/* Output shards of memclip-shards. A shard is NAME.tar and, written after it, NAME_stats.json: together they say that
 * it is finished and from which records of which input, so that a restart leaves it alone. */
#ifndef MEMCLIP_PREP_SHARD_JOB_H
#define MEMCLIP_PREP_SHARD_JOB_H
#include "shard_input.h"

struct shard_job {
  char *name;           /* "000000", "val/000000" */
  int64_t first, count; /* records */
};
struct shard_plan {
  struct shard_job *jobs;
  int count;
};
/* Shards of `per_shard` records; with split_first the first so many go to val/, the rest to train/; with join > 0 one
 * shard per `join` input tars. */
enum status shard_plan_make(const struct shard_input *input, int64_t per_shard, int64_t split_first, int join,
                            struct shard_plan *plan);
void shard_plan_release(struct shard_plan *plan);
/* Writes the shard unless it is finished. Bad records are left out, counted and named on stderr. */
enum status shard_job_run(struct shard_input *input, const struct shard_job *job, const char *directory);
/* summary.json from the statistics of all shards, also printed. */
enum status shard_plan_summarise(const struct shard_input *input, const struct shard_plan *plan, const char *directory);
/* Compares input tars with the NAME_stats.json that img2dataset wrote beside them; names differences on stderr and
 * returns their number. */
int shard_input_check_stats(const struct shard_input *input);
#endif

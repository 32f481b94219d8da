/* Metrics of an evaluation set: all ranks count, rank 0 draws intervals. */
#include "base/clock.h"
#include "base/memory.h"
#include "comm/comm.h"
#include "report/report.h"
#include "stage/eval_set.h"
#include <math.h>

static void show(void *context, int64_t done, int64_t total) {
  report_progress(
      &(struct report_progress){.what = "texts ranked",
                                .done = done,
                                .total = total,
                                .loss = NAN,
                                .samples_per_second = (double)done / fmax(clock_seconds() - *(double *)context, 1e-3),
                                .waiting_share = NAN});
}

/* Each rank has a share of the images and all texts. text_ranks [M] and image_ranks [N] on every rank. */
static void count_ranks(const struct retrieval *set, int64_t *text_ranks, int64_t *image_ranks) {
  const int64_t first = set->image_count * comm_rank() / comm_size(),
                end = set->image_count * (comm_rank() + 1) / comm_size();
  double started = clock_seconds();
  metric_rank_share(set, first, end - first, &(struct metric_listener){show, &started}, text_ranks,
                    image_ranks + first);
  if (comm_size() == 1)
    return;
  comm_all_reduce(text_ranks, (size_t)set->text_count, DTYPE_I64, COMM_SUM);
  comm_all_reduce(image_ranks, (size_t)set->image_count, DTYPE_I64, COMM_SUM);
  for (int64_t j = 0; j < set->text_count; j++)
    text_ranks[j] = text_ranks[j] < set->image_count ? text_ranks[j] : set->image_count - 1;
}

void eval_set_measure(const struct eval_set *set, const struct eval_features *features, struct measure_list *list) {
  const struct retrieval retrieval = {features->images, features->texts, set->image_count,
                                      set->text_count,  features->width, set->image_of_text};
  const struct measure_extras extras = {.group = set->group,
                                        .negatives = features->negatives,
                                        .right_text = set->text_of_negative,
                                        .negative_image = set->image_of_negative,
                                        .negative_kind = (const char *const *)set->kinds,
                                        .negative_count = set->negative_count,
                                        .tokens = set->tokens,
                                        .context = set->context};
  int64_t *text_ranks =
      memory_allocate((size_t)(set->text_count + set->image_count) * sizeof *text_ranks, "ranks of an evaluation");
  count_ranks(&retrieval, text_ranks, text_ranks + set->text_count);
  if (comm_rank() == 0)
    measure_ranked(&retrieval, &extras, text_ranks, text_ranks + set->text_count, MEASURE_DRAWS, MEASURE_SEED, list);
  memory_release(text_ranks);
}

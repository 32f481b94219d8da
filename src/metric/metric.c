/* Summaries of ranks and the contrastive loss over a whole set. */
#include "metric/metric.h"
#include "metric/score_kernel.h"
#include "base/memory.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare_ranks(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

struct recall_summary metric_summarize_ranks(const int64_t *ranks, int64_t count) {
  struct recall_summary summary = {0};
  int64_t *kept = memory_allocate((size_t)(count + 1) * sizeof *kept, "ranks");
  double sum = 0, below_1 = 0, below_5 = 0, below_10 = 0;
  for (int64_t i = 0; i < count; i++) {
    if (ranks[i] < 0)
      continue;
    kept[summary.count++] = ranks[i];
    sum += (double)ranks[i];
    below_1 += ranks[i] < 1;
    below_5 += ranks[i] < 5;
    below_10 += ranks[i] < 10;
  }
  if (summary.count > 0) {
    double n = (double)summary.count;
    qsort(kept, (size_t)summary.count, sizeof *kept, compare_ranks);
    summary.recall_1 = below_1 / n;
    summary.recall_5 = below_5 / n;
    summary.recall_10 = below_10 / n;
    summary.mean_rank = 1 + sum / n;
    summary.median_rank = (double)(1 + (kept[(summary.count - 1) / 2] + kept[summary.count / 2]) / 2);
  }
  memory_release(kept);
  return summary;
}

double metric_mean(const float *values, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++)
    sum += (double)values[i];
  return count > 0 ? sum / (double)count : 0;
}

static int compare_floats(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

double metric_median(const float *values, int64_t count) {
  if (count == 0)
    return 0;
  float *sorted = memory_allocate((size_t)count * sizeof *sorted, "sorted values");
  memcpy(sorted, values, (size_t)count * sizeof *sorted);
  qsort(sorted, (size_t)count, sizeof *sorted, compare_floats);
  double median = ((double)sorted[(count - 1) / 2] + (double)sorted[count / 2]) / 2;
  memory_release(sorted);
  return median;
}

/* loss[r] = log sum_j exp(scale (s_rj - 1)) - scale (s_rr - 1) for the rows of one block; unit features keep s - 1 at
 * or below 0. */
static void block_losses(const struct score_kernels *kernels, const float *rows, const float *panels, int64_t first,
                         int64_t count, int64_t width, double scale, double *losses) {
  float *packed = memory_allocate((size_t)(kernels->rows * width + 1) * sizeof *packed, "packed rows");
  float scores[SCORE_ROWS_MAX * SCORE_COLUMNS_MAX];
  double sums[SCORE_ROWS_MAX] = {0}, own[SCORE_ROWS_MAX] = {0};
  int64_t block = count - first < kernels->rows ? count - first : kernels->rows;
  score_pack(rows + first * width, block, width, kernels->rows, packed);
  for (int64_t column = 0; column < count; column += kernels->columns) {
    kernels->score_tile(packed, panels + column * width, width, scores);
    for (int64_t r = 0; r < block; r++)
      for (int64_t c = 0; c < kernels->columns && column + c < count; c++) {
        double logit = scale * ((double)scores[r * kernels->columns + c] - 1);
        sums[r] += exp(logit);
        if (column + c == first + r)
          own[r] = logit;
      }
  }
  for (int64_t r = 0; r < block; r++)
    losses[first + r] = log(sums[r]) - own[r];
  memory_release(packed);
}

/* Mean over the rows of -log softmax at the pair. */
static double mean_cross_entropy(const float *rows, const float *columns, int64_t count, int64_t width, double scale) {
  const struct score_kernels *kernels = score_kernels_best();
  int64_t panels = (count + kernels->columns - 1) / kernels->columns, panel_size = kernels->columns * width;
  float *packed = memory_allocate((size_t)(panels * panel_size + 1) * sizeof *packed, "packed columns");
  double *losses = memory_allocate((size_t)(count + 1) * sizeof *losses, "losses"), sum = 0;
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < panels; p++) {
    int64_t first = p * kernels->columns, kept = count - first < kernels->columns ? count - first : kernels->columns;
    score_pack(columns + first * width, kept, width, kernels->columns, packed + p * panel_size);
  }
#pragma omp parallel for schedule(dynamic, 4)
  for (int64_t first = 0; first < count; first += kernels->rows)
    block_losses(kernels, rows, packed, first, count, width, scale, losses);
  for (int64_t i = 0; i < count; i++)
    sum += losses[i];
  memory_release(losses);
  memory_release(packed);
  return count > 0 ? sum / (double)count : 0;
}

double metric_contrastive_loss(const float *images, const float *texts, int64_t count, int64_t width, double scale) {
  return (mean_cross_entropy(images, texts, count, width, scale) +
          mean_cross_entropy(texts, images, count, width, scale)) /
         2;
}

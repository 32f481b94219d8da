/* judge_features TEACHER.h5 STUDENT.h5 LOGIT_SCALE: what validation reports, computed by plain sums in double from the
 * features of an evaluation, one caption per image: "NAME VALUE" lines. The student is judged by the teacher's texts.
 */
#include "base/memory.h"
#include "io/store.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct features {
  int64_t count, width;
  float *images, *texts;
};

static float *read_rows(struct store *store, const char *name, int64_t shape[TENSOR_AXES_MAX]) {
  enum dtype dtype;
  int axes;
  if (store_shape(store, name, &dtype, &axes, shape) != STATUS_OK)
    fatal("%s", error_message());
  float *rows = memory_allocate((size_t)(shape[0] * shape[1]) * sizeof *rows, "features");
  if (store_read(store, name, DTYPE_F32, shape[0] * shape[1], rows) != STATUS_OK)
    fatal("%s", error_message());
  return rows;
}

static struct features read_features(const char *path) {
  struct store *store;
  int64_t shape[TENSOR_AXES_MAX];
  struct features features;
  if (store_open(path, &store) != STATUS_OK)
    fatal("%s", error_message());
  features.images = read_rows(store, "image/features", shape);
  features.texts = read_rows(store, "text/features", shape);
  features.count = shape[0];
  features.width = shape[1];
  store_close(store);
  return features;
}

static double dot(const float *a, const float *b, int64_t width) {
  double sum = 0;
  for (int64_t c = 0; c < width; c++)
    sum += (double)a[c] * (double)b[c];
  return sum;
}

static int compare(const void *a, const void *b) {
  return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

/* Rank from 0: greater scores, and equal ones before the right answer. */
static int64_t rank_of(const double *score, int64_t count, int64_t right) {
  int64_t rank = 0;
  for (int64_t j = 0; j < count; j++)
    rank += score[j] > score[right] || (score[j] == score[right] && j < right);
  return rank;
}

static void print_ranks(const char *label, const char *direction, double *rank, int64_t count) {
  static const int best[] = {1, 5, 10};
  double mean = 0;
  for (int k = 0; k < 3; k++) {
    int64_t hits = 0;
    for (int64_t i = 0; i < count; i++)
      hits += rank[i] < best[k];
    printf("%s_%s_R@%d %.12g\n", label, direction, best[k], (double)hits / (double)count);
  }
  for (int64_t i = 0; i < count; i++)
    mean += rank[i] / (double)count;
  qsort(rank, (size_t)count, sizeof *rank, compare);
  printf("%s_%s_mean_rank %.12g\n", label, direction, mean + 1);
  printf("%s_%s_median_rank %.12g\n", label, direction, floor((rank[(count - 1) / 2] + rank[count / 2]) / 2) + 1);
}

/* Ranks of one direction; returns the mean cross-entropy of the right answers. */
static double judge(const char *label, const char *direction, const float *queries, const float *candidates,
                    const struct features *set, double scale) {
  double *score = memory_allocate((size_t)set->count * sizeof *score, "scores"),
         *rank = memory_allocate((size_t)set->count * sizeof *rank, "ranks"), loss = 0;
  for (int64_t i = 0; i < set->count; i++) {
    double sum = 0;
    for (int64_t j = 0; j < set->count; j++)
      score[j] = dot(queries + i * set->width, candidates + j * set->width, set->width);
    for (int64_t j = 0; j < set->count; j++)
      sum += exp(scale * (score[j] - score[i]));
    loss += log(sum) / (double)set->count;
    rank[i] = (double)rank_of(score, set->count, i);
  }
  print_ranks(label, direction, rank, set->count);
  memory_release(score);
  memory_release(rank);
  return loss;
}

static void judge_both(const char *label, const float *images, const float *texts, const struct features *set,
                       double scale) {
  const double loss = judge(label, "image_to_text", images, texts, set, scale) +
                      judge(label, "text_to_image", texts, images, set, scale);
  printf("%s_clip_loss %.12g\n", label, loss / 2);
}

int main(int argc, char **argv) {
  if (argc != 4)
    return 2;
  const struct features teacher = read_features(argv[1]), student = read_features(argv[2]);
  const double scale = exp(strtod(argv[3], NULL));
  double *similarity = memory_allocate((size_t)teacher.count * sizeof *similarity, "similarities"), mean = 0;
  judge_both("teacher", teacher.images, teacher.texts, &teacher, scale);
  judge_both("student", student.images, teacher.texts, &teacher, scale);
  for (int64_t i = 0; i < teacher.count; i++) {
    similarity[i] = dot(teacher.images + i * teacher.width, student.images + i * teacher.width, teacher.width);
    mean += similarity[i] / (double)teacher.count;
  }
  qsort(similarity, (size_t)teacher.count, sizeof *similarity, compare);
  printf("similarity_mean %.12g\nsimilarity_median %.12g\n", mean,
         (similarity[(teacher.count - 1) / 2] + similarity[teacher.count / 2]) / 2);
  return 0;
}

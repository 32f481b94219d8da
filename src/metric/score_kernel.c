/* Scores of one register tile and the counts that ranks are made of. */
#include "metric/score_kernel.h"
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

/* Sums held in registers: ROWS x VECTORS vectors of LANES. */
#if defined __AVX512F__
enum { LANES = 16, ROWS = 12, VECTORS = 2 };
#elif defined __AVX2__
enum { LANES = 8, ROWS = 6, VECTORS = 2 };
#else
enum { LANES = 4, ROWS = 4, VECTORS = 2 };
#endif
enum { COLUMNS = LANES * VECTORS };

typedef float vfloat __attribute__((vector_size(4 * LANES)));
typedef int32_t vint __attribute__((vector_size(4 * LANES)));

static inline vfloat load(const float *p) {
  vfloat v;
  memcpy(&v, p, sizeof v);
  return v;
}

static inline vint load_int(const int32_t *p) {
  vint v;
  memcpy(&v, p, sizeof v);
  return v;
}

static inline vfloat multiply_add(vfloat a, vfloat b, vfloat sum) {
#if defined __AVX512F__
  return (vfloat)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)sum);
#elif defined __AVX2__
  return (vfloat)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)sum);
#else
  return a * b + sum;
#endif
}

static inline void score_tile(const float *images, const float *texts, int64_t width, float *scores) {
  vfloat sum[ROWS][VECTORS] = {0};
  for (int64_t e = 0; e < width; e++) {
    vfloat text[VECTORS];
#pragma GCC unroll 2
    for (int v = 0; v < VECTORS; v++)
      text[v] = load(texts + e * COLUMNS + v * LANES);
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; r++) {
      vfloat image = images[e * ROWS + r] - (vfloat){0};
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; v++)
        sum[r][v] = multiply_add(image, text[v], sum[r][v]);
    }
  }
  memcpy(scores, sum, sizeof sum);
}

/* -1 where the score goes before the best one: greater (or not a number), or equal and of a smaller index. */
static inline vint goes_before(vfloat score, vfloat best_score, vint index, vint best) {
  return ~(vint)(score <= best_score) | ((vint)(score == best_score) & (index < best));
}

static void count_tile(const float *images, const float *texts, int64_t width, const struct score_tile *tile) {
  float scores[ROWS * COLUMNS] __attribute__((aligned(64)));
  score_tile(images, texts, width, scores);
  vint lane;
  for (int i = 0; i < LANES; i++)
    lane[i] = i;
  for (int v = 0; v < VECTORS; v++) {
    vfloat column_score = load(tile->column_score + v * LANES);
    vint column_best = load_int(tile->column_best + v * LANES), column_count = load_int(tile->column_count + v * LANES);
    vint column = lane + v * LANES, valid = column < tile->columns;
    for (int r = 0; r < tile->rows; r++) {
      vfloat score = load(scores + r * COLUMNS + v * LANES);
      column_count -= goes_before(score, column_score, tile->first_row + r - (vint){0}, column_best);
      vint before = goes_before(score, tile->row_score[r] - (vfloat){0}, column, tile->row_best[r] - (vint){0}) & valid;
      int32_t count = 0;
      for (int i = 0; i < LANES; i++)
        count -= before[i];
      tile->row_count[r] += count;
    }
    memcpy(tile->column_count + v * LANES, &column_count, sizeof column_count);
  }
}

static void score_pairs(const float *a, const float *b, int64_t width, float *scores) {
  vfloat sum = {0};
  for (int64_t e = 0; e < width; e++)
    sum = multiply_add(load(a + e * LANES), load(b + e * LANES), sum);
  memcpy(scores, &sum, sizeof sum);
}

#define JOIN_NAMES(a, b) a##b
#define JOIN(a, b) JOIN_NAMES(a, b)
const struct score_kernels JOIN(score_kernels_, METRIC_ISA) = {.rows = ROWS,
                                                               .columns = COLUMNS,
                                                               .pairs = LANES,
                                                               .count_tile = count_tile,
                                                               .score_tile = score_tile,
                                                               .score_pairs = score_pairs};

/* The inner loops of retrieval, compiled once per instruction set with METRIC_ISA set to its name. A kernel runs on one
 * thread. Every score is one chain of fused multiply-adds over the feature's elements in order, whatever the tile:
 * equal features give equal scores. */
#ifndef MEMCLIP_METRIC_SCORE_KERNEL_H
#define MEMCLIP_METRIC_SCORE_KERNEL_H
#include <stdint.h>

enum { SCORE_ROWS_MAX = 12, SCORE_COLUMNS_MAX = 32, SCORE_PAIRS_MAX = 16 };

/* What a score is compared with, for `rows` images and `columns` texts of one tile. Scores that are not a number count
 * as greater. */
struct score_tile {
  int rows, columns;          /* valid ones; packed rows and columns behind them are zero */
  int32_t first_row;          /* number of the tile's first image */
  const float *row_score;     /* [rows] score of the image's best text */
  const int32_t *row_best;    /* [rows] that text, counted from the tile's first column */
  int32_t *row_count;         /* [rows] += greater scores + equal ones left of row_best */
  const float *column_score;  /* [panel] score of the text's image */
  const int32_t *column_best; /* [panel] that image */
  int32_t *column_count;      /* [panel] += greater scores + equal ones above column_best */
};
struct score_kernels {
  int rows, columns, pairs; /* images and texts of a tile; pairs scored at once */
  /* images [width][rows], texts [width][columns] */
  void (*count_tile)(const float *images, const float *texts, int64_t width, const struct score_tile *tile);
  /* scores[r * columns + c] = sum_e images[e][r] texts[e][c] */
  void (*score_tile)(const float *images, const float *texts, int64_t width, float *scores);
  /* scores[p] of a [width][pairs] with b [width][pairs] */
  void (*score_pairs)(const float *a, const float *b, int64_t width, float *scores);
};

extern const struct score_kernels score_kernels_generic, score_kernels_avx2, score_kernels_avx512;
/* As base/isa.h chooses. */
const struct score_kernels *score_kernels_best(void);
/* rows [count][width] to packed [width][lanes]; lanes behind count are zero. */
void score_pack(const float *rows, int64_t count, int64_t width, int64_t lanes, float *packed);
#endif

/* Tiles of bf16 rows in shared memory as operands of tensor cores (cuda/tensor.h has the layouts of fragments). A tile
 * of COLUMNS has rows COLUMNS + PIECE apart, which keeps eight rows on different banks where COLUMNS is a multiple
 * of 64. */
#ifndef MEMCLIP_CUDA_TILE_H
#define MEMCLIP_CUDA_TILE_H
#include "cuda/tensor.h"

enum { PIECE = 8 /* elements of 16 bytes */ };

/* Asks for [ROWS][COLUMNS] of rows that exist, else 0, by THREADS threads; `stride` elements from one to the next.
 * Nothing is read where nothing exists, wherever that would be. */
template <int THREADS, int ROWS, int COLUMNS>
DEVICE void fetch_tile(bf16 *tile, const bf16 *from, int64_t stride, int64_t rows, int64_t columns) {
  constexpr int PIECES = COLUMNS / PIECE, STEP = THREADS / PIECES;
  const int thread = (int)threadIdx.x, exist = rows < ROWS ? (int)rows : ROWS;
  if constexpr (THREADS % PIECES == 0 && ROWS % STEP == 0) { /* a thread stays in its column */
    const int row = thread / PIECES, column = thread % PIECES * PIECE;
    const int end = column < columns ? exist : 0;
    const bf16 *source = from + row * stride + column;
    bf16 *to = tile + row * (COLUMNS + PIECE) + column;
#pragma unroll
    for (int n = 0; n < ROWS; n += STEP, source += STEP * stride)
      copy_async(to + n * (COLUMNS + PIECE), source, row + n < end);
  } else {
#pragma unroll
    for (int i = thread; i < ROWS * PIECES; i += THREADS) {
      const int row = i / PIECES, column = i % PIECES * PIECE;
      copy_async(tile + row * (COLUMNS + PIECE) + column, from + row * stride + column,
                 row < exist && column < columns);
    }
  }
}

/* The left operand: rows first .. first+15 of a tile, columns `column` .. +15. */
template <int COLUMNS> DEVICE void load_left(unsigned *a, const bf16 *tile, int first, int column) {
  const int lane = lane_of_thread(), matrix = lane / 8;
  load_matrices(a, tile + (first + matrix % 2 * 8 + lane % 8) * (COLUMNS + PIECE) + column + matrix / 2 * 8);
}
/* The left operand from a transposed tile: columns `column` .. +15 as rows, tile rows first .. +15 as what is summed
 * over. */
template <int COLUMNS> DEVICE void load_left_transposed(unsigned *a, const bf16 *tile, int first, int column) {
  const int lane = lane_of_thread(), matrix = lane / 8;
  load_matrices_transposed(a, tile + (first + matrix / 2 * 8 + lane % 8) * (COLUMNS + PIECE) + column + matrix % 2 * 8);
}
/* Right operands of two products: 16 rows of the tile as columns, columns `column` .. as what is summed over. */
template <int COLUMNS> DEVICE void load_rows_as_columns(unsigned *b, const bf16 *tile, int first, int column) {
  const int lane = lane_of_thread(), matrix = lane / 8;
  load_matrices(b, tile + (first + matrix / 2 * 8 + lane % 8) * (COLUMNS + PIECE) + column + matrix % 2 * 8);
}
/* Right operands of two products: 16 rows of the tile as what is summed over, columns `column` .. +15. */
template <int COLUMNS> DEVICE void load_rows(unsigned *b, const bf16 *tile, int first, int column) {
  const int lane = lane_of_thread(), matrix = lane / 8;
  load_matrices_transposed(b, tile + (first + matrix % 2 * 8 + lane % 8) * (COLUMNS + PIECE) + column + matrix / 2 * 8);
}

/* sum[N], fragments of 16 x 8 each. */
template <int N> DEVICE void clear_fragments(float sum[][4]) {
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int i = 0; i < 4; i++)
      sum[n][i] = 0;
}
#endif

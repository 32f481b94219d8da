/* Bags over small tables by tensor cores. The entries of a row become a dense row of weights P over all slots, and the
 * three operations are products of bf16 with fp32 sums:
 *   sum   out = P table          dot   dots[n,j] = dP[n, index[n,j]], dP = rows table'          scatter   dtable += P'
 * rows P is kept as the sum of two bf16, within 2^-17 of a weight. In the scatter each block has a run of rows; the
 * blocks' sums are added in order. bag.cu is the twin in fp32 arithmetic, for every dtype and size. */
#include "cuda/bag.h"
#include "cuda/tile.h"

enum { WARPS = 8, THREADS = WARPS * WARP, SLOTS = 64, PLANES = 2 * SLOTS, CHUNK = 256, ROWS = WARPS * 16 };
enum { TABLE_ELEMENTS = SLOTS * (CHUNK + PIECE), ENTRIES_MAX = 64 };
enum { DOT_COLUMNS = CHUNK + 24, DOT_TABLE_ELEMENTS = SLOTS * (DOT_COLUMNS + PIECE) }; /* rows 16 banks apart */

/* P of `COUNT` rows from `first` for the slots from `slot`, by one warp: [COUNT][PLANES + PIECE], upper halves of the
 * weights, then lower ones. Weights of a slot that occurs again are added in fp32, in the same place. */
template <int COUNT> DEVICE void make_weights(bf16 *weights, const struct bag *bag, int64_t first, int64_t slot) {
  constexpr int STRIDE = (PLANES + PIECE) / 2;
  unsigned *words = (unsigned *)weights;
  const int lane = lane_of_thread();
  for (int row = 0; row < COUNT; row++)
    words[row * STRIDE + lane] = words[row * STRIDE + WARP + lane] = 0;
  warp_barrier();
  if (lane < COUNT && first + lane < bag->count)
    for (int64_t j = (first + lane) * bag->entries; j < (first + lane + 1) * bag->entries; j++) {
      const int64_t at = bag->index[j] - slot;
      if (at < 0 || at >= SLOTS)
        continue;
      unsigned *word = &words[lane * STRIDE + at];
      *word = float_bits(float_of_bits(*word) + (bag->weight ? bag->weight[j] : 1));
    }
  warp_barrier();
  float value[COUNT][2];
#pragma unroll
  for (int row = 0; row < COUNT; row++)
#pragma unroll
    for (int n = 0; n < 2; n++)
      value[row][n] = float_of_bits(words[row * STRIDE + 2 * lane + n]);
  warp_barrier();
#pragma unroll
  for (int row = 0; row < COUNT; row++) {
    const unsigned upper = pack_bf16(value[row][0], value[row][1]);
    words[row * STRIDE + lane] = upper;
    words[row * STRIDE + WARP + lane] =
        pack_bf16(value[row][0] - float_of_bits(upper << 16), value[row][1] - float_of_bits(upper & 0xffff0000u));
  }
  warp_barrier();
}

/* ---- sum */

/* Two columns of a row of out. */
DEVICE void put_pair(const struct bag *bag, int64_t row, int64_t column, const float *sum) {
  if (row >= bag->count)
    return;
  float pair[2] = {0, 0};
  bf16 *out = (bf16 *)bag->out + row * bag->width + column;
  if (bag->accumulate)
    load<2>(out, 0, pair);
  pair[0] += sum[0];
  pair[1] += sum[1];
  store<2>(out, 0, pair);
}

/* A warp has 16 rows at a time. Shared memory: CHUNK columns of the table, then the weights of each warp. */
KERNEL_THREADS(THREADS, 2) void tensor_bag_sum(struct bag bag) {
  SHARED_DYNAMIC(bf16, memory);
  const int64_t column = (int64_t)blockIdx.y * CHUNK;
  const int g = lane_of_thread() / 4, t = lane_of_thread() % 4;
  bf16 *weights = memory + TABLE_ELEMENTS + warp_of_thread() * 16 * (PLANES + PIECE);
  fetch_tile<THREADS, SLOTS, CHUNK>(memory, (const bf16 *)bag.table + column, bag.width, bag.slots, bag.width - column);
  copy_commit();
  copy_wait<0>();
  block_barrier();
  for (int64_t first = ((int64_t)blockIdx.x * WARPS + warp_of_thread()) * 16; first < bag.count;
       first += (int64_t)gridDim.x * ROWS) {
    make_weights<16>(weights, &bag, first, 0);
    unsigned p[PLANES / 16][4];
#pragma unroll
    for (int step = 0; step < PLANES / 16; step++)
      load_left<PLANES>(p[step], weights, 0, step * 16);
    for (int c = 0; c < CHUNK && column + c < bag.width; c += 16) {
      float sum[2][4];
      clear_fragments<2>(sum);
#pragma unroll
      for (int step = 0; step < SLOTS / 16; step++) {
        if (step * 16 >= bag.slots)
          continue;
        unsigned b[4];
        load_rows<CHUNK>(b, memory, step * 16, c);
#pragma unroll
        for (int n = 0; n < 2; n++) {
          mma_bf16(sum[n], p[step], b + 2 * n);
          mma_bf16(sum[n], p[step + SLOTS / 16], b + 2 * n);
        }
      }
#pragma unroll
      for (int n = 0; n < 2; n++)
        if (column + c + 8 * n < bag.width)
          for (int half = 0; half < 2; half++)
            put_pair(&bag, first + g + 8 * half, column + c + 8 * n + 2 * t, sum[n] + 2 * half);
    }
    warp_barrier();
  }
}

/* ---- dot */

/* dp[SLOTS / 8] += rows first .. first+15 times `width` columns of the table in shared memory. What is summed over may
 * come in any order: a lane takes eight neighbouring columns of 32, which serve two products. */
DEVICE void add_dots(float dp[][4], const struct bag *bag, int64_t first, int64_t column, const bf16 *table) {
  const int g = lane_of_thread() / 4, t = lane_of_thread() % 4;
  const bf16 *row = (const bf16 *)bag->rows + (first + g) * bag->width + column + t * PIECE;
  for (int c = 0; c < CHUNK && column + c < bag->width; c += 4 * PIECE) {
    unsigned left[2][4] = {{0}};
    for (int half = 0; half < 2; half++)
      if (column + c + t * PIECE < bag->width && first + g + 8 * half < bag->count)
        load_words<4>(left[half], row + 8 * half * bag->width + c);
#pragma unroll
    for (int n = 0; n < SLOTS / 8; n++) {
      if (n * 8 >= bag->slots)
        continue;
      unsigned right[4];
      load_words<4>(right, table + (n * 8 + g) * (DOT_COLUMNS + PIECE) + c + t * PIECE);
#pragma unroll
      for (int pair = 0; pair < 4; pair += 2) {
        const unsigned a[4] = {left[0][pair], left[1][pair], left[0][pair + 1], left[1][pair + 1]};
        mma_bf16(dp[n], a, right + pair);
      }
    }
  }
}

/* Shared memory: CHUNK columns of the table, then 16 rows of dP for each warp. */
KERNEL_THREADS(THREADS, 2) void tensor_bag_dot(struct bag bag) {
  SHARED_DYNAMIC(bf16, memory);
  constexpr int STRIDE = SLOTS + 1;
  float *scores = (float *)(memory + DOT_TABLE_ELEMENTS) + warp_of_thread() * 16 * STRIDE;
  const int64_t first = ((int64_t)blockIdx.x * WARPS + warp_of_thread()) * 16, entries = bag.entries;
  float dp[SLOTS / 8][4];
  clear_fragments<SLOTS / 8>(dp);
  for (int64_t column = 0; column < bag.width; column += CHUNK) {
    block_barrier();
    fetch_tile<THREADS, SLOTS, DOT_COLUMNS>(memory, (const bf16 *)bag.table + column, bag.width, bag.slots,
                                            bag.width - column);
    copy_commit();
    copy_wait<0>();
    block_barrier();
    add_dots(dp, &bag, first, column, memory);
  }
#pragma unroll
  for (int n = 0; n < SLOTS / 8; n++)
#pragma unroll
    for (int i = 0; i < 4; i++)
      scores[(lane_of_thread() / 4 + i / 2 * 8) * STRIDE + n * 8 + lane_of_thread() % 4 * 2 + i % 2] = dp[n][i];
  warp_barrier();
  for (int64_t i = lane_of_thread(); i < 16 * entries && first * entries + i < bag.count * entries; i += WARP)
    bag.dots[first * entries + i] = scores[i / entries * STRIDE + bag.index[first * entries + i]];
}

/* ---- scatter */

enum { TILE = 64, BLOCKS_MAX = 256, SCATTER_SLOTS_MAX = 256, PARTIAL_ELEMENTS_MAX = 1 << 17 };
static const int64_t tiles_min = 2;

/* Which part of the table a block sums: SLOTS slots and WARPS * N * 8 columns. */
template <int N> DEVICE void place_of_block(const struct bag *bag, int64_t *slot, int64_t *column) {
  const int64_t chunks = (bag->width + WARPS * N * 8 - 1) / (WARPS * N * 8);
  *slot = blockIdx.y / chunks * SLOTS;
  *column = blockIdx.y % chunks * (WARPS * N * 8);
}

/* sum[m * N + n] += P' of a tile of rows, slots 16 m .., times its columns `own` + 8 n .. */
template <int N> DEVICE void add_tile(float sum[][4], const bf16 *weights, const bf16 *rows, int own, int64_t slots) {
#pragma unroll 1
  for (int step = 0; step < TILE; step += 16) {
    unsigned b[N * 2];
#pragma unroll
    for (int n = 0; n < N; n += 2)
      load_rows<WARPS * N * 8>(b + 2 * n, rows, step, own + n * 8);
#pragma unroll
    for (int m = 0; m < SLOTS / 16; m++) {
      if (m * 16 >= slots)
        continue;
#pragma unroll
      for (int plane = 0; plane < 2; plane++) {
        unsigned a[4];
        load_left_transposed<PLANES>(a, weights, step, plane * SLOTS + m * 16);
#pragma unroll
        for (int n = 0; n < N; n++)
          mma_bf16(sum[m * N + n], a, b + 2 * n);
      }
    }
  }
}

/* partial[block, slots, width] = the sums over the block's run of rows; a warp has N * 8 columns. Shared memory:
 * weights of a tile of rows, then two stages of rows. */
template <int N>
KERNEL_THREADS(THREADS, 2)
void tensor_bag_scatter(struct bag bag, int64_t tiles_each, float *partial) {
  SHARED_DYNAMIC(bf16, memory);
  constexpr int COLUMNS = WARPS * N * 8, STAGE = TILE * (COLUMNS + PIECE);
  bf16 *weights = memory, *stages = memory + TILE * (PLANES + PIECE);
  int64_t slot, column;
  place_of_block<N>(&bag, &slot, &column);
  const int64_t begin = blockIdx.x * tiles_each * TILE, limit = begin + tiles_each * TILE;
  const int64_t end = limit < bag.count ? limit : bag.count;
  const bf16 *rows = (const bf16 *)bag.rows + column;
  const int warp = warp_of_thread(), own = warp * N * 8, g = lane_of_thread() / 4, t = lane_of_thread() % 4;
  float sum[SLOTS / 16 * N][4];
  clear_fragments<SLOTS / 16 * N>(sum);
  fetch_tile<THREADS, TILE, COLUMNS>(stages, rows + begin * bag.width, bag.width, bag.count - begin,
                                     bag.width - column);
  copy_commit();
  for (int64_t first = begin, stage = 0; first < end; first += TILE, stage ^= 1) {
    const int64_t next = first + TILE;
    if (next < end)
      fetch_tile<THREADS, TILE, COLUMNS>(stages + (stage ^ 1) * STAGE, rows + next * bag.width, bag.width,
                                         bag.count - next, bag.width - column);
    copy_commit();
    make_weights<TILE / WARPS>(weights + warp * (TILE / WARPS) * (PLANES + PIECE), &bag, first + warp * (TILE / WARPS),
                               slot);
    copy_wait<1>();
    block_barrier();
    add_tile<N>(sum, weights, stages + stage * STAGE, own, bag.slots - slot);
    block_barrier();
  }
#pragma unroll
  for (int i = 0; i < SLOTS / 16 * N * 2; i++) {
    const int64_t row = slot + i / 2 / N * 16 + i % 2 * 8 + g, at = column + own + i / 2 % N * 8 + 2 * t;
    if (row < bag.slots && at < bag.width)
      store<2>(partial, (blockIdx.x * bag.slots + row) * bag.width + at, sum[i / 2] + i % 2 * 2);
  }
}

/* ---- host side */

static bool has_tensor_form(const struct bag *bag, int64_t slots) {
  return bag->dtype == DTYPE_BF16 && bag->slots <= slots && bag->entries <= ENTRIES_MAX && bag->width % PIECE == 0 &&
         aligned((const char *)bag->table, (const char *)bag->rows, (const char *)bag->out);
}

bool bag_tensor_sum(struct cuda_device *cuda, const struct bag *bag) {
  if (!has_tensor_form(bag, SLOTS))
    return false;
  dim3 grid(blocks_striding(bag->count, ROWS), blocks_for(bag->width, CHUNK));
  LAUNCH(tensor_bag_sum, grid, THREADS, (size_t)(TABLE_ELEMENTS + ROWS * (PLANES + PIECE)) * sizeof(bf16), cuda, *bag);
  return true;
}

bool bag_tensor_dot(struct cuda_device *cuda, const struct bag *bag) {
  if (!has_tensor_form(bag, SLOTS))
    return false;
  LAUNCH(tensor_bag_dot, blocks_for(bag->count, ROWS), THREADS,
         DOT_TABLE_ELEMENTS * sizeof(bf16) + ROWS * (SLOTS + 1) * sizeof(float), cuda, *bag);
  return true;
}

template <int N>
static void launch_scatter(struct cuda_device *cuda, const struct bag *bag, int64_t tiles_each, unsigned runs,
                           float *partial) {
  dim3 grid(runs, blocks_for(bag->slots, SLOTS) * blocks_for(bag->width, WARPS * N * 8));
  LAUNCH((tensor_bag_scatter<N>), grid, THREADS,
         (size_t)(TILE * (PLANES + PIECE) + 2 * TILE * (WARPS * N * 8 + PIECE)) * sizeof(bf16), cuda, *bag, tiles_each,
         partial);
}

bool bag_tensor_scatter(struct cuda_device *cuda, const struct bag *bag) {
  const int64_t elements = bag->slots * bag->width, tiles = (bag->count + TILE - 1) / TILE;
  if (!has_tensor_form(bag, SCATTER_SLOTS_MAX) || elements > PARTIAL_ELEMENTS_MAX)
    return false;
  const int64_t even_share = (tiles + BLOCKS_MAX - 1) / BLOCKS_MAX;
  const int64_t tiles_each = even_share > tiles_min ? even_share : tiles_min;
  const unsigned runs = blocks_for(tiles, tiles_each);
  float *partial = (float *)cuda_scratch(cuda, CUDA_SCRATCH_SEGMENTS, (size_t)(runs * elements) * sizeof *partial);
  if (bag->width <= WARPS * 2 * 8)
    launch_scatter<2>(cuda, bag, tiles_each, runs, partial);
  else
    launch_scatter<4>(cuda, bag, tiles_each, runs, partial);
  cuda_add_chunks(cuda, partial, runs, elements, 1, &bag->dtable);
  return true;
}

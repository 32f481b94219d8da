/* Sums over rows in a fixed order: rows are cut into chunks whose number depends on nothing but the rows, each chunk is
 * summed by one block, the chunks are added in order. */
#include "cuda/kernel.h"

enum { CHUNK_ROWS_MIN = 32, CHUNKS_MAX = 512, COLUMN_THREADS = 128, TOTAL_THREADS = 512, ADD_GROUPS = 16 };

struct cuda_chunks cuda_cut_rows(int64_t rows) {
  int64_t per_chunk = (rows + CHUNKS_MAX - 1) / CHUNKS_MAX;
  if (per_chunk < CHUNK_ROWS_MIN)
    per_chunk = CHUNK_ROWS_MIN;
  struct cuda_chunks chunks = {per_chunk, (rows + per_chunk - 1) / per_chunk};
  return chunks;
}

struct column_sums {
  float *out[CUDA_SUMS_MAX];
};
/* Without an index that is known at run time only, which would move the array to local memory. */
DEVICE float *out_of(const struct column_sums *sums, int64_t set) {
  return set == 0 ? sums->out[0] : set == 1 ? sums->out[1] : set == 2 ? sums->out[2] : sums->out[3];
}

/* A warp per group of chunks, a lane per column of a set; then the groups in order. */
KERNEL void add_chunks(const float *partial, int64_t count, int64_t columns, int64_t all, struct column_sums sums) {
  SHARED(float, group_sum, ADD_GROUPS *WARP);
  const int lane = lane_of_thread(), group = warp_of_thread();
  const int64_t column = (int64_t)blockIdx.x * WARP + lane, per_group = (count + ADD_GROUPS - 1) / ADD_GROUPS;
  const int64_t last = (group + 1) * per_group < count ? (group + 1) * per_group : count;
  float *out = column < all ? out_of(&sums, column / columns) : NULL;
  float sum = 0;
#pragma unroll 8
  for (int64_t chunk = group * per_group; chunk < (out ? last : 0); chunk++)
    sum += partial[chunk * all + column];
  group_sum[group * WARP + lane] = sum;
  block_barrier();
  if (group == 0 && out) {
    for (int i = 1; i < ADD_GROUPS; i++)
      sum += group_sum[i * WARP + lane];
    out[column % columns] += sum;
  }
}

void cuda_add_chunks(struct cuda_device *cuda, const float *partial, int64_t count, int64_t columns, int sets,
                     float *const *out) {
  struct column_sums sums = {};
  bool wanted = false;
  for (int set = 0; set < sets; set++) {
    sums.out[set] = out[set];
    wanted = wanted || out[set];
  }
  if (wanted && count)
    LAUNCH(add_chunks, blocks_for(sets * columns, WARP), ADD_GROUPS * WARP, 0, cuda, partial, count, columns,
           sets * columns, sums);
}

/* partial[chunk, columns] = sums over the rows of a chunk of factor[row] x[row, :] */
template <typename T, int V>
KERNEL void sum_chunk(const T *x, const float *factor, int64_t rows, int64_t per_chunk, int64_t columns,
                      float *partial) {
  const int64_t column = ((int64_t)blockIdx.x * COLUMN_THREADS + threadIdx.x) * V, first = blockIdx.y * per_chunk;
  const int64_t last = first + per_chunk < rows ? first + per_chunk : rows;
  if (column >= columns)
    return;
  float sum[V] = {0}, value[V];
  for (int64_t row = first; row < last; row++) {
    load<V>(x, row * columns + column, value);
    const float scale = factor ? factor[row] : 1;
#pragma unroll
    for (int n = 0; n < V; n++)
      sum[n] += scale * value[n];
  }
  store<V>(partial, blockIdx.y * columns + column, sum);
}

void cuda_sum_columns(struct cuda_device *cuda, enum dtype dtype, const void *x, const float *factor, int64_t rows,
                      int64_t columns, float *out) {
  if (!out || rows == 0)
    return;
  const struct cuda_chunks chunks = cuda_cut_rows(rows);
  float *partial =
      (float *)cuda_scratch(cuda, CUDA_SCRATCH_COLUMNS, (size_t)(chunks.count * columns) * sizeof *partial);
  WITH_TYPE(T, dtype, WITH_VECTOR(4, columns % 4 == 0 && aligned(x), {
              dim3 grid(blocks_for(columns, COLUMN_THREADS * V), (unsigned)chunks.count);
              LAUNCH((sum_chunk<T, V>), grid, COLUMN_THREADS, 0, cuda, (const T *)x, factor, rows, chunks.rows, columns,
                     partial);
            }));
  cuda_add_chunks(cuda, partial, chunks.count, columns, 1, &out);
}

/* One block: each thread sums every TOTAL_THREADS-th element, then lanes by a fixed tree, then warps in order. */
template <typename O> KERNEL void add_total(const double *x, int64_t count, double scale, O *out) {
  SHARED(double, warp_sums, TOTAL_THREADS / WARP);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += TOTAL_THREADS)
    sum += x[i];
  sum = warp_sum(sum);
  if (lane_of_thread() == 0)
    warp_sums[warp_of_thread()] = sum;
  block_barrier();
  if (threadIdx.x == 0) {
    for (int i = 1; i < TOTAL_THREADS / WARP; i++)
      sum += warp_sums[i];
    *out += (O)(scale * sum);
  }
}

void cuda_add_total(struct cuda_device *cuda, const double *x, int64_t count, double scale, double *out) {
  LAUNCH((add_total<double>), 1, TOTAL_THREADS, 0, cuda, x, count, scale, out);
}
void cuda_add_total(struct cuda_device *cuda, const double *x, int64_t count, double scale, float *out) {
  LAUNCH((add_total<float>), 1, TOTAL_THREADS, 0, cuda, x, count, scale, out);
}

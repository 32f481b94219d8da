/* Weighted sums of table rows and their gradients.
 *
 * The gradient of the table is deterministic: entries are sorted by slot, keeping their order; the sorted list is cut
 * into pieces of PIECE entries, and a block walks each piece in order. A slot whose entries all lie in one piece is
 * added to the table at once; of one that goes over an end of a piece, the pieces' sums are kept and joined in order.
 */
#include "cuda/bag.h"
#include "cuda/kernel.h"
#include "cuda/sort.h"

enum { THREADS = 128, PIECE = 128 };

/* ---- sum and dot: a warp per row, or per entry */

template <typename T, int V> KERNEL void bag_sum(struct bag bag) {
  const int64_t row = warp_of_grid();
  if (row >= bag.count)
    return;
  const int32_t *index = bag.index + row * bag.entries;
  const float *weight = bag.weight + row * bag.entries;
  for (int64_t c = lane_of_thread() * V; c < bag.width; c += WARP * V) {
    float sum[V] = {0}, value[V];
    if (bag.accumulate)
      load<V>((const T *)bag.out, row * bag.width + c, sum);
    for (int64_t j = 0; j < bag.entries; j++) {
      const float scale = weight[j];
      load<V>((const T *)bag.table, index[j] * bag.width + c, value);
#pragma unroll
      for (int n = 0; n < V; n++)
        sum[n] += scale * value[n];
    }
    store<V>((T *)bag.out, row * bag.width + c, sum);
  }
}

void cuda_bag_sum(struct cuda_device *cuda, const struct bag *bag) {
  if (bag_tensor_sum(cuda, bag))
    return;
  WITH_TYPE(T, bag->dtype,
            WITH_VECTOR(8, bag->width % 8 == 0 && aligned((const char *)bag->table, (char *)bag->out),
                        LAUNCH((bag_sum<T, V>), blocks_for(bag->count, THREADS / WARP), THREADS, 0, cuda, *bag)));
}

template <typename T, int V> KERNEL void bag_dot(struct bag bag) {
  const int64_t entry = warp_of_grid();
  if (entry >= bag.count * bag.entries)
    return;
  const int64_t row = entry / bag.entries * bag.width, slot = bag.index[entry] * bag.width;
  float sum = 0, a[V], b[V];
  for (int64_t c = lane_of_thread() * V; c < bag.width; c += WARP * V) {
    load<V>((const T *)bag.rows, row + c, a);
    load<V>((const T *)bag.table, slot + c, b);
#pragma unroll
    for (int n = 0; n < V; n++)
      sum += a[n] * b[n];
  }
  sum = warp_sum(sum);
  if (lane_of_thread() == 0)
    bag.dots[entry] = sum;
}

void cuda_bag_dot(struct cuda_device *cuda, const struct bag *bag) {
  if (bag_tensor_dot(cuda, bag))
    return;
  const unsigned blocks = blocks_for(bag->count * bag->entries, THREADS / WARP);
  WITH_TYPE(T, bag->dtype,
            WITH_VECTOR(8, bag->width % 8 == 0 && aligned((const char *)bag->table, (const char *)bag->rows),
                        LAUNCH((bag_dot<T, V>), blocks, THREADS, 0, cuda, *bag)));
}

/* ---- scatter */

/* The sums of pieces whose slot goes over an end: [piece][head, tail][width]. A piece of one slot has a head only. */
struct scatter {
  struct bag bag;
  int64_t total;
  const int32_t *slot, *number; /* sorted */
  float *ends;
};

DEVICE bool continues_before(const struct scatter *s, int64_t first) {
  return first > 0 && s->slot[first - 1] == s->slot[first];
}
DEVICE bool continues_after(const struct scatter *s, int64_t last) {
  return last < s->total && s->slot[last - 1] == s->slot[last];
}

/* Where the sum of the entries begin .. end-1, all of one slot and in one piece, goes. */
template <int V>
DEVICE void put_sum(const struct scatter *s, int64_t first, int64_t last, int64_t begin, int64_t end, int64_t column,
                    float *sum) {
  const bool head = begin == first && continues_before(s, first), tail = end == last && continues_after(s, last);
  if (head || tail) {
    store<V>(s->ends, (first / PIECE * 2 + (head ? 0 : 1)) * s->bag.width + column, sum);
    return;
  }
  float value[V];
  const int64_t at = s->slot[begin] * s->bag.width + column;
  load<V>(s->bag.dtable, at, value);
#pragma unroll
  for (int n = 0; n < V; n++)
    value[n] += sum[n];
  store<V>(s->bag.dtable, at, value);
}

template <typename T, int V> KERNEL void scatter_piece(struct scatter s) {
  const int64_t column = ((int64_t)blockIdx.y * THREADS + threadIdx.x) * V, first = (int64_t)blockIdx.x * PIECE;
  const int64_t last = first + PIECE < s.total ? first + PIECE : s.total;
  if (column >= s.bag.width)
    return;
  float sum[V] = {0}, value[V];
  for (int64_t begin = first, i = first; i < last; i++) {
    const int32_t number = s.number[i];
    const float scale = s.bag.weight ? s.bag.weight[number] : 1;
    load<V>((const T *)s.bag.rows, number / s.bag.entries * s.bag.width + column, value);
#pragma unroll
    for (int n = 0; n < V; n++)
      sum[n] += scale * value[n];
    if (i + 1 == last || s.slot[i + 1] != s.slot[i]) {
      put_sum<V>(&s, first, last, begin, i + 1, column, sum);
#pragma unroll
      for (int n = 0; n < V; n++)
        sum[n] = 0;
      begin = i + 1;
    }
  }
}

/* The piece in which a slot begins that goes on behind it joins the sums of all its pieces. */
KERNEL void join_pieces(struct scatter s, int64_t pieces) {
  const int64_t piece = blockIdx.x, first = piece * PIECE, width = s.bag.width;
  const int64_t last = first + PIECE < s.total ? first + PIECE : s.total;
  const int64_t column = (int64_t)blockIdx.y * THREADS + threadIdx.x;
  const bool whole = s.slot[first] == s.slot[last - 1];
  if (column >= width || !continues_after(&s, last) || (whole && continues_before(&s, first)))
    return;
  const int32_t slot = s.slot[last - 1];
  float sum = s.ends[(piece * 2 + 1) * width + column];
  for (int64_t next = piece + 1; next < pieces && s.slot[next * PIECE] == slot; next++)
    sum += s.ends[next * 2 * width + column];
  s.bag.dtable[slot * width + column] += sum;
}

void cuda_bag_scatter(struct cuda_device *cuda, const struct bag *bag) {
  if (bag_tensor_scatter(cuda, bag))
    return;
  struct scatter s = {*bag, bag->count * bag->entries, NULL, NULL, NULL};
  const int64_t pieces = (s.total + PIECE - 1) / PIECE;
  if (!pieces)
    return;
  int32_t *sorted = (int32_t *)cuda_scratch(cuda, CUDA_SCRATCH_SORTED, (size_t)(2 * s.total) * sizeof *sorted);
  sort_by_key(cuda, bag->index, sorted, sorted + s.total, s.total, bag->slots);
  s.slot = sorted;
  s.number = sorted + s.total;
  s.ends = (float *)cuda_scratch(cuda, CUDA_SCRATCH_SEGMENTS, (size_t)(2 * pieces * bag->width) * sizeof *s.ends);
  WITH_TYPE(T, bag->dtype, WITH_VECTOR(4, bag->width % 4 == 0 && aligned((const char *)bag->rows, bag->dtable), {
              dim3 grid((unsigned)pieces, blocks_for(bag->width, THREADS * V));
              LAUNCH((scatter_piece<T, V>), grid, THREADS, 0, cuda, s);
            }));
  dim3 grid((unsigned)pieces, blocks_for(bag->width, THREADS));
  LAUNCH(join_pieces, grid, THREADS, 0, cuda, s, pieces);
}

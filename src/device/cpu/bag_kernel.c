/* Bags of table rows. Numbers go by pairs of vectors: of bf16, the even and the odd elements of 2*LANES neighbours,
 * since a shift or a mask widens them where they lie; of fp32, two vectors side by side. */
#include "device/cpu/bag.h"
#include "device/cpu/kernels.h"
#include "device/cpu/tile.h"

enum { BLOCK = 4, STEP = 2 * LANES, AHEAD = 6 }; /* pairs summed at a time; elements of a pair; entries fetched ahead */

struct pair {
  vfloat even, odd;
};

TILE_INLINE struct pair pair_widen(vbits words) {
  return (struct pair){(vfloat)(words << 16), (vfloat)(words & 0xffff0000u)};
}

TILE_INLINE struct pair pair_load(enum dtype dtype, const void *x, int64_t i) {
  if (dtype == DTYPE_F32)
    return (struct pair){v_load((const float *)x + i), v_load((const float *)x + i + LANES)};
  vbits words;
  memcpy(&words, (const bf16 *)x + i, sizeof words);
  return pair_widen(words);
}

/* The same with only `count` < STEP elements there. */
TILE_INLINE struct pair pair_load_part(enum dtype dtype, const void *x, int64_t i, int64_t count) {
  float numbers[STEP] = {0};
  size_t size = dtype == DTYPE_F32 ? 4 : 2;
  memcpy(numbers, (const char *)x + (size_t)i * size, (size_t)count * size);
  return pair_load(dtype, numbers, 0);
}

TILE_INLINE void pair_store(enum dtype dtype, void *x, int64_t i, struct pair p) {
  if (dtype == DTYPE_F32) {
    v_store((float *)x + i, p.even);
    v_store((float *)x + i + LANES, p.odd);
  } else {
    vfloat words = tile_pair(p.even, p.odd);
    memcpy((bf16 *)x + i, &words, sizeof words);
  }
}

TILE_INLINE void pair_store_part(enum dtype dtype, void *x, int64_t i, struct pair p, int64_t count) {
  float numbers[STEP];
  size_t size = dtype == DTYPE_F32 ? 4 : 2;
  pair_store(dtype, numbers, 0, p);
  memcpy((char *)x + (size_t)i * size, numbers, (size_t)count * size);
}

/* The pair's elements in order, as fp32. */
TILE_INLINE void pair_spread(enum dtype dtype, struct pair p, float to[STEP]) {
  vint side = (TILE_LANE & 1) * LANES, low = (TILE_LANE >> 1) + side, high = low + LANES / 2;
  v_store(to, dtype == DTYPE_F32 ? p.even : __builtin_shuffle(p.even, p.odd, low));
  v_store(to + LANES, dtype == DTYPE_F32 ? p.odd : __builtin_shuffle(p.even, p.odd, high));
}

TILE_INLINE void pair_add_scaled(struct pair *sum, float factor, struct pair x) {
  sum->even += v_set(factor) * x.even;
  sum->odd += v_set(factor) * x.odd;
}

TILE_INLINE void prefetch(enum dtype dtype, const void *x, int64_t i, int64_t elements) {
  int64_t size = dtype == DTYPE_F32 ? 4 : 2;
  for (int64_t byte = 0; byte < elements * size; byte += 64)
    __builtin_prefetch((const char *)x + i * size + byte);
}

/* Columns c .. c + BLOCK*STEP - 1 of one row of the result. */
TILE_INLINE void sum_block(enum dtype dtype, const struct cpu_bag *bag, int64_t n, int64_t c, bool far) {
  struct pair sum[BLOCK] = {{{0}, {0}}};
  for (int b = 0; b < BLOCK && bag->accumulate; b++)
    sum[b] = pair_load(dtype, bag->out, n * bag->width + c + b * STEP);
  const int32_t *index = bag->index + n * bag->entries;
  const float *weight = bag->weight + n * bag->entries;
  int64_t entries_left = (bag->count - n) * bag->entries;
  for (int64_t j = 0; j < bag->entries; j++) {
    int64_t at = index[j] * bag->width + c;
    if (far && j + AHEAD < entries_left)
      prefetch(dtype, bag->table, index[j + AHEAD] * bag->width + c, BLOCK * STEP);
#pragma GCC unroll 4
    for (int b = 0; b < BLOCK; b++)
      pair_add_scaled(&sum[b], weight[j], pair_load(dtype, bag->table, at + b * STEP));
  }
#pragma GCC unroll 4
  for (int b = 0; b < BLOCK; b++)
    pair_store(dtype, bag->out, n * bag->width + c + b * STEP, sum[b]);
}

/* Up to STEP columns from c. */
TILE_INLINE void sum_rest(enum dtype dtype, const struct cpu_bag *bag, int64_t n, int64_t c) {
  int64_t count = bag->width - c < STEP ? bag->width - c : STEP;
  struct pair sum = {{0}, {0}};
  if (bag->accumulate)
    sum = pair_load_part(dtype, bag->out, n * bag->width + c, count);
  for (int64_t j = n * bag->entries; j < (n + 1) * bag->entries; j++)
    pair_add_scaled(&sum, bag->weight[j], pair_load_part(dtype, bag->table, bag->index[j] * bag->width + c, count));
  pair_store_part(dtype, bag->out, n * bag->width + c, sum, count);
}

/* A table beyond the second-level cache is fetched ahead. */
TILE_INLINE bool table_is_far(const struct cpu_bag *bag) {
  return bag->slots * bag->width > 1 << 18;
}

TILE_INLINE void sum_rows(enum dtype dtype, const struct cpu_bag *bag, int64_t first, int64_t rows) {
  bool far = table_is_far(bag);
  for (int64_t n = first; n < first + rows; n++) {
    int64_t c = 0;
    for (; c + BLOCK * STEP <= bag->width; c += BLOCK * STEP)
      sum_block(dtype, bag, n, c, far);
    for (; c < bag->width; c += STEP)
      sum_rest(dtype, bag, n, c);
  }
}

void CPU_KERNEL(cpu_kernel_bag_sum)(const struct cpu_bag *bag, int64_t first, int64_t rows) {
  if (bag->dtype == DTYPE_F32)
    sum_rows(DTYPE_F32, bag, first, rows);
  else
    sum_rows(DTYPE_BF16, bag, first, rows);
}

TILE_INLINE float dot_row(enum dtype dtype, const struct cpu_bag *bag, int64_t row, int64_t slot) {
  struct pair sum = {{0}, {0}}, more = {{0}, {0}};
  int64_t x = row * bag->width, y = slot * bag->width, c = 0;
  for (; c + 2 * STEP <= bag->width; c += 2 * STEP) {
    struct pair a = pair_load(dtype, bag->rows, x + c), b = pair_load(dtype, bag->table, y + c);
    struct pair d = pair_load(dtype, bag->rows, x + c + STEP), e = pair_load(dtype, bag->table, y + c + STEP);
    sum.even += a.even * b.even;
    sum.odd += a.odd * b.odd;
    more.even += d.even * e.even;
    more.odd += d.odd * e.odd;
  }
  for (; c < bag->width; c += STEP) {
    int64_t count = bag->width - c < STEP ? bag->width - c : STEP;
    struct pair a = pair_load_part(dtype, bag->rows, x + c, count), b = pair_load_part(dtype, bag->table, y + c, count);
    sum.even += a.even * b.even;
    sum.odd += a.odd * b.odd;
  }
  return tile_sum((sum.even + sum.odd) + (more.even + more.odd));
}

TILE_INLINE void dot_rows(enum dtype dtype, const struct cpu_bag *bag, int64_t first, int64_t rows) {
  bool far = table_is_far(bag);
  int64_t last = (first + rows) * bag->entries;
  for (int64_t n = first; n < first + rows; n++)
    for (int64_t j = n * bag->entries; j < (n + 1) * bag->entries; j++) {
      if (far && j + 2 < last)
        prefetch(dtype, bag->table, bag->index[j + 2] * bag->width, bag->width);
      bag->dots[j] = dot_row(dtype, bag, n, bag->index[j]);
    }
}

void CPU_KERNEL(cpu_kernel_bag_dot)(const struct cpu_bag *bag, int64_t first, int64_t rows) {
  if (bag->dtype == DTYPE_F32)
    dot_rows(DTYPE_F32, bag, first, rows);
  else
    dot_rows(DTYPE_BF16, bag, first, rows);
}

/* to[columns] += the entries' weight rows, for `columns` columns from c. */
TILE_INLINE void scatter_block(enum dtype dtype, const struct cpu_bag *bag, const struct cpu_bag_entry *entry,
                               int64_t count, int64_t c, float *to) {
  struct pair sum[BLOCK] = {{{0}, {0}}};
  for (int64_t e = 0; e < count; e++)
#pragma GCC unroll 4
    for (int b = 0; b < BLOCK; b++)
      pair_add_scaled(&sum[b], entry[e].weight, pair_load(dtype, bag->rows, entry[e].row * bag->width + c + b * STEP));
#pragma GCC unroll 4
  for (int b = 0; b < BLOCK; b++) {
    float ordered[STEP];
    pair_spread(dtype, sum[b], ordered);
    v_store(to + b * STEP, v_load(to + b * STEP) + v_load(ordered));
    v_store(to + b * STEP + LANES, v_load(to + b * STEP + LANES) + v_load(ordered + LANES));
  }
}

TILE_INLINE void scatter_rest(enum dtype dtype, const struct cpu_bag *bag, const struct cpu_bag_entry *entry,
                              int64_t count, int64_t c, float *to) {
  int64_t columns = bag->width - c < STEP ? bag->width - c : STEP;
  struct pair sum = {{0}, {0}};
  float ordered[STEP];
  for (int64_t e = 0; e < count; e++)
    pair_add_scaled(&sum, entry[e].weight, pair_load_part(dtype, bag->rows, entry[e].row * bag->width + c, columns));
  pair_spread(dtype, sum, ordered);
  for (int64_t i = 0; i < columns; i++)
    to[i] += ordered[i];
}

TILE_INLINE void scatter_slot(enum dtype dtype, const struct cpu_bag *bag, const struct cpu_bag_entry *entry,
                              int64_t count, int64_t slot) {
  float *to = bag->dtable + slot * bag->width;
  int64_t c = 0;
  for (; c + BLOCK * STEP <= bag->width; c += BLOCK * STEP)
    scatter_block(dtype, bag, entry, count, c, to + c);
  for (; c < bag->width; c += STEP)
    scatter_rest(dtype, bag, entry, count, c, to + c);
}

/* The entries of slot s are entry[first[s]] .. entry[first[s+1]-1]. */
void CPU_KERNEL(cpu_kernel_bag_scatter)(const struct cpu_bag *bag, const int32_t *first,
                                        const struct cpu_bag_entry *entry, int64_t slot) {
  int64_t count = first[slot + 1] - first[slot];
  if (count && bag->dtype == DTYPE_F32)
    scatter_slot(DTYPE_F32, bag, entry + first[slot], count, slot);
  else if (count)
    scatter_slot(DTYPE_BF16, bag, entry + first[slot], count, slot);
}

/* Weighted sums of table rows ("bags") and their gradients: what the memory operations and the token embedding share.
 */
#ifndef MEMCLIP_CUDA_BAG_H
#define MEMCLIP_CUDA_BAG_H
#include "cuda/cuda.h"

/* Row n of the result has `entries` entries j: weight[n,j] (weight NULL: 1) times row index[n,j] of the table. All rows
 * are `width` wide.
 *   sum      out[n,:] (+)= sum_j weight[n,j] table[index[n,j],:], added when `accumulate`
 *   dot      dots[n,j] = <rows[n,:], table[index[n,j],:]>
 *   scatter  dtable[s,:] += sum over the entries with index s, in their order, of weight rows[n,:] */
struct bag {
  int64_t count, entries, slots, width; /* count: rows of the result; slots: rows of the table */
  enum dtype dtype;
  const int32_t *index;
  const float *weight;
  const void *table, *rows;
  void *out;
  bool accumulate;
  float *dots, *dtable;
};
void cuda_bag_sum(struct cuda_device *cuda, const struct bag *bag);
void cuda_bag_dot(struct cuda_device *cuda, const struct bag *bag);
void cuda_bag_scatter(struct cuda_device *cuda, const struct bag *bag);

/* The same by tensor cores, for small tables of bf16; false where it has no form for that bag. */
bool bag_tensor_sum(struct cuda_device *cuda, const struct bag *bag);
bool bag_tensor_dot(struct cuda_device *cuda, const struct bag *bag);
bool bag_tensor_scatter(struct cuda_device *cuda, const struct bag *bag);
#endif

/* Weighted sums of table rows ("bags"), their gradients, and the selection of the largest scores: what the memory
 * operations share. */
#ifndef MEMCLIP_DEVICE_CPU_BAG_H
#define MEMCLIP_DEVICE_CPU_BAG_H
#include "device/device.h"

/* Row n of the result has `entries` entries j: weight[n,j] times row index[n,j] of the table. All rows are `width`
 * wide.
 *   sum      out[n,:] (+)= sum_j weight[n,j] table[index[n,j],:], added when `accumulate`
 *   dot      dots[n,j] = <rows[n,:], table[index[n,j],:]>
 *   scatter  dtable[s,:] += sum over the entries with index s, in their order, of weight rows[n,:] */
struct cpu_bag {
  int64_t count, entries, slots, width; /* count: rows of the result; slots: rows of the table */
  enum dtype dtype;
  const int32_t *index;
  const float *weight;
  const void *table, *rows;
  void *out;
  bool accumulate;
  float *dots, *dtable;
};

/* An entry after sorting by slot. */
struct cpu_bag_entry {
  int32_t row;
  float weight;
};

void cpu_bag_sum(struct device *self, const struct cpu_bag *bag);
void cpu_bag_dot(struct device *self, const struct cpu_bag *bag);
void cpu_bag_scatter(struct device *self, const struct cpu_bag *bag);

enum {
  SELECT_ROWS = 48, /* rows of queries that one call of the selection kernel takes at most */
  SELECT_PANEL = 64 /* keys that are multiplied at a time */
};

/* Floats of the packed keys of one half of a head, and of the work space of a selection. */
static inline int64_t select_key_floats(const struct memory_select *call) {
  return (call->half + 31) / 32 * 32 * ((call->n_keys + SELECT_PANEL - 1) / SELECT_PANEL * SELECT_PANEL);
}
static inline int64_t select_work_floats(const struct memory_select *call) {
  int64_t keys = (call->n_keys + SELECT_PANEL - 1) / SELECT_PANEL * SELECT_PANEL;
  return SELECT_ROWS * ((call->half + 31) / 32 * 32 + 2 * keys + 4 * call->knn);
}
#endif

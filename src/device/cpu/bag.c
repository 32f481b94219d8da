/* Bags of table rows over threads; the sort by slot that makes the table's gradient deterministic. */
#include "device/cpu/bag.h"
#include "device/cpu/cpu.h"
#include <string.h>

enum { ROWS_AT_A_TIME = 16, SLOTS_AT_A_TIME = 16 };

static int64_t rows_from(const struct cpu_bag *bag, int64_t first) {
  return bag->count - first < ROWS_AT_A_TIME ? bag->count - first : ROWS_AT_A_TIME;
}

void cpu_bag_sum(struct device *self, const struct cpu_bag *bag) {
  const struct cpu_kernels *kernel = cpu_from_device(self)->kernel;
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t first = 0; first < bag->count; first += ROWS_AT_A_TIME)
    kernel->cpu_kernel_bag_sum(bag, first, rows_from(bag, first));
}

void cpu_bag_dot(struct device *self, const struct cpu_bag *bag) {
  const struct cpu_kernels *kernel = cpu_from_device(self)->kernel;
#pragma omp parallel for num_threads(self->threads) schedule(static)
  for (int64_t first = 0; first < bag->count; first += ROWS_AT_A_TIME)
    kernel->cpu_kernel_bag_dot(bag, first, rows_from(bag, first));
}

/* Counting sort by slot, stable. Afterwards the entries of slot s are sorted[first[s]] .. sorted[first[s+1]-1]; `first`
 * has slots + 2 places. */
static void sort_by_slot(const struct cpu_bag *bag, int32_t *first, struct cpu_bag_entry *sorted) {
  memset(first, 0, (size_t)(bag->slots + 2) * sizeof *first);
  for (int64_t j = 0; j < bag->count * bag->entries; j++)
    first[bag->index[j] + 2]++;
  for (int64_t slot = 2; slot <= bag->slots + 1; slot++)
    first[slot] += first[slot - 1];
  for (int64_t n = 0; n < bag->count; n++)
    for (int64_t j = n * bag->entries; j < (n + 1) * bag->entries; j++)
      sorted[first[bag->index[j] + 1]++] = (struct cpu_bag_entry){(int32_t)n, bag->weight[j]};
}

/* A slot belongs to one thread, so that its entries are added in order whatever the number of threads. */
void cpu_bag_scatter(struct device *self, const struct cpu_bag *bag) {
  const struct cpu_kernels *kernel = cpu_from_device(self)->kernel;
  int64_t places = (bag->slots + 3) / 2 * 2;
  int32_t *first =
      cpu_scratch(cpu_from_device(self), CPU_SCRATCH_INDEX,
                  (size_t)places * sizeof *first + (size_t)(bag->count * bag->entries) * sizeof(struct cpu_bag_entry));
  struct cpu_bag_entry *sorted = (struct cpu_bag_entry *)(first + places);
  sort_by_slot(bag, first, sorted);
  int64_t together = bag->slots < 64 * SLOTS_AT_A_TIME ? 1 : SLOTS_AT_A_TIME;
#pragma omp parallel for num_threads(self->threads) schedule(dynamic, together)
  for (int64_t slot = 0; slot < bag->slots; slot++)
    kernel->cpu_kernel_bag_scatter(bag, first, sorted, slot);
}

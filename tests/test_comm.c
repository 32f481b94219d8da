/* Collectives, run by comm.sh on 1, 2 and 4 ranks. Rank 0 prints one TAP line per check; `test_comm MODE` plays one of
 * the faults instead.
 */
#include "base/checksum.h"
#include "base/clock.h"
#include "base/memory.h"
#include "comm/comm.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int checks_done, checks_failed;

/* The check holds if it holds on every rank. */
static void check(bool mine, const char *name) {
  int32_t all = mine;
  comm_all_reduce(&all, 1, DTYPE_I32, COMM_MIN);
  if (!mine)
    fprintf(stderr, "rank %d: %s failed\n", comm_rank(), name);
  checks_done++;
  checks_failed += !all;
  if (comm_rank() == 0)
    printf("%s %d - %s\n", all ? "ok" : "not ok", checks_done, name);
}

/* What rank `rank` contributes at `i`: signs and sizes vary, so that another order of the sum has other bits. */
static float contribution(int rank, size_t i) {
  const uint32_t h = (uint32_t)(i * 2654435761u) ^ ((uint32_t)(rank + 1) * 40503u);
  return ((float)(h % 20011u) - 10000.0f) * (h & 64 ? 1e-4f : 1.0f);
}

static void fill(float *data, size_t count, int rank) {
  for (size_t i = 0; i < count; i++)
    data[i] = contribution(rank, i);
}

static bool is_sum(const float *data, size_t count) {
  for (size_t i = 0; i < count; i++) {
    double sum = 0, size = 0;
    for (int r = 0; r < comm_size(); r++) {
      sum += contribution(r, i);
      size += fabs(contribution(r, i));
    }
    if (!(fabs(data[i] - sum) <= comm_size() * 6e-8 * size))
      return false;
  }
  return true;
}

/* To the bit, where one node's memory serves all ranks: added in rank order. */
static bool is_sum_in_rank_order(const float *data, size_t count) {
  for (size_t i = 0; i < count && comm_local_size() == comm_size(); i++) {
    float sum = contribution(0, i);
    for (int r = 1; r < comm_size(); r++)
      sum += contribution(r, i);
    if (memcmp(&sum, &data[i], sizeof sum) != 0)
      return false;
  }
  return true;
}

static bool same_on_all_ranks(const void *data, size_t bytes) {
  const uint32_t mine = checksum_crc32c(0, data, bytes);
  uint32_t first = mine;
  comm_broadcast(&first, sizeof first, 0);
  return first == mine;
}

static void check_sums(void) {
  static const size_t counts[] = {0, 1, 3, 2048, 4097, 100003, 262144, 262145, 1500001};
  for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
    const size_t count = counts[c];
    float *data = memory_allocate((count + 1) * sizeof *data, "sum"),
          *again = memory_allocate((count + 1) * sizeof *again, "sum");
    fill(data, count, comm_rank());
    fill(again, count, comm_rank());
    data[count] = 42;
    comm_all_reduce(data, count, DTYPE_F32, COMM_SUM);
    comm_all_reduce(again, count, DTYPE_F32, COMM_SUM);
    char name[80];
    snprintf(name, sizeof name, "sum of %zu floats", count);
    const bool same = same_on_all_ranks(data, count * sizeof *data);
    check(same && is_sum(data, count) && is_sum_in_rank_order(data, count) && data[count] == 42 &&
              memcmp(data, again, count * sizeof *data) == 0,
          name);
    memory_release(data);
    memory_release(again);
  }
}

static void check_types(void) {
  const int n = comm_size();
  enum { COUNT = 70001 };
  int64_t *wide = memory_allocate(COUNT * sizeof *wide, "wide");
  double *real = memory_allocate(COUNT * sizeof *real, "real");
  for (int i = 0; i < COUNT; i++) {
    wide[i] = (int64_t)i * (comm_rank() == n - 1 ? 1 : -1) + (INT64_C(1) << 40);
    real[i] = i + 0.25 * comm_rank();
  }
  comm_all_reduce(wide, COUNT, DTYPE_I64, COMM_MAX);
  comm_all_reduce(real, COUNT, DTYPE_F64, COMM_SUM);
  bool wide_holds = true, real_holds = true;
  for (int i = 0; i < COUNT; i++) {
    wide_holds &= wide[i] == i + (INT64_C(1) << 40);
    real_holds &= real[i] == (double)n * i + 0.125 * n * (n - 1);
  }
  check(wide_holds, "maximum of 64-bit integers");
  check(real_holds, "sum of doubles");
  int32_t low[2] = {comm_rank() + 3, -comm_rank()};
  comm_all_reduce(low, 2, DTYPE_I32, COMM_MIN);
  check(low[0] == 3 && low[1] == 1 - n, "minimum of 32-bit integers");
  float high = (float)comm_rank();
  comm_all_reduce(&high, 1, DTYPE_F32, COMM_MAX);
  check(high == (float)(n - 1), "maximum of a float");
  memory_release(wide);
  memory_release(real);
}

static void check_started(void) {
  enum { BUCKETS = 300, COUNT = 9001 };
  float *data = memory_allocate(BUCKETS * COUNT * sizeof *data, "buckets");
  for (int b = 0; b < BUCKETS; b++)
    fill(data + b * COUNT, COUNT, comm_rank());
  for (int b = 0; b < BUCKETS; b++)
    comm_all_reduce_start(data + b * COUNT, COUNT);
  int32_t between = 1;
  comm_all_reduce(&between, 1, DTYPE_I32, COMM_SUM);
  const double waited = comm_all_reduce_wait();
  bool holds = between == comm_size() && waited >= 0;
  for (int b = 0; b < BUCKETS; b++)
    holds = holds && is_sum(data + b * COUNT, COUNT);
  check(holds, "more started sums than the queue holds, and a call between");
  check(comm_size() == 1 || comm_all_reduce_busy_seconds() > 0, "busy seconds are counted");
  const uint64_t allocations = memory_count_allocations();
  comm_all_reduce_start(data, COUNT);
  comm_all_reduce_wait();
  check(memory_count_allocations() == allocations, "a reduction allocates nothing");
  memory_release(data);
}

static void check_moves(void) {
  enum { BYTES = 100000 };
  const int n = comm_size(), rank = comm_rank();
  unsigned char *all = memory_allocate((size_t)n * BYTES, "all"), *mine = memory_allocate(BYTES, "mine");
  bool broadcast_holds = true, gather_holds = true, varied_holds = true;
  for (int root = 0; root < n; root++) {
    memset(mine, rank == root ? root + 1 : 0, BYTES);
    comm_broadcast(mine, BYTES, root);
    broadcast_holds &= mine[0] == root + 1 && mine[BYTES - 1] == root + 1;
  }
  check(broadcast_holds, "broadcast from every rank");
  for (int in_place = 0; in_place < 2; in_place++) {
    unsigned char *source = in_place ? all + (size_t)rank * BYTES : mine;
    memset(all, 0, (size_t)n * BYTES);
    memset(source, rank + 1, BYTES);
    comm_all_gather(source, all, BYTES);
    for (int r = 0; r < n; r++)
      gather_holds &= all[(size_t)r * BYTES] == r + 1 && all[(size_t)(r + 1) * BYTES - 1] == r + 1;
  }
  check(gather_holds, "gather, apart and in place");
  size_t *bytes = memory_allocate((size_t)n * sizeof *bytes, "bytes");
  for (int r = 0; r < n; r++)
    bytes[r] = (size_t)(r * 7919 % 1000);
  memset(mine, rank + 1, BYTES);
  comm_all_gather_varied(mine, all, bytes);
  size_t offset = 0;
  for (int r = 0; r < n; offset += bytes[r], r++)
    for (size_t i = 0; i < bytes[r]; i++)
      varied_holds &= all[offset + i] == r + 1;
  check(varied_holds, "gather of different sizes");
  memory_release(all);
  memory_release(mine);
  memory_release(bytes);
}

static void check_agreement(void) {
  check(comm_agree(STATUS_OK) == STATUS_OK, "all well is agreed");
  enum status mine = STATUS_OK;
  if (comm_rank() == comm_size() - 1)
    mine = error_set(STATUS_SYSTEM, "the last rank failed");
  check(comm_agree(mine) == STATUS_SYSTEM && strstr(error_message(), "the last rank failed"),
        "one failure is everybody's");
  mine = error_set(comm_rank() % 2 == 0 ? STATUS_INPUT : STATUS_SYSTEM, "rank %d failed", comm_rank());
  check(comm_agree(mine) == STATUS_INPUT && strcmp(error_message(), "rank 0 failed") == 0,
        "the lowest failing rank decides");
}

static double cpu_seconds(void) {
  struct timespec used;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

/* Rank 0 is late: the others wait for it, asleep. */
static void check_sleep(const char *name, void (*meet)(void)) {
  comm_barrier();
  const double start = clock_seconds(), cpu_start = cpu_seconds();
  if (comm_rank() == 0)
    clock_sleep(0.3);
  meet();
  const bool waited = clock_seconds() - start >= 0.29 || comm_size() == 1;
  check(waited && cpu_seconds() - cpu_start <= 0.15, name);
}

static void meet_in_sum(void) {
  float one = 1;
  comm_all_reduce(&one, 1, DTYPE_F32, COMM_SUM);
}

static int play_fault(const char *mode) {
  const char *warning = comm_affinity_warning();
  if (strcmp(mode, "affinity") == 0)
    printf("%s\n", warning != NULL ? warning : "no warning");
  if (strcmp(mode, "fatal") == 0 && comm_rank() == comm_size() - 1)
    fatal("a deliberate end");
  float *data = memory_allocate(sizeof *data << 20, "data");
  if (strcmp(mode, "fatal") == 0)
    comm_all_reduce(data, 1 << 20, DTYPE_F32, COMM_SUM); /* never completes: one rank is missing */
  memory_release(data);
  comm_stop();
  return 0;
}

int main(int argc, char **argv) {
  int32_t alone = 7;
  comm_all_reduce(&alone, 1, DTYPE_I32, COMM_SUM);
  const bool alone_holds = alone == 7 && comm_rank() == 0 && comm_size() == 1 && comm_agree(STATUS_OK) == STATUS_OK;
  if (comm_start(&argc, &argv) != STATUS_OK) {
    fprintf(stderr, "%s\n", error_message());
    return 3;
  }
  if (argc > 1)
    return play_fault(argv[1]);
  check(alone_holds, "without comm_start a program is one rank of one");
  check(comm_local_size() >= 1 && comm_local_rank() < comm_local_size() && comm_host()[0] != '\0', "the node is known");
  check_sums();
  check_types();
  check_started();
  check_moves();
  check_agreement();
  check_sleep("a barrier waits for the last rank, asleep", comm_barrier);
  check_sleep("a sum waits for the last rank, asleep", meet_in_sum);
  if (comm_rank() == 0)
    printf("1..%d\n", checks_done);
  comm_stop();
  return checks_failed != 0 || memory_report_live(true) != 0;
}

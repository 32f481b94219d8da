/* GB/s of data reduced: ours against MPI_Allreduce, in turn in one run, and the share of started sums that hides behind
 * arithmetic. mpirun -np 2 bench/bench_comm [largest MB, 64] */
#include "base/clock.h"
#include "base/memory.h"
#include "comm/comm.h"
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 7, BUCKETS = 8 };

static void reduce_ours(float *data, size_t count) {
  comm_all_reduce(data, count, DTYPE_F32, COMM_SUM);
}

static void reduce_mpi(float *data, size_t count) {
  if (MPI_Allreduce(MPI_IN_PLACE, data, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD) != MPI_SUCCESS)
    fatal("MPI_Allreduce failed");
}

static double best_seconds(void (*reduce)(float *data, size_t count), float *data, size_t count, double best) {
  comm_barrier();
  const double start = clock_seconds();
  reduce(data, count);
  const double seconds = clock_seconds() - start;
  return seconds < best ? seconds : best;
}

static void compare(float *data, size_t count) {
  double ours = 1e9, theirs = 1e9;
  for (int round = 0; round < ROUNDS; round++) {
    ours = best_seconds(reduce_ours, data, count, ours);
    theirs = best_seconds(reduce_mpi, data, count, theirs);
  }
  const double gigabytes = (double)count * sizeof *data * 1e-9;
  if (comm_rank() == 0)
    printf("%12.3f MB   ours %7.3f GB/s   MPI_Allreduce %7.3f GB/s   ratio %5.2f\n", gigabytes * 1e3, gigabytes / ours,
           gigabytes / theirs, theirs / ours);
}

/* Arithmetic that stays in registers, as a GEMM would keep a core busy. */
static void compute(double seconds) {
  volatile float sink = 0;
  const double end = clock_seconds() + seconds;
  while (clock_seconds() < end)
    for (int i = 0; i < 10000; i++)
      sink = sink * 0.5f + (float)i;
}

static void measure_hidden(float *data, size_t count) {
  const size_t bucket = count / BUCKETS;
  const double before = comm_all_reduce_busy_seconds();
  for (size_t b = 0; b < BUCKETS; b++) {
    comm_all_reduce_start(data + b * bucket, bucket);
    compute(0.03);
  }
  const double waited = comm_all_reduce_wait(), busy = comm_all_reduce_busy_seconds() - before;
  if (comm_rank() == 0)
    printf("%d sums behind arithmetic: busy %.1f ms, waited %.1f ms, hidden %.0f %%\n", BUCKETS, busy * 1e3,
           waited * 1e3, 100 * (1 - waited / busy));
}

int main(int argc, char **argv) {
  if (comm_start(&argc, &argv) != STATUS_OK) {
    fprintf(stderr, "%s\n", error_message());
    return 3;
  }
  const size_t largest = (size_t)(argc > 1 ? atoi(argv[1]) : 64) * 1000000 / sizeof(float);
  float *data = memory_allocate(largest * sizeof *data, "data");
  for (size_t count = 16; count < largest; count *= 16)
    compare(data, count);
  compare(data, largest);
  if (comm_size() > 1)
    measure_hidden(data, largest);
  memory_release(data);
  comm_stop();
  return 0;
}

/* Between the files of cuda-bench: what is measured, and how it is told. */
#ifndef MEMCLIP_BENCH_DEVICE_BENCH_H
#define MEMCLIP_BENCH_DEVICE_BENCH_H
#include "bench/op_limits.h"

enum { BENCH_BLOCKS_MAX = 32, BENCH_SERIES = 7 };
struct bench {
  struct device *device;
  const char *filter;    /* part of a name; NULL: all */
  bool tiny, json;       /* sizes that an emulated device does in seconds; one JSON line */
  enum dtype dtype;      /* of weights and activations */
  int64_t batch;         /* images or texts */
  struct op_rates rates; /* measured first */
  int results;           /* printed so far */
  void *blocks[BENCH_BLOCKS_MAX];
  int block_count;
};

/* Seconds of one run. */
struct spread {
  double median, best, worst;
};
struct spread bench_spread(double seconds[BENCH_SERIES]); /* sorts them */
/* A few series, each of as many runs as make it long enough, in flight at once. */
struct spread bench_measure(const struct bench *bench, void (*run)(struct device *device, const void *call),
                            const void *call);
bool bench_wants(const struct bench *bench, const char *name);
/* One result. `rest` is appended, as JSON members with a comma before each, or as text; NULL: nothing. */
void bench_tell(struct bench *bench, const char *name, struct spread seconds, struct op_limit limit,
                double limit_seconds, const char *rest);

/* Uniform numbers of variance 1 times `scale`; i32: below `scale`; u8: any. Repeats after a million. */
void *bench_make(struct bench *bench, enum dtype dtype, int64_t count, double scale);
void bench_release(struct bench *bench); /* all that was made */

void bench_kernels(struct bench *bench);
#endif

/* The harness of the device conformance test: every operation of device.h on random shapes against a plain
 * double-precision reference.
 *
 * A case is called several times for each compute dtype; it draws sizes, makes tensors (random values, exactly those
 * the device sees, lie in `value`), calls the operation, computes the same from the values in double, and checks.
 * Everything made by a case is freed after it. References of backwards are themselves checked by finite differences of
 * the forward's, in double. */
#ifndef MEMCLIP_TESTS_CONFORMANCE_H
#define MEMCLIP_TESTS_CONFORMANCE_H
#include "device/device.h"

struct tensor {
  enum dtype dtype;
  int64_t count;
  void *data;    /* on the device */
  double *value; /* what was put there; after tensor_read what is there */
  struct tensor *next;
};

struct conformance {
  struct device *device;
  const char *name; /* of the case, with the dtype */
  char shape[256];  /* set by conformance_note, printed with a failure */
  uint64_t seed, drawn;
  int failures;
  bool quiet; /* count failures without printing: the harness testing itself */
  struct tensor *tensors;
  struct conformance_block *blocks;
};

struct conformance_case {
  const char *name;
  void (*run)(struct conformance *c, enum dtype dtype);
};
/* Each ends with a NULL name. */
extern const struct conformance_case conformance_harness[], conformance_linear[], conformance_pointwise[],
    conformance_norm[], conformance_embed[], conformance_loss[], conformance_optimizer[], conformance_attention[],
    conformance_memory[], conformance_expert[], conformance_slopes[], conformance_gate[];

/* Sizes and flags. A size is 1 .. max, often 1 or odd. */
int64_t conformance_size(struct conformance *c, int64_t max);
bool conformance_flag(struct conformance *c);
double conformance_uniform(struct conformance *c);
double conformance_normal(struct conformance *c);
void conformance_note(struct conformance *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Random normal numbers times `scale`, rounded to dtype (fp32, bf16). */
struct tensor *tensor_random(struct conformance *c, enum dtype dtype, int64_t count, double scale);
/* `count` integers below `bound` as i32. */
struct tensor *tensor_indices(struct conformance *c, int64_t count, int64_t bound);
/* A result that nothing was written to yet: NaN on the device. */
struct tensor *tensor_result(struct conformance *c, enum dtype dtype, int64_t count);
/* The given values, rounded to dtype. */
struct tensor *tensor_from(struct conformance *c, enum dtype dtype, int64_t count, const double *values);
/* The same values in a block of its own. */
struct tensor *tensor_copy(struct conformance *c, const struct tensor *tensor);
/* Fetches what is on the device into `value`, and returns that. */
const double *tensor_read(struct conformance *c, struct tensor *tensor);
static inline void *tensor_data(const struct tensor *tensor) { /* NULL for NULL: an unwanted gradient */
  return tensor ? tensor->data : NULL;
}
/* Zeroed doubles for a reference. */
double *conformance_doubles(struct conformance *c, int64_t count);

/* Half a unit in the last place, relative: 2^-24 for fp32, 2^-8 for bf16. */
double conformance_unit(enum dtype dtype);
/* Error of a sum of `length` products in fp32 whose absolute values add up to `magnitude`. */
double conformance_sum_bound(int64_t length, double magnitude);
/* |actual - expected| <= bound, false when anything is NaN. */
bool conformance_within(double actual, double expected, double bound);
/* Reads the tensor; every element must lie within rounding to its dtype plus bound[i] of expected[i]. */
void conformance_check(struct conformance *c, const char *what, struct tensor *actual, const double *expected,
                       const double *bound);
/* The same bound for all elements. */
void conformance_check_all(struct conformance *c, const char *what, struct tensor *actual, const double *expected,
                           double bound);
/* A single condition. */
void conformance_require(struct conformance *c, bool condition, const char *what);

/* gradient[i] against central differences of loss() by x[i], in double, for at most 16 of the elements. */
void conformance_check_gradient(struct conformance *c, const char *what, double (*loss)(void *context), void *context,
                                double *x, const double *gradient, int64_t count);

/* Runs a list, each case on `rounds` shapes; prints one TAP line per case and dtype, numbered on from *number. Returns
 * the number of failed ones. */
enum { CONFORMANCE_ROUNDS = 8 };
int conformance_run(struct device *device, const struct conformance_case *cases, int rounds, int *number);

#endif

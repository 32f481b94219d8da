/* The registry of parameters: one name (open_clip's state-dict key), shape, initialiser and decay group each, declared
 * once by the layer that uses it. All trainable ones lie in registry order in flat arenas on the device: fp32 master,
 * compute copy, gradient, first and second moment, with the same offsets, so that the optimiser, the norm and a
 * gradient bucket are slices. Frozen ones have a master and a compute copy of their own. */
#ifndef MEMCLIP_MODEL_PARAMETER_H
#define MEMCLIP_MODEL_PARAMETER_H
#include "device/arena.h"
#include "device/device.h"

enum init { INIT_CONSTANT, INIT_NORMAL /* std = scale */, INIT_UNIFORM /* +-scale */ };
enum { PARAMETER_AXES_MAX = 4 };

struct parameter {
  char *name;
  int axes;
  int64_t shape[PARAMETER_AXES_MAX];
  int64_t count;
  int number; /* position in the registry */
  enum init init;
  double init_scale;
  bool matrix; /* operand of a product: read through `compute`; others are read as fp32 */
  bool memory; /* belongs to a memory layer */
  bool values; /* a table of values, with its own optimiser settings */
  bool trainable, decay;
  double rate_scale; /* of its learning rate: 1 unless layers' rates decay */
  int64_t offset;    /* of a trainable one: elements from the start of the arenas */
  float *master;
  void *compute;   /* compute dtype; the master itself in fp32 */
  float *gradient; /* NULL when frozen */
};
/* Another name of a parameter: a table of values listed under every layer that shares it. */
struct parameter_alias {
  char *name;
  struct parameter *of;
};

struct parameters {
  struct device *device;
  enum dtype dtype; /* compute */
  struct parameter **items;
  int count;
  struct parameter_alias *aliases;
  int alias_count;
  int64_t trainable_elements; /* length of the arenas, padding included */
  float *master, *gradient, *first_moment, *second_moment;
  bf16 *compute; /* NULL in fp32 */
  float *frozen_master;
  bf16 *frozen_compute;
};

/* Declares; shape ends with 0 (scalars: none). Returned pointers stay valid. */
struct parameter *parameters_declare(struct parameters *list, enum init init, double scale,
                                     const int64_t shape[PARAMETER_AXES_MAX], const char *format, ...)
    __attribute__((format(printf, 5, 6)));
void parameters_declare_alias(struct parameters *list, struct parameter *of, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
struct parameter *parameters_find(const struct parameters *list,
                                  const char *name); /* aliases too; NULL when there is none */
/* Decay unless there are fewer than two axes or the name contains bn, ln, bias or logit_scale (methods section 10), or
 * a pattern of `no_decay` matches. */
void parameters_set_decay(struct parameters *list, const char *const *no_decay, int count);
/* Allocates the arenas once `trainable` is set everywhere; `training` false leaves out gradient and moments. Values are
 * undefined until set. */
void parameters_allocate(struct parameters *list, bool training);
/* Draws initial values: a pure function of (seed, name). */
void parameters_initialize(struct parameters *list, uint64_t seed);
void parameter_initialize(struct parameters *list, struct parameter *parameter, uint64_t seed);
/* Host fp32 <-> device; set also refreshes the compute copy. */
void parameter_set(struct parameters *list, struct parameter *parameter, const float *values);
void parameter_get(struct parameters *list, const struct parameter *parameter, float *values);
/* Compute copies of one or all from their masters (after the masters were changed in place). */
void parameter_refresh_compute(struct parameters *list, struct parameter *parameter);
void parameters_refresh_compute(struct parameters *list);
/* CRC32C of names and values of the parameters whose names begin with `prefix`. */
uint32_t parameters_checksum(struct parameters *list, const char *prefix);
int64_t parameters_count_elements(const struct parameters *list, bool trainable_only);
size_t parameters_bytes(const struct parameters *list, bool training); /* what allocate takes */
void parameters_release(struct parameters *list);
#endif

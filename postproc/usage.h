/* Usage files (HDF5, as the stage eval writes them with memory_usage): which memory slots were read, and what follows
 * from the counts (methods 10). */
#ifndef MEMCLIP_POSTPROC_USAGE_H
#define MEMCLIP_POSTPROC_USAGE_H
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

enum { USAGE_CLASSES = 2, USAGE_TOP = 3 };
extern const char *const usage_class_names[USAGE_CLASSES]; /* "CLS", "patches" */
struct usage_layer {
  int block;
  int64_t heads, slots, knn;
  int64_t *count;         /* [CLASSES,H,slots] */
  float *weight;          /* the same */
  int64_t images, tokens; /* of the sample */
  int32_t *index;         /* [images,tokens,H,knn] */
  float *margin;          /* [images,tokens,H], or NULL */
};
struct usage_file {
  char *path, *label, *data_set, *checkpoint;
  struct usage_layer *layers;
  int count;
};
/* STATUS_INPUT when it is no usage file, or a damaged one. */
enum status usage_read(const char *path, struct usage_file *file);
void usage_release(struct usage_file *file);
/* A usage file is itself; a run's directory stands for its usage/NAME.h5: memory_release each path and the array. */
enum status usage_list_files(const char *name, char ***paths, int *count);

struct usage_summary { /* of one head and class of tokens */
  int64_t reads, used;
  double dead_share, effective, effective_weighted, kl; /* exp(entropy) of counts and of weights; log slots - entropy */
  int64_t top[USAGE_TOP];
  double top_share[USAGE_TOP];
  double margin; /* median over the sample; NAN when not known */
};
struct usage_summary usage_summarize(const struct usage_layer *layer, int class, int64_t head);

struct usage_change {  /* from one file to another */
  double churn;        /* share of the sample's selections that are others; NAN: other images or sizes */
  double distance;     /* half the sum of differences of the shares of reads, over heads and classes */
  double drift;        /* |values - values before| / |values before|; NAN when a checkpoint cannot be read */
  double bf16_changed; /* share of the values whose bf16 rounding is another one */
};
struct usage_change usage_compare(const struct usage_file *before, const struct usage_file *after, int layer);
#endif

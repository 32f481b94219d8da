/* Whole models on batches that peers computed numbers for: fixtures, import, forward, losses, comparison. */
#ifndef MEMCLIP_TESTS_NETWORK_H
#define MEMCLIP_TESTS_NETWORK_H
#include "io/safetensors.h"
#include "model/model.h"

/* "parity/..." was unpacked by the build, "reference/..." lies where reference.h says. A missing reference skips the
 * running test; with no cmocka test running use fixture_path. */
char *fixture_path(const char *name); /* memory_release; NULL when absent */
struct safetensors fixture_open(const char *name);
/* Converted; memory_release. `count` may be NULL. */
float *fixture_floats(const struct safetensors *file, const char *name, int64_t *count);
int32_t *fixture_ids(const struct safetensors *file, const char *name);
/* The weights through the importer and our HDF5 file into a model. `config` may be NULL. */
struct model *fixture_model(struct device *device, const char *config, const char *weights, enum activation activation,
                            const char *train, enum dtype dtype);

/* |a - b| / |b|. */
double relative_distance(const float *a, const float *b, int64_t count);
void expect_near(const char *what, const float *ours, const struct safetensors *file, const char *name, double bound);
/* A device block on the host; memory_release. */
float *host_rows(struct device *device, const float *rows, int64_t count);

/* One network on one batch: inputs on the device and the results of the last forward and loss. */
struct network {
  struct model *model;
  struct device *device;
  struct tower_run *image_run, *text_run;
  int count;
  float *images, *raw[2], *unit[2], *norm[2], *dunit[2], *draw[2]; /* image, text */
  float *normalisers;                                              /* [2, count] */
  int32_t *ids, *end;
  double *loss;
};
struct network network_open(struct model *model, int count); /* takes the model over */
void network_close(struct network *network);
void network_set_images(struct network *network, const float *images);
/* The pooled position is that of the largest id, the first one among equals; returns the columns in use. */
int network_set_texts(struct network *network, const int32_t *ids);
void network_forward(struct network *network, int columns);
double network_contrastive_backward(struct network *network); /* the loss */
void network_expect_gradients(const struct network *network, const struct safetensors *file, const char *prefix,
                              double bound);
/* Of all gradients together, relative. */
double network_gradient_error(const struct network *network, const struct safetensors *file, const char *prefix);
/* Masters of all trainable parameters, for network_expect_moved; memory_release. */
float *network_masters(const struct network *network);
/* Each weight is off by at most 1 % of the distance that it moved since `start`. */
void network_expect_moved(const struct network *network, const float *start, const struct safetensors *file,
                          const char *prefix);
#endif

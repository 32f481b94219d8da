/* Weights of a model from and to our HDF5 files: WEIGHTS.h5 and checkpoints alike (interface.md "HDF5 files"). */
#ifndef MEMCLIP_TRAIN_WEIGHTS_H
#define MEMCLIP_TRAIN_WEIGHTS_H
#include "io/store.h"
#include "model/model.h"

/* Reads /model into the parameters. Every parameter must be there with its shape; only memory tensors may be missing
 * (they keep their initial values) and only MLPs that memories replace may be left over; both are listed in one message
 * each. Non-finite values are refused. */
struct weights_summary {
  int taken, missing_memory, dropped_mlp;
};
enum status weights_load(const char *path, struct model *model, struct weights_summary *summary);
/* The same checks, values aside, without taking anything. */
enum status weights_check(const char *path, const struct model *model);
/* Has the dataset `name` the shape of the parameter? `path` for the message. */
enum status weights_check_shape(struct store *store, const char *path, const char *name,
                                const struct parameter *parameter);
/* The configuration that the file carries (run/config). */
enum status weights_read_config(const char *path, struct clip_config *config);
#endif

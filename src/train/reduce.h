/* Gradient reduction in buckets of the flat gradient arena, started as soon as the backward pass has completed a
 * bucket's parameters. */
#ifndef MEMCLIP_TRAIN_REDUCE_H
#define MEMCLIP_TRAIN_REDUCE_H
#include "model/model.h"
#include "train/ranks.h"

struct reducer;
/* overlap false, and always where MPI reaches the devices' memory: everything is reduced in reducer_finish. */
struct reducer *reducer_open(struct model *model, enum ranks_path path, size_t bucket_bytes, bool overlap);
void reducer_close(struct reducer *reducer);
/* To be called before the backward pass whose gradients complete the step; then the listener is given to that pass. */
void reducer_begin(struct reducer *reducer);
struct gradient_listener reducer_listener(struct reducer *reducer);
/* Starts what is left. What is enqueued after it sees the sums. Returns the seconds that the host had to wait.
 * Collective. */
double reducer_finish(struct reducer *reducer);
#endif

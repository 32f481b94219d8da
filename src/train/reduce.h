/* Gradient reduction in buckets of the flat gradient arena, started as soon as the backward pass has completed a
 * bucket's parameters. */
#ifndef MEMCLIP_TRAIN_REDUCE_H
#define MEMCLIP_TRAIN_REDUCE_H
#include "model/model.h"

struct reducer;
/* overlap false: everything is reduced in reducer_finish. */
struct reducer *reducer_open(struct model *model, size_t bucket_bytes, bool overlap);
void reducer_close(struct reducer *reducer);
/* To be called before the backward pass whose gradients complete the step; then the listener is given to that pass. */
void reducer_begin(struct reducer *reducer);
struct gradient_listener reducer_listener(struct reducer *reducer);
/* Starts what is left and waits. Returns the seconds spent waiting. Collective. */
double reducer_finish(struct reducer *reducer);
#endif

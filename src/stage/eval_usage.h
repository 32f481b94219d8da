/* Which memory slots an evaluation reads (methods 10): plain and weighted counts per block, class of token (CLS,
 * patches) and head, and for the first images what every token selected, so that two checkpoints can be compared. What
 * the pooled last block never computes is not counted. */
#ifndef MEMCLIP_STAGE_EVAL_USAGE_H
#define MEMCLIP_STAGE_EVAL_USAGE_H
#include "stage/eval_set.h"
#include "train/encode.h"

struct usage;
/* NULL, with a warning, when the vision tower has no memory. */
struct usage *usage_open(struct session *session, struct model *model);
void usage_close(struct usage *usage); /* NULL is allowed */
/* For the encoder of the images. */
struct encode_watch *usage_watch(struct usage *usage);
/* Adds up over ranks; rank 0 writes usage/SET.LABEL.h5 in the run's directory. Collective. */
enum status usage_write(struct usage *usage, const struct eval_set *set, const char *label, const char *checkpoint);
#endif

/* Bad samples of all ranks on their way into bad_samples.jsonl, which rank 0 writes: each rank notes its own, and from
 * time to time they are shared. */
#ifndef MEMCLIP_TRAIN_BAD_SAMPLES_H
#define MEMCLIP_TRAIN_BAD_SAMPLES_H
#include "base/error.h"
#include "data/source.h"

/* The `bad_sample` callback of loaders. */
void bad_samples_note(const char *key, const char *location, const char *reason);
/* The same for a sample whose reading failed just now on every rank: rank 0 notes error_message(). */
void bad_samples_note_failure(const struct source *source, int64_t sample);
/* Hands all notes to rank 0, in the order of the ranks. Collective. */
void bad_samples_share(void);
/* STATUS_INPUT when `bad` of `seen` samples pass data.bad_sample_limit. The first few say little about the share; only
 * a limit of 0 forbids them. */
enum status bad_samples_check(double bad, double seen, double limit, const char *where);
#endif

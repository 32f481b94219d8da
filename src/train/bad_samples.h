/* Bad samples of all ranks on their way into bad_samples.jsonl, which rank 0 writes: each rank notes its own, and from
 * time to time they are shared. */
#ifndef MEMCLIP_TRAIN_BAD_SAMPLES_H
#define MEMCLIP_TRAIN_BAD_SAMPLES_H

/* The `bad_sample` callback of loaders. */
void bad_samples_note(const char *key, const char *location, const char *reason);
/* Hands all notes to rank 0, in the order of the ranks. Collective. */
void bad_samples_share(void);
#endif

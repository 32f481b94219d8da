/* Validation (methods 2.3): retrieval between unit features of the validation source, the contrastive loss over the
 * whole set as one batch, and for distillation the similarity to the teacher and, in the first one, the teacher's own
 * retrieval (val/teacher_...). */
#ifndef MEMCLIP_TRAIN_VALIDATE_H
#define MEMCLIP_TRAIN_VALIDATE_H
#include "report/report.h"
#include "train/session.h"

enum { VALIDATION_VALUES_MAX = 64 };
struct validation {
  struct session *session;
  int64_t count; /* samples; from the first look at the images on without the bad ones */
  int64_t bad;   /* left out: unreadable image or caption; -1: the images are still unseen */
  bool *good;    /* [samples of the source] */
  int32_t *ids, *end, *short_ids, *short_end;
  float *teacher_raw;               /* distill: computed once */
  float *fixed_texts, *fixed_short; /* unit features of texts that nothing trains */
  bool short_captions;
  struct report_value values[VALIDATION_VALUES_MAX];
  int value_count;
};
/* Reads and tokenises the captions. Bad samples are named, and left out of all measures. Collective. */
enum status validation_open(struct session *session, bool short_captions, struct validation **validation);
/* Fills values (named val/...). STATUS_INPUT when too many samples are bad. Collective; the same on all ranks. */
enum status validation_run(struct validation *validation);
double validation_value(const struct validation *validation, const char *name); /* NAN when absent */
void validation_close(struct validation *validation);
#endif

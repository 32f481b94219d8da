/* The progress line on stderr. report.c holds its mutex around every call. */
#ifndef MEMCLIP_REPORT_PROGRESS_H
#define MEMCLIP_REPORT_PROGRESS_H
#include "base/text.h"
#include "report/report.h"

void progress_reset(bool terminal);
void progress_update(const struct report_progress *progress);
void progress_hide(void); /* before a message */
void progress_show(void); /* after it */
void progress_end(void);
/* "step 120/3893 (3 %)  loss 0.123  412 samples/s  waiting 2 %  12 min 03 s left" */
void progress_format(const struct report_progress *progress, double seconds_left, struct text *out);
#endif

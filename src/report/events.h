/* TensorBoard event files: TFRecord frames around protocol buffers. */
#ifndef MEMCLIP_REPORT_EVENTS_H
#define MEMCLIP_REPORT_EVENTS_H
#include "base/error.h"
#include "report/report.h"

struct events;
/* Starts a new file events.out.tfevents.TIME.HOST.PID.NUMBER; readers forget what older files of the directory say of
 * `first_step` and later. */
enum status events_open(const char *directory, int64_t first_step, struct events **events);
/* Values that are not finite are left out. */
enum status events_write(struct events *events, int64_t step, const struct report_value *values, int count);
void events_close(struct events *events); /* NULL is allowed */
#endif

/* The fixed-column lines of log.txt. */
#ifndef MEMCLIP_REPORT_TABLE_H
#define MEMCLIP_REPORT_TABLE_H
#include "base/text.h"
#include "report/report.h"

/* Does the report belong into the table: does a value begin with train/ ? */
bool table_takes(const struct report_value *values, int count);
void table_head(struct text *out);
/* A column whose value is not given, or not finite, shows "-" or "nan". */
void table_line(int64_t step, double epoch, const struct report_value *values, int count, struct text *out);
#endif

/* Where a result comes from: version, revision, how the program was built, with what, and where it runs. For logs,
 * checkpoints and --version. */
#ifndef MEMCLIP_REPORT_PROVENANCE_H
#define MEMCLIP_REPORT_PROVENANCE_H
#include "base/text.h"

/* "0.1.0 (v0.1.0-12-gabcdef0-dirty)"; the version alone when the source was not under git. */
const char *provenance_version(void);
/* Lines "name: value": version, configure line, compiler and flags, `libraries` as they run ("Open MPI v4.1.4", ...)
 * and those that configure found, `device` (its description), the program's hosts (NULL: this one), time and system.
 * Ends with a newline. */
void provenance_write(const char *const *libraries, int count, const char *device, const char *hosts, struct text *out);
#endif

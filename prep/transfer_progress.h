/* A line on stderr while large files are read and written. */
#ifndef MEMCLIP_PREP_TRANSFER_PROGRESS_H
#define MEMCLIP_PREP_TRANSFER_PROGRESS_H
#include <stdint.h>
/* What prints it; NULL where stderr is no terminal. */
void (*transfer_progress(void))(int64_t done_bytes, int64_t total_bytes);
#endif

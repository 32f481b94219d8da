/* The files of a checkpoint directory: names, second names, what is old. */
#ifndef MEMCLIP_IO_CHECKPOINT_DIRECTORY_H
#define MEMCLIP_IO_CHECKPOINT_DIRECTORY_H
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

/* DIRECTORY/step_0001200.h5; memory_release. */
char *checkpoint_directory_path(const char *directory, int64_t step);
/* Makes `also` a hard link to `path`, atomically replacing what was there; false where the file system has none. */
bool checkpoint_directory_link(const char *path, const char *also);
/* latest.h5 -> step_0001200.h5; a failure is no matter, since nobody trusts it. */
void checkpoint_directory_point_latest(const char *directory, int64_t step);
/* Of the files up to `newest`, removes all but the last `keep` (none if that is 0). Later steps are of another history
 * and stay. */
enum status checkpoint_directory_prune(const char *directory, int64_t newest, int keep);
/* What a killed writer left. */
void checkpoint_directory_clear_temporaries(const char *directory);
#endif

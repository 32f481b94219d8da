/* WebDataset shards: KEY.SUFFIX members, written beside and renamed, so that a shard is complete or absent. Owner,
 * group and time are zero: the same members make the same bytes (names that are not ASCII are taken as bytes; this
 * needs the C locale, which no program here leaves). One writer belongs to one thread. */
#ifndef MEMCLIP_DATA_TAR_WRITER_H
#define MEMCLIP_DATA_TAR_WRITER_H
#include "base/error.h"
#include <stddef.h>

struct tar_writer;
/* Starts PATH.part. STATUS_SYSTEM when it cannot be made. */
enum status tar_writer_open(const char *path, struct tar_writer **writer);
/* Appends the regular file "KEY.SUFFIX". Plain ustar; a name that is not ASCII or does not fit gets a pax header. */
enum status tar_writer_add(struct tar_writer *writer, const char *key, const char *suffix, const void *bytes,
                           size_t size);
/* Ends the archive, flushes and renames it to PATH. Releases the writer, also on failure. */
enum status tar_writer_finish(struct tar_writer *writer);
/* Removes what was written and releases the writer; NULL is allowed. */
void tar_writer_abandon(struct tar_writer *writer);
#endif
